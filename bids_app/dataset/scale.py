"""Voxelwise scaling by the mean and SD of the training samples."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

FLOOR = 0.1  # of the 95th percentile of the voxels' SDs


def fit(x: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
    """Return `mean` and `sd` (voxels,) over x (samples, voxels), training samples only.

    Where grey matter is nearly absent its SD is nearly zero, and dividing by it would inflate noise: an SD is at least
    a tenth of the 95th percentile of all voxels' SDs. The 95th percentile represents a typical voxel of the map
    whatever part of the mask is empty, and is robust to a few outlying voxels. Constant data get SD 1.
    """
    mean = np.zeros(x.shape[1])
    for values in x:
        mean += values
    mean /= len(x)
    squares = np.zeros(x.shape[1])
    for values in x:
        squares += (values - mean) ** 2
    sd = np.sqrt(squares / max(len(x) - 1, 1))
    return {"mean": mean.astype(np.float32), "sd": np.maximum(sd, floor(sd)).astype(np.float32)}


def floor(sd: NDArray[np.floating]) -> float:
    """Return the minimum SD of a voxel, given the SDs (voxels,)."""
    return float(FLOOR * np.percentile(sd, 95) or FLOOR * sd.max() or 1.0)


def transform(x: NDArray[np.float32], arrays: Mapping[str, NDArray[np.generic]]) -> NDArray[np.float32]:
    """Return x (samples, voxels) minus the training mean, in training SDs."""
    scaled: NDArray[np.float32] = np.subtract(x, arrays["mean"], dtype=np.float32)
    scaled /= np.asarray(arrays["sd"], np.float32)
    return scaled
