"""Grad-CAM++: channels of the last spatial layer, weighted by their positive gradients, each unit by its own share.

The shares follow from the layer's activations and gradients, as if the score were an exponential of the logit. Signed
and unscaled; the original method keeps only the positive part. Interpolated linearly between the layer's units, whose
positions follow from the network's strides and paddings.

Chattopadhay et al. 2018, WACV, 839-847, doi:10.1109/WACV.2018.00097, equation 19; weights of pytorch-grad-cam, whose
guard against a division by zero (1e-6) would outweigh the small gradients of a mean over many units: it gets gradients
scaled to a maximum of one and activations divided by the same factor, which leaves the formula unchanged.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_grad_cam import GradCAMPlusPlus

from bids_app.explainers._activations import (
    activations_and_gradients,
    explain_by,
    refuse_without_cam_layer,
    weighted_sum,
)

SIGN = "positive"
UNIT = "Grad-CAM++ (arbitrary scale)"
SCOPE = "sample"
COARSE = True


def check(classifier: torch.nn.Module) -> str | None:
    """Why there is no Grad-CAM++ of a classifier: it has no spatial layer."""
    return refuse_without_cam_layer(classifier, "gradcampp")


def cam_map(classifier: torch.nn.Module, x: torch.Tensor, target: int) -> NDArray[np.float32]:
    """The map on the layer's feature grid."""
    values, gradients = activations_and_gradients(classifier, x, target)
    largest = float(np.abs(gradients).max()) or 1.0
    # called unbound: constructing GradCAMPlusPlus would register hooks
    weigh = GradCAMPlusPlus.get_cam_weights
    return weighted_sum(values, weigh(None, None, None, None, values * largest, gradients / largest) * largest)


explain = explain_by(cam_map)
