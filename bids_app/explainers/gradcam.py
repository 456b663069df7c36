"""Grad-CAM: channels of the last spatial layer, each weighed by the mean gradient of the class's logit over its
cells, summed.

Signed and unscaled: cells below zero speak against the class; the method's own reading keeps the positive part.
Linear between cell centres, which are placed by the network's strides and paddings. Of a network of slices each slice
is an image with weights of its own.

Selvaraju et al. 2017, ICCV, 618-626, doi:10.1109/ICCV.2017.74; weights of pytorch-grad-cam, without its scaling per
image.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_grad_cam import GradCAM

from bids_app.explainers._features import at_voxels, gradient, has_cells, weighed

SIGN = "positive"
UNIT = "Grad-CAM (change of the logit, arbitrary scale)"
OF = "person"
CELLS = True


def check(classifier: torch.nn.Module) -> str | None:
    """Why there is no Grad-CAM of a classifier: it has no layer of cells."""
    if has_cells(classifier):
        return None
    return "gradcam needs a network with a spatial layer before its head; for a linear model use weights or pattern"


def explain(
    classifier: torch.nn.Module, x: torch.Tensor, target: int, *, mask: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """The map (X, Y, Z) of class `target` for one person's x (channels, X, Y, Z), zero outside the mask (X, Y, Z)."""
    return at_voxels(raw(classifier, x, target), classifier, mask)


def raw(classifier: torch.nn.Module, x: torch.Tensor, target: int) -> NDArray[np.float32]:
    """The map on the cells of the layer itself."""
    values, slopes = gradient(classifier, x, target)
    # it needs nothing of the object, which would put hooks on the network
    return weighed(values, GradCAM.get_cam_weights(None, None, None, None, values, slopes))
