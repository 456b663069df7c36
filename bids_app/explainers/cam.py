"""Class activation map: channels of the last spatial layer, each weighed by the linear head's weight of the class.

Only for a mean over space and one linear layer after it, where it is exact: its mean over cells and the head's bias
sum up to the logit. Signed: cells below zero speak against the class. Linear between cell centres, which are placed by
the network's strides and paddings.

Zhou et al. 2016, CVPR, 2921-2929, doi:10.1109/CVPR.2016.319.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from bids_app.errors import DataError
from bids_app.explainers._features import at_voxels, features, has_cells, weighed

SIGN = "both"
UNIT = "class activation (the logit is its mean over cells, and a constant)"
OF = "person"
CELLS = True
EXACT = 1e-3  # of the logit, in float32


def check(classifier: torch.nn.Module) -> str | None:
    """Why a classifier has no class activation map: no layer of cells, or no single linear layer after their mean."""
    if has_cells(classifier) and isinstance(getattr(classifier, "head", None), torch.nn.Linear):
        return None
    return "cam needs a network that ends in a mean over space and one linear layer; use gradcam for others"


def explain(
    classifier: torch.nn.Module, x: torch.Tensor, target: int, *, mask: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """The map (X, Y, Z) of class `target` for one person's x (channels, X, Y, Z), zero outside the mask (X, Y, Z)."""
    return at_voxels(raw(classifier, x, target), classifier, mask)


def raw(classifier: torch.nn.Module, x: torch.Tensor, target: int) -> NDArray[np.float32]:
    """The map on the cells of the layer itself. Raises DataError where it does not sum up to the logit."""
    values, logits = features(classifier, x)
    head = classifier.get_submodule("head")
    weights = head.get_parameter("weight")[target].detach().cpu().numpy()
    if len(weights) != values.shape[1]:
        raise DataError("the head takes something else than the mean of each channel, so there is no cam; use gradcam")
    found = weighed(values, weights[None])
    # a head without a bias has None in its place
    bias = 0.0 if head.bias is None else float(head.get_parameter("bias")[target].detach())
    if abs(found.mean(dtype=np.float64) + bias - logits[target]) > EXACT * max(1.0, abs(float(logits[target]))):
        raise DataError("the class activation map does not sum up to the logit, so there is no cam; use gradcam")
    return found
