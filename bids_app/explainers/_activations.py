"""Activations of a network's last spatial layer, `cam_layer`, for one sample, and maps made of them.

A network of volumes has one image per sample, whose feature grid has three axes. A network of slices has one image per
slice, whose feature grid has two, so that the grid of the sample is (slices, rows, columns).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bids_app.classifiers._slices import SliceNetwork
from bids_app.explainers._receptive_field import FeatureGrid, stack_slices, trace_feature_grid, upsample
from bids_app.explainers._state import evaluation_mode

ActivationMap = Callable[[Any, torch.Tensor, int], NDArray[np.float32]]


def explain_by(activation_map: ActivationMap) -> Callable[..., NDArray[np.float32]]:
    """The `explain` of a method that gives one value to each unit of the last spatial layer.

    `activation_map(classifier, x, target)`: the map on the layer's feature grid (three axes).
    """

    def explain(
        classifier: torch.nn.Module, x: torch.Tensor, target: int, *, mask: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """The map (X, Y, Z) of class `target` for one sample x (channels, X, Y, Z), zero outside the mask (X, Y, Z)."""
        return upsample_to_volume(activation_map(classifier, x, target), classifier, mask)

    return explain


def activations_and_logits(
    classifier: torch.nn.Module, x: torch.Tensor
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Activations (images, channels, grid...) of `cam_layer` and the logits (classes,), for x (channels, X, Y, Z)."""
    outputs: list[torch.Tensor] = []
    hook = classifier.get_submodule("cam_layer").register_forward_hook(lambda *args: outputs.append(args[2]))
    try:
        with evaluation_mode(classifier), torch.no_grad():
            logits = classifier(x[None])[0]
    finally:
        hook.remove()
    return _to_array(classifier, outputs[0]), logits.cpu().numpy()


def activations_and_gradients(
    classifier: torch.nn.Module, x: torch.Tensor, target: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Activations of `cam_layer` and the gradient of the class's logit with respect to them, both (images, channels,
    grid...).
    """
    outputs: list[torch.Tensor] = []
    hook = classifier.get_submodule("cam_layer").register_forward_hook(lambda *args: outputs.append(args[2]))
    try:
        with evaluation_mode(classifier):
            logit = classifier(x[None].detach().clone().requires_grad_())[0, target]
            # with respect to the layer alone: the gradients stored with the parameters stay untouched
            (gradients,) = torch.autograd.grad(logit, outputs[0])
    finally:
        hook.remove()
    return _to_array(classifier, outputs[0]), _to_array(classifier, gradients)


def weighted_sum(values: NDArray[Any], weights: NDArray[Any]) -> NDArray[np.float32]:
    """The sum over channels on the feature grid (three axes): values (images, channels, grid...), weights (images,
    channels), or (1, channels) for the same weights in all images.
    """
    total = (weights.reshape(*weights.shape, *[1] * (values.ndim - 2)) * values).sum(axis=1)
    return np.asarray(total.reshape(total.shape[-3:]), np.float32)


def upsample_to_volume(
    values: NDArray[Any], classifier: torch.nn.Module, mask: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Values on the feature grid (three axes), interpolated to the voxels; zero outside the mask (X, Y, Z).

    Those of slices lie where each slice was cut, and are zero beyond the slices that the network was shown.
    """
    grid = feature_grid(classifier, mask.shape)
    if not isinstance(classifier, SliceNetwork):
        return upsample(values, grid, mask.shape) * mask
    axis = classifier.slices.axis
    covered = np.isin(np.arange(mask.shape[axis]), classifier.slices.covered())
    shown = mask & np.moveaxis(covered[:, None, None], 0, axis)
    return upsample(np.moveaxis(values, 0, axis), grid, mask.shape) * shown


def feature_grid(classifier: torch.nn.Module, shape: tuple[int, ...]) -> FeatureGrid:
    """The positions of the layer's units in an image of `shape` (X, Y, Z)."""
    layer = classifier.get_submodule("cam_layer")
    if not isinstance(classifier, SliceNetwork):
        return trace_feature_grid(classifier, layer, shape)
    size = classifier.slices.size
    return stack_slices(classifier.slices, trace_feature_grid(classifier.backbone, layer, (size, size)))


def has_cam_layer(classifier: torch.nn.Module) -> bool:
    """Whether a classifier has a spatial layer before its head."""
    return isinstance(getattr(classifier, "cam_layer", None), torch.nn.Module)


def refuse_without_cam_layer(classifier: torch.nn.Module, method: str) -> str | None:
    """Why a method of the last spatial layer does not suit a classifier; None if it has such a layer."""
    if has_cam_layer(classifier):
        return None
    return f"{method} needs a network with a spatial layer before its head; for a linear model use weights or pattern"


def _to_array(classifier: torch.nn.Module, values: torch.Tensor) -> NDArray[np.float32]:
    """The output of the layer as an array (images, channels, grid...)."""
    values = classifier.grid(values) if isinstance(classifier, SliceNetwork) else values
    return values.detach().cpu().numpy()
