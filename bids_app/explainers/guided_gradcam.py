"""Guided Grad-CAM: guided backpropagation times the positive part of Grad-CAM.

Fine detail within the area of a positive coarse map. It inherits the limitations of both: see guided_backprop.

Selvaraju et al. 2017, ICCV, 618-626, doi:10.1109/ICCV.2017.74.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from bids_app.explainers import gradcam, guided_backprop

SIGN = "both"
UNIT = "guided gradient times Grad-CAM (arbitrary scale)"
SCOPE = "sample"
SENSITIVITY = True


def check(classifier: torch.nn.Module) -> str | None:
    """Why it does not suit a classifier: one of its two methods does not."""
    for method in (guided_backprop, gradcam):
        if reason := method.check(classifier):
            return f"guided_gradcam: {reason}"
    return None


def explain(
    classifier: torch.nn.Module, x: torch.Tensor, target: int, *, mask: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """The map (X, Y, Z), zero outside the mask, for x (channels, X, Y, Z). Raises as guided_backprop does."""
    coarse = np.maximum(gradcam.explain(classifier, x, target, mask=mask), 0)
    product: NDArray[np.float32] = guided_backprop.explain(classifier, x, target, mask=mask) * coarse
    return product


def checks(classifier: torch.nn.Module, x: torch.Tensor, target: int, values: NDArray[np.float32]) -> dict[str, float]:
    """`relus_guided`: the number of ReLU modules that let only positive gradients pass."""
    return guided_backprop.checks(classifier, x, target, values)
