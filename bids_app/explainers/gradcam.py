"""Grad-CAM: channels of the last spatial layer, each weighted by the mean gradient of the class's logit over space,
summed.

Signed and unscaled: values below zero speak against the class; the original method keeps only the positive part.
Interpolated linearly between the layer's units, whose positions follow from the network's strides and paddings. In a
network of slices each slice is an image with weights of its own.

Selvaraju et al. 2017, ICCV, 618-626, doi:10.1109/ICCV.2017.74; weights of pytorch-grad-cam, without its scaling per
image.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_grad_cam import GradCAM

from bids_app.explainers._activations import (
    activations_and_gradients,
    explain_by,
    refuse_without_cam_layer,
    weighted_sum,
)

SIGN = "positive"
UNIT = "Grad-CAM (change of the logit, arbitrary scale)"
SCOPE = "sample"
COARSE = True


def check(classifier: torch.nn.Module) -> str | None:
    """Why there is no Grad-CAM of a classifier: it has no spatial layer."""
    return refuse_without_cam_layer(classifier, "gradcam")


def cam_map(classifier: torch.nn.Module, x: torch.Tensor, target: int) -> NDArray[np.float32]:
    """The map on the layer's feature grid."""
    values, gradients = activations_and_gradients(classifier, x, target)
    # called unbound: constructing GradCAM would register hooks
    return weighted_sum(values, GradCAM.get_cam_weights(None, None, None, None, values, gradients))


explain = explain_by(cam_map)
