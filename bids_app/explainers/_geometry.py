"""Where the cells of a feature map lie in the image, and how to bring them back to its grid."""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bids_app.classifiers._slices import Slices

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_COLOURS = 3  # channels of an image, where no convolution says another number


@dataclass(frozen=True)
class Cells:
    """Cell j of an axis is centred on input voxel start + step * j; `shape` is the number of cells an axis."""

    start: tuple[float, ...]
    step: tuple[float, ...]
    shape: tuple[int, ...]


def cells(classifier: nn.Module, layer: nn.Module, shape: tuple[int, ...]) -> Cells:
    """Follow what the output of `layer` is computed from back to an input image of `shape`, and place its cells by the
    kernels, strides, paddings and dilations of the convolutions and pools on the way.

    The way is autograd's own record of a run on torch's meta device, which computes no values: whatever runs is on it
    once, as often as it runs, and nothing else. Branches that join have to agree on where their cells lie. Raises
    ValueError where they do not, and where something on the way changes the grid in another manner.

    Dumoulin & Visin 2016, arXiv:1603.07285; Araujo et al. 2019, Distill, doi:10.23915/distill.00021.
    """
    node: Any = _ran(classifier, layer, shape).grad_fn
    image = Cells((0.0,) * len(shape), (1.0,) * len(shape), shape)
    placed: dict[Any, Cells] = {None: image}
    waiting = [] if node is None else [node]
    while waiting:
        inputs = [before for before, _ in waiting[-1].next_functions if before is not None]
        if missing := [one for one in inputs if one not in placed]:
            waiting += missing
            continue
        done = waiting.pop()
        placed[done] = _after(done, _agreed([placed[one] for one in inputs] or [image]))
    return placed[node]


def _ran(classifier: nn.Module, layer: nn.Module, shape: tuple[int, ...]) -> torch.Tensor:
    """The output of `layer` for an image of `shape`, without values, but with the record of how it came about."""
    tensors = [*classifier.parameters(), *classifier.buffers()]
    # a copy whose tensors are known beforehand, so that none is copied
    network, part = copy.deepcopy((classifier, layer), {id(one): one.detach().to("meta") for one in tensors})
    layers = [one for one in network.modules() if isinstance(one, _CONVOLUTIONS)]
    channels = layers[0].in_channels if layers else _COLOURS
    dtype = next((one.dtype for one in tensors if one.is_floating_point()), None)
    seen: list[torch.Tensor] = []
    part.register_forward_hook(lambda *given: seen.append(given[2]))
    with torch.enable_grad():
        network.eval()(torch.empty(1, channels, *shape, device="meta", dtype=dtype, requires_grad=True))
    return seen[0]


def _agreed(joined: list[Cells]) -> Cells:
    """The one place of cells that several branches share."""
    first = joined[0]
    if any(not np.allclose((one.start, one.step), (first.start, first.step)) for one in joined):
        raise ValueError("branches that join have their cells in different places: no plain chain")
    return first


def _after(node: Any, before: Cells) -> Cells:
    """Where the cells lie after one step of the record; what is neither convolution nor pool leaves them in place."""
    name, axes = node.name(), len(before.shape)
    if name.startswith(("ConvolutionBackward", "MaxPool", "AvgPool")):
        convolves = name.startswith("Conv")
        if convolves and node._saved_transposed:
            raise ValueError("a transposed convolution is not placed: no plain chain")
        kernel = node._saved_weight.shape[2:] if convolves else node._saved_kernel_size
        dilation = getattr(node, "_saved_dilation", 1)
        reach = _each(dilation, axes) * (_each(kernel, axes) - 1)
        stride = _each(node._saved_stride, axes) if len(node._saved_stride) else _each(kernel, axes)
        padding, step = _each(node._saved_padding, axes), np.array(before.step)
        start = before.start + step * (reach / 2 - padding)
        size = _counted(np.array(before.shape), reach, stride, padding, ceil=getattr(node, "_saved_ceil_mode", False))
        return Cells(tuple(start.tolist()), tuple((step * stride).tolist()), tuple(size.tolist()))
    if name.startswith(("AdaptiveAvgPool", "AdaptiveMaxPool", "Upsample")):
        raise ValueError(f"what {name} does to the grid is not placed: no plain chain")
    return before


def _counted(
    size: NDArray[np.int_], reach: NDArray[np.int_], stride: NDArray[np.int_], padding: NDArray[np.int_], *, ceil: bool
) -> NDArray[np.int_]:
    """How many cells there are: with `ceil` also those that hang over the far edge, but none that start beyond it."""
    room = size + 2 * padding - reach - 1
    if not ceil:
        return room // stride + 1
    more: NDArray[np.int_] = -(-room // stride) + 1
    return more - ((more - 1) * stride >= size + padding)


def of_slices(slices: Slices, where: Cells) -> Cells:
    """The cells of all slices together, by X, Y, Z, where each image has the cells `where`, by rows and columns."""
    start, step = slices.place(where.start, where.step)
    shape = list(where.shape)
    shape.insert(slices.axis, len(slices.positions))
    return Cells(start, step, tuple(shape))


def upsample(features: NDArray[Any], where: Cells, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Linear interpolation of cells at the voxels of an image of `shape`; beyond the outermost centres the edge value
    is held.

    Raises ValueError where the cells are not as many as the walk through the layers foretold.
    """
    if features.shape != where.shape:
        raise ValueError(
            f"the layer has {features.shape} cells, but its strides foretell {where.shape}: no plain chain"
        )
    values: NDArray[Any] = features.astype(np.float64)
    for axis, voxels in enumerate(shape):
        weights = _interpolation(np.arange(voxels), where.start[axis], where.step[axis], where.shape[axis])
        values = np.moveaxis(np.tensordot(weights, values, axes=(1, axis)), 0, axis)
    return values.astype(np.float32)


def _interpolation(voxels: NDArray[np.int_], start: float, step: float, count: int) -> NDArray[np.float64]:
    """Weights (voxels, cells) of each cell in each voxel along one axis."""
    position = np.clip((voxels - start) / step, 0, count - 1)
    weights: NDArray[np.float64] = np.maximum(0, 1 - np.abs(position[:, None] - np.arange(count)))
    return weights


def _each(value: int | tuple[int, ...], axes: int) -> NDArray[np.int_]:
    """A layer's setting as one integer an axis."""
    return np.broadcast_to(np.asarray(value), (axes,))
