"""What a network's last spatial layer holds for one person."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bids_app.explainers._geometry import cells, upsample
from bids_app.explainers._state import evaluating


def features(classifier: torch.nn.Module, x: torch.Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Activations (channels, cells...) of `cam_layer` and the logits (classes,), for x (channels, X, Y, Z)."""
    seen: list[torch.Tensor] = []
    hook = classifier.get_submodule("cam_layer").register_forward_hook(lambda *given: seen.append(given[2]))
    try:
        with evaluating(classifier), torch.no_grad():
            logits = classifier(x[None])[0]
    finally:
        hook.remove()
    return seen[0][0].cpu().numpy(), logits.cpu().numpy()


def gradient(
    classifier: torch.nn.Module, x: torch.Tensor, target: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Activations of `cam_layer` and the gradient of the class's logit with respect to them, (channels, cells...)."""
    seen: list[torch.Tensor] = []
    hook = classifier.get_submodule("cam_layer").register_forward_hook(lambda *given: seen.append(given[2]))
    try:
        with evaluating(classifier):
            logit = classifier(x[None].detach().clone().requires_grad_())[0, target]
            # with respect to the layer alone: the parameters' own gradients stay untouched
            (slopes,) = torch.autograd.grad(logit, seen[0])
    finally:
        hook.remove()
    return seen[0][0].detach().cpu().numpy(), slopes[0].cpu().numpy()


def at_voxels(values: NDArray[Any], classifier: torch.nn.Module, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Values of the layer's cells brought to the image's grid, zero outside the mask (X, Y, Z)."""
    where = cells(classifier, classifier.get_submodule("cam_layer"), mask.shape)
    return upsample(values, where, mask.shape) * mask


def has_cells(classifier: torch.nn.Module) -> bool:
    """Whether a classifier has a spatial layer before its head."""
    return isinstance(getattr(classifier, "cam_layer", None), torch.nn.Module)


def cell(classifier: torch.nn.Module, shape: tuple[int, ...]) -> tuple[float, ...]:
    """The edges of the layer's cells in voxels of the image, whose shape is (X, Y, Z)."""
    return cells(classifier, classifier.get_submodule("cam_layer"), shape).step
