"""Grad-CAM: channels of the last spatial layer, each weighed by the mean gradient of the class's logit over its
cells, summed.

Signed and unscaled: cells below zero speak against the class; the method's own reading keeps the positive part.
Linear between cell centres, which are placed by the network's strides and paddings.

Selvaraju et al. 2017, ICCV, 618-626, doi:10.1109/ICCV.2017.74; sum of pytorch-grad-cam (`get_cam_image`), before its
scaling per image.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from bids_app.explainers._geometry import cells, upsample
from bids_app.explainers._state import evaluating

SIGN = "positive"
UNIT = "Grad-CAM (change of the logit, arbitrary scale)"
OF = "person"
CELLS = True


def check(classifier: torch.nn.Module) -> str | None:
    """Why there is no Grad-CAM of a classifier: it has no layer of cells."""
    if isinstance(getattr(classifier, "cam_layer", None), torch.nn.Module):
        return None
    return "gradcam needs a network with a spatial layer before its head; for a linear model use weights or pattern"


def explain(
    classifier: torch.nn.Module, x: torch.Tensor, target: int, *, mask: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """The map (X, Y, Z) of class `target` for one person's x (channels, X, Y, Z), zero outside the mask (X, Y, Z)."""
    features = raw(classifier, x, target)
    where = cells(classifier, classifier.get_submodule("cam_layer"), tuple(x.shape[1:]))
    return upsample(features, where, tuple(x.shape[1:])) * mask


def raw(classifier: torch.nn.Module, x: torch.Tensor, target: int) -> NDArray[np.float32]:
    """The map on the cells of the layer itself."""
    layer = classifier.get_submodule("cam_layer")
    batch = x[None].detach().clone().requires_grad_()
    with evaluating(classifier):
        # GradCAM as a context manager would hide an IndexError, hence the release by hand.
        method = GradCAM(classifier, [layer])
        try:
            trace = method.activations_and_grads
            logit = trace(batch)[0, target]
            # To the image alone: the parameters' own gradients stay untouched.
            torch.autograd.grad(logit, batch)
            activation, gradient = trace.activations[0].numpy(), trace.gradients[0].numpy()
            image = method.get_cam_image(batch, layer, [ClassifierOutputTarget(target)], activation, gradient)
        finally:
            method.activations_and_grads.release()
    return np.asarray(image[0], np.float32)
