"""Saliency: the gradient of the class's logit with respect to each voxel, signed, summed over channels.

How much the logit would change if the voxel were one training SD larger, all else the same; for a linear classifier its
weights, for every person the same.

Simonyan et al. 2014, ICLR workshop, doi:10.48550/arXiv.1312.6034; captum's Saliency, without its absolute value.
"""

import numpy as np
import torch
from captum.attr import Saliency
from numpy.typing import NDArray

from bids_app.explainers import _gradients
from bids_app.explainers._state import evaluating
from bids_app.explainers._voxels import summed

SIGN = "both"
UNIT = "change of the logit per training SD"
OF = "person"
SLOPE = True


def check(classifier: torch.nn.Module) -> str | None:
    """Why a classifier has no gradient; all but forests have one."""
    return _gradients.why_not(classifier, "saliency")


def explain(
    classifier: torch.nn.Module, x: torch.Tensor, target: int, *, mask: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """The gradient: (X, Y, Z), zero outside the mask, of x (channels, X, Y, Z); (voxels,) of x (channels * voxels,)."""
    batch = x[None].detach().clone().requires_grad_()
    with evaluating(classifier):
        found = Saliency(classifier).attribute(batch, target=target, abs=False)
    return summed(found[0], mask)
