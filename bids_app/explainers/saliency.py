"""Saliency: the gradient of the class's logit with respect to each voxel, signed, summed over channels.

The change of the logit if the voxel were one training SD larger, all else equal; for a linear classifier its weights,
identical for every participant.

Simonyan et al. 2014, ICLR workshop, doi:10.48550/arXiv.1312.6034; captum's Saliency, without its absolute value.
"""

import numpy as np
import torch
from captum.attr import Saliency
from numpy.typing import NDArray

from bids_app.explainers._gradients import refuse_without_gradient
from bids_app.explainers._state import evaluation_mode
from bids_app.explainers._voxels import sum_over_channels

SIGN = "both"
UNIT = "change of the logit per training SD"
SCOPE = "sample"
SENSITIVITY = True


def check(classifier: torch.nn.Module) -> str | None:
    """Why a classifier has no gradient; all but forests have one."""
    return refuse_without_gradient(classifier, "saliency")


def explain(
    classifier: torch.nn.Module, x: torch.Tensor, target: int, *, mask: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """The gradient: (X, Y, Z), zero outside the mask, of x (channels, X, Y, Z); (voxels,) of x (channels * voxels,)."""
    batch = x[None].detach().clone().requires_grad_()
    with evaluation_mode(classifier):
        attribution = Saliency(classifier).attribute(batch, target=target, abs=False)
    return sum_over_channels(attribution[0], mask)
