"""What a network's last spatial layer holds for one person.

A network of volumes sees one image, whose cells have three axes; a network of slices sees one image a slice, whose
cells have two, so that all its cells are (slices, rows, columns).
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bids_app.classifiers._slices import OfSlices
from bids_app.explainers._geometry import Cells, cells, of_slices, upsample
from bids_app.explainers._state import evaluating


def features(classifier: torch.nn.Module, x: torch.Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Activations (images, channels, cells...) of `cam_layer` and the logits (classes,), for x (channels, X, Y, Z)."""
    seen: list[torch.Tensor] = []
    hook = classifier.get_submodule("cam_layer").register_forward_hook(lambda *given: seen.append(given[2]))
    try:
        with evaluating(classifier), torch.no_grad():
            logits = classifier(x[None])[0]
    finally:
        hook.remove()
    return _grid(classifier, seen[0]), logits.cpu().numpy()


def gradient(
    classifier: torch.nn.Module, x: torch.Tensor, target: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Activations of `cam_layer` and the gradient of the class's logit with respect to them, both (images, channels,
    cells...).
    """
    seen: list[torch.Tensor] = []
    hook = classifier.get_submodule("cam_layer").register_forward_hook(lambda *given: seen.append(given[2]))
    try:
        with evaluating(classifier):
            logit = classifier(x[None].detach().clone().requires_grad_())[0, target]
            # with respect to the layer alone: the parameters' own gradients stay untouched
            (slopes,) = torch.autograd.grad(logit, seen[0])
    finally:
        hook.remove()
    return _grid(classifier, seen[0]), _grid(classifier, slopes)


def weighed(values: NDArray[Any], weights: NDArray[Any]) -> NDArray[np.float32]:
    """Channels added up to one map of cells (three axes): values (images, channels, cells...), weights (images,
    channels), or (1, channels) for the same in all images.
    """
    columns = weights.reshape(*weights.shape, *[1] * (values.ndim - 2))
    found = (columns * values).sum(axis=1)
    return np.asarray(found.reshape(found.shape[-3:]), np.float32)


def at_voxels(values: NDArray[Any], classifier: torch.nn.Module, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Values of the layer's cells (three axes) brought to the image's grid, zero outside the mask (X, Y, Z).

    Those of slices lie where each slice was cut, and beyond what the slices showed is zero.
    """
    where = placed(classifier, mask.shape)
    if not isinstance(classifier, OfSlices):
        return upsample(values, where, mask.shape) * mask
    axis = classifier.slices.axis
    seen = np.isin(np.arange(mask.shape[axis]), classifier.slices.seen())
    shown = mask & np.moveaxis(seen[:, None, None], 0, axis)
    return upsample(np.moveaxis(values, 0, axis), where, mask.shape) * shown


def placed(classifier: torch.nn.Module, shape: tuple[int, ...]) -> Cells:
    """Where the layer's cells lie in an image of `shape` (X, Y, Z)."""
    layer = classifier.get_submodule("cam_layer")
    if not isinstance(classifier, OfSlices):
        return cells(classifier, layer, shape)
    return of_slices(classifier.slices, cells(classifier.backbone, layer, (classifier.slices.size,) * 2))


def has_cells(classifier: torch.nn.Module) -> bool:
    """Whether a classifier has a spatial layer before its head."""
    return isinstance(getattr(classifier, "cam_layer", None), torch.nn.Module)


def _grid(classifier: torch.nn.Module, values: torch.Tensor) -> NDArray[np.float32]:
    """What the layer gave as an array (images, channels, cells...)."""
    values = classifier.grid(values) if isinstance(classifier, OfSlices) else values
    return values.detach().cpu().numpy()
