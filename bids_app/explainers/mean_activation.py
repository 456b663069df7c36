"""Mean activation: the mean over channels of the last spatial layer, whatever the class.

It shows where the network responds, not for which class it does: the maps of all classes are the same. Linear between
cell centres, which are placed by the network's strides and paddings.

Ng et al. 2018, Cephalalgia 38:1496, doi:10.1177/0333102417743562 (feature maps of the last layer, averaged).
"""

import numpy as np
import torch
from numpy.typing import NDArray

from bids_app.explainers._features import at_voxels, features, has_cells, weighed

SIGN = "both"
UNIT = "mean activation (arbitrary scale)"
OF = "person"
CELLS = True


def check(classifier: torch.nn.Module) -> str | None:
    """Why there is no mean activation of a classifier: it has no layer of cells, or their mean is set to nought."""
    if not has_cells(classifier):
        return "mean_activation needs a network with a spatial layer before its head"
    if isinstance(classifier.get_submodule("cam_layer"), torch.nn.LayerNorm):
        return "mean_activation says nothing where a layer sets the mean over channels to 0, as LayerNorm does"
    return None


def explain(
    classifier: torch.nn.Module, x: torch.Tensor, target: int, *, mask: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """The map (X, Y, Z) of one person's x (channels, X, Y, Z), zero outside the mask (X, Y, Z); the same for every
    class."""
    values, _ = features(classifier, x)
    return at_voxels(weighed(values, np.full((1, values.shape[1]), 1 / values.shape[1])), classifier, mask)
