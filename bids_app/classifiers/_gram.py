"""Linear algebra in sample space: what a linear model needs of many voxels, without a voxel-by-voxel matrix or a copy
of the data.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK = 1 << 15  # voxels in memory at once, as float64


def chunks(voxels: int) -> Iterator[slice]:
    """Slices that cover range(voxels)."""
    for start in range(0, voxels, CHUNK):
        yield slice(start, min(start + CHUNK, voxels))


def inner_products(x: NDArray[Any], centre: NDArray[Any], *, others: NDArray[Any] | None = None) -> NDArray[np.float64]:
    """Inner products (n, n) of the samples x (n, voxels) minus `centre` (voxels,); or (m, n), of `others` (m, voxels)
    with them.
    """
    product = np.zeros((len(x if others is None else others), len(x)))
    for part in chunks(x.shape[1]):
        block = x[:, part].astype(np.float64) - centre[part]
        product += (block if others is None else others[:, part].astype(np.float64) - centre[part]) @ block.T
    return product


def combine_samples(coefficients: NDArray[Any], x: NDArray[Any], centre: NDArray[Any]) -> NDArray[np.float64]:
    """Sums over samples (k, voxels) of coefficients (k, n) times x (n, voxels) minus `centre` (voxels,)."""
    total = np.empty((len(coefficients), x.shape[1]))
    for part in chunks(x.shape[1]):
        total[:, part] = coefficients @ (x[:, part].astype(np.float64) - centre[part])
    return total
