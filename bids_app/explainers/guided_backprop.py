"""Guided backpropagation: the gradient of the class's logit, with only positive gradients passing each ReLU.

Sharp, but largely unchanged when weights are randomised (Adebayo et al. 2018): it recovers edges of the image rather
than what the network has learnt. Summed over channels, signed.

Springenberg et al. 2015, ICLR workshop, doi:10.48550/arXiv.1412.6806; Adebayo et al. 2018, NeurIPS,
doi:10.48550/arXiv.1810.03292; captum's GuidedBackprop.
"""

import warnings

import numpy as np
import torch
from captum.attr import GuidedBackprop
from numpy.typing import NDArray

from bids_app.errors import DataError
from bids_app.explainers._relus import count_unguided_relus, refuse_unguidable
from bids_app.explainers._state import evaluation_mode
from bids_app.explainers._voxels import sum_over_channels

SIGN = "both"
UNIT = "guided gradient (arbitrary scale)"
SCOPE = "sample"
SENSITIVITY = True


def check(classifier: torch.nn.Module) -> str | None:
    """Why guided backpropagation does not suit a classifier: its activations are not ReLU modules."""
    return refuse_unguidable(classifier, "guided_backprop")


def explain(
    classifier: torch.nn.Module, x: torch.Tensor, target: int, *, mask: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """The map (X, Y, Z), zero outside the mask, for x (channels, X, Y, Z).

    Raises DataError if a ReLU is not a separate module: its gradient would pass unguided.
    """
    batch = x[None].detach().clone().requires_grad_()
    with evaluation_mode(classifier), warnings.catch_warnings():
        if missed := count_unguided_relus(classifier, x):
            raise DataError(f"{missed} ReLUs of this network are not separate modules and would not be guided")
        warnings.filterwarnings("ignore", message="Setting backward hooks on ReLU")  # captum announces its hooks
        attribution = GuidedBackprop(classifier).attribute(batch, target=target)
    return sum_over_channels(attribution[0], mask)


def checks(classifier: torch.nn.Module, x: torch.Tensor, target: int, values: NDArray[np.float32]) -> dict[str, float]:
    """`relus_guided`: the number of ReLU modules that let only positive gradients pass."""
    del x, target, values
    return {"relus_guided": sum(isinstance(module, torch.nn.ReLU) for module in classifier.modules())}
