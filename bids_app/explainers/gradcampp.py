"""Grad-CAM++: channels of the last spatial layer, weighed by their positive gradients, each cell by its own share.

The shares follow from the layer's activations and gradients, as if the score were an exponential of the logit. Signed
and unscaled before its own reading, which keeps the positive part. Linear between cell centres, which are placed by
the network's strides and paddings.

Chattopadhay et al. 2018, WACV, 839-847, doi:10.1109/WACV.2018.00097, equation 19; weights of pytorch-grad-cam, whose
guard against a division by zero (1e-6) would outweigh the small gradients of a mean over many cells: it gets gradients
with a largest value of one and activations divided by as much, which leaves the formula as it is.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_grad_cam import GradCAMPlusPlus

from bids_app.explainers._features import at_voxels, gradient, has_cells, weighed

SIGN = "positive"
UNIT = "Grad-CAM++ (arbitrary scale)"
OF = "person"
CELLS = True


def check(classifier: torch.nn.Module) -> str | None:
    """Why there is no Grad-CAM++ of a classifier: it has no layer of cells."""
    if has_cells(classifier):
        return None
    return "gradcampp needs a network with a spatial layer before its head; for a linear model use weights or pattern"


def explain(
    classifier: torch.nn.Module, x: torch.Tensor, target: int, *, mask: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """The map (X, Y, Z) of class `target` for one person's x (channels, X, Y, Z), zero outside the mask (X, Y, Z)."""
    return at_voxels(raw(classifier, x, target), classifier, mask)


def raw(classifier: torch.nn.Module, x: torch.Tensor, target: int) -> NDArray[np.float32]:
    """The map on the cells of the layer itself."""
    values, slopes = gradient(classifier, x, target)
    largest = float(np.abs(slopes).max()) or 1.0
    # it needs nothing of the object, which would put hooks on the network
    weigh = GradCAMPlusPlus.get_cam_weights
    return weighed(values, weigh(None, None, None, None, values * largest, slopes / largest) * largest)
