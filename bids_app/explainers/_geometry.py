"""Where the cells of a feature map lie in the image, and how to bring them back to its grid."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from bids_app.classifiers._slices import Slices

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)


@dataclass(frozen=True)
class Cells:
    """Cell j of an axis is centred on input voxel start + step * j; `shape` is the number of cells an axis."""

    start: tuple[float, ...]
    step: tuple[float, ...]
    shape: tuple[int, ...]


def cells(classifier: nn.Module, layer: nn.Module, shape: tuple[int, ...]) -> Cells:
    """Follow the kernels, strides, paddings and dilations of convolutions and pools, in their order in the module, up
    to and with `layer`.

    `shape` is that of the input image. A kernel's reach is symmetric about its centre, so parallel branches that join
    without a stride agree. Dumoulin & Visin 2016, arXiv:1603.07285; Araujo et al. 2019, Distill,
    doi:10.23915/distill.00021.
    """
    start, step, size = np.zeros(len(shape)), np.ones(len(shape)), np.array(shape)
    last = list(layer.modules())[-1]
    for module in classifier.modules():
        if isinstance(module, _CONVOLUTIONS + _POOLS):
            reach = _each(getattr(module, "dilation", 1), shape) * (_each(module.kernel_size, shape) - 1)
            stride, padding = _each(module.stride, shape), _each(module.padding, shape)
            start += step * (reach / 2 - padding)
            step *= stride
            room = size + 2 * padding - reach - 1
            size = (-(-room // stride) if getattr(module, "ceil_mode", False) else room // stride) + 1
        if module is last:
            break
    return Cells(tuple(start.tolist()), tuple(step.tolist()), tuple(size.tolist()))


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


def _each(value: int | str | tuple[int, ...], shape: tuple[int, ...]) -> NDArray[np.int_]:
    """A layer's setting as one integer an axis."""
    if isinstance(value, str):
        raise ValueError(f"a padding given as {value!r} is not placed; give its number of voxels")
    return np.broadcast_to(np.asarray(value), (len(shape),))
