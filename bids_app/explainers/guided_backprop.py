"""Guided backpropagation: the gradient of the class's logit, where every ReLU lets positive gradients pass alone.

Sharp, and known to keep its picture when weights are randomised (Adebayo et al. 2018): it restores edges of the image
more than it tells what the network has learnt. Summed over channels, signed.

Springenberg et al. 2015, ICLR workshop, doi:10.48550/arXiv.1412.6806; Adebayo et al. 2018, NeurIPS,
doi:10.48550/arXiv.1810.03292; captum's GuidedBackprop.
"""

import warnings

import numpy as np
import torch
from captum.attr import GuidedBackprop
from numpy.typing import NDArray

from bids_app.errors import DataError
from bids_app.explainers import _relus
from bids_app.explainers._state import evaluating
from bids_app.explainers._voxels import summed

SIGN = "both"
UNIT = "guided gradient (arbitrary scale)"
OF = "person"
SLOPE = True


def check(classifier: torch.nn.Module) -> str | None:
    """Why guided backpropagation does not suit a classifier: its kinks are no ReLU modules."""
    return _relus.why_not(classifier, "guided_backprop")


def explain(
    classifier: torch.nn.Module, x: torch.Tensor, target: int, *, mask: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """The map (X, Y, Z), zero outside the mask, for x (channels, X, Y, Z).

    Raises DataError where a ReLU is no module of its own: its gradient would pass unguided.
    """
    batch = x[None].detach().clone().requires_grad_()
    with evaluating(classifier), warnings.catch_warnings():
        if missed := _relus.unguided(classifier, x):
            raise DataError(f"{missed} ReLUs of this network are no modules of their own, and would not be guided")
        warnings.filterwarnings("ignore", message="Setting backward hooks on ReLU")  # captum says what it does
        found = GuidedBackprop(classifier).attribute(batch, target=target)
    return summed(found[0], mask)


def checks(classifier: torch.nn.Module, x: torch.Tensor, target: int, values: NDArray[np.float32]) -> dict[str, float]:
    """`relus_guided`: how many ReLU modules let positive gradients pass alone."""
    del x, target, values
    return {"relus_guided": sum(isinstance(module, torch.nn.ReLU) for module in classifier.modules())}
