"""Positions of the units of a feature map in the image, and interpolation of their values on its voxels."""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bids_app.classifiers._slices import Slices

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_COLOURS = 3  # channels of an image, unless a convolution has another number


@dataclass(frozen=True)
class FeatureGrid:
    """Unit j along an axis is centred on input voxel start + step * j; `shape`: number of units per axis."""

    start: tuple[float, ...]
    step: tuple[float, ...]
    shape: tuple[int, ...]


def trace_feature_grid(classifier: nn.Module, layer: nn.Module, shape: tuple[int, ...]) -> FeatureGrid:
    """The feature grid of `layer` for an input image of `shape`, from the kernels, strides, paddings and dilations of
    the convolutions and pools between input and layer.

    They are read from autograd's graph of a forward pass on torch's meta device, which computes no values. Branches
    that join have to agree on their grid. Raises ValueError if they do not, or if another operation changes the grid.

    Dumoulin & Visin 2016, arXiv:1603.07285; Araujo et al. 2019, Distill, doi:10.23915/distill.00021.
    """
    node: Any = _run_on_meta(classifier, layer, shape).grad_fn
    image = FeatureGrid((0.0,) * len(shape), (1.0,) * len(shape), shape)
    grids: dict[Any, FeatureGrid] = {None: image}
    waiting = [] if node is None else [node]
    while waiting:
        inputs = [before for before, _ in waiting[-1].next_functions if before is not None]
        if missing := [before for before in inputs if before not in grids]:
            waiting += missing
            continue
        done = waiting.pop()
        grids[done] = _grid_after(done, _shared_grid([grids[before] for before in inputs] or [image]))
    return grids[node]


def _run_on_meta(classifier: nn.Module, layer: nn.Module, shape: tuple[int, ...]) -> torch.Tensor:
    """The output of `layer` for an image of `shape`, without values, but with autograd's graph."""
    tensors = [*classifier.parameters(), *classifier.buffers()]
    # a copy whose tensors are in the memo beforehand, so that none is copied
    memo = {id(tensor): tensor.detach().to("meta") for tensor in tensors}
    network, part = copy.deepcopy((classifier, layer), memo)
    layers = [module for module in network.modules() if isinstance(module, _CONVOLUTIONS)]
    channels = layers[0].in_channels if layers else _COLOURS
    dtype = next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), None)
    outputs: list[torch.Tensor] = []
    part.register_forward_hook(lambda *args: outputs.append(args[2]))
    with torch.enable_grad():
        network.eval()(torch.empty(1, channels, *shape, device="meta", dtype=dtype, requires_grad=True))
    return outputs[0]


def _shared_grid(grids: list[FeatureGrid]) -> FeatureGrid:
    """The grid that the branches have in common."""
    first = grids[0]
    if any(not np.allclose((grid.start, grid.step), (first.start, first.step)) for grid in grids):
        raise ValueError("branches that join have different feature grids: no plain chain")
    return first


def _grid_after(node: Any, before: FeatureGrid) -> FeatureGrid:
    """The grid after one node of the graph; only convolutions and pools change it."""
    name, axes = node.name(), len(before.shape)
    if name.startswith(("ConvolutionBackward", "MaxPool", "AvgPool")):
        convolves = name.startswith("Conv")
        if convolves and node._saved_transposed:
            raise ValueError("the feature grid after a transposed convolution is not supported: no plain chain")
        kernel = node._saved_weight.shape[2:] if convolves else node._saved_kernel_size
        dilation = getattr(node, "_saved_dilation", 1)
        reach = _per_axis(dilation, axes) * (_per_axis(kernel, axes) - 1)
        stride = _per_axis(node._saved_stride, axes) if len(node._saved_stride) else _per_axis(kernel, axes)
        padding, step = _per_axis(node._saved_padding, axes), np.array(before.step)
        start = before.start + step * (reach / 2 - padding)
        size = _output_size(
            np.array(before.shape), reach, stride, padding, ceil=getattr(node, "_saved_ceil_mode", False)
        )
        return FeatureGrid(tuple(start.tolist()), tuple((step * stride).tolist()), tuple(size.tolist()))
    if name.startswith(("AdaptiveAvgPool", "AdaptiveMaxPool", "Upsample")):
        raise ValueError(f"the feature grid after {name} is not supported: no plain chain")
    return before


def _output_size(
    size: NDArray[np.int_], reach: NDArray[np.int_], stride: NDArray[np.int_], padding: NDArray[np.int_], *, ceil: bool
) -> NDArray[np.int_]:
    """The number of units: with `ceil` also those that overlap the far edge, but none that start beyond it."""
    span = size + 2 * padding - reach - 1
    if not ceil:
        return span // stride + 1
    more: NDArray[np.int_] = -(-span // stride) + 1
    return more - ((more - 1) * stride >= size + padding)


def stack_slices(slices: Slices, grid: FeatureGrid) -> FeatureGrid:
    """The grid (X, Y, Z) of all slices together, if each image has the feature grid `grid` (rows, columns)."""
    start, step = slices.to_volume(grid.start, grid.step)
    shape = list(grid.shape)
    shape.insert(slices.axis, len(slices.positions))
    return FeatureGrid(start, step, tuple(shape))


def upsample(features: NDArray[Any], grid: FeatureGrid, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Linear interpolation of units at the voxels of an image of `shape`; beyond the outermost centres the edge value
    is held.

    Raises ValueError if the layer has another number of units than its strides predict.
    """
    if features.shape != grid.shape:
        raise ValueError(f"the layer has {features.shape} units, but its strides predict {grid.shape}: no plain chain")
    values: NDArray[Any] = features.astype(np.float64)
    for axis, voxels in enumerate(shape):
        weights = _interpolation(np.arange(voxels), grid.start[axis], grid.step[axis], grid.shape[axis])
        values = np.moveaxis(np.tensordot(weights, values, axes=(1, axis)), 0, axis)
    return values.astype(np.float32)


def _interpolation(voxels: NDArray[np.int_], start: float, step: float, count: int) -> NDArray[np.float64]:
    """Weights (voxels, units) of each unit in each voxel along one axis."""
    position = np.clip((voxels - start) / step, 0, count - 1)
    weights: NDArray[np.float64] = np.maximum(0, 1 - np.abs(position[:, None] - np.arange(count)))
    return weights


def _per_axis(value: int | tuple[int, ...], axes: int) -> NDArray[np.int_]:
    """A layer's setting as one integer per axis."""
    return np.broadcast_to(np.asarray(value), (axes,))
