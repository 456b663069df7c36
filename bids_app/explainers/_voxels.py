"""From values of a classifier's input to a map of voxels."""

import numpy as np
import torch
from numpy.typing import NDArray


def sum_over_channels(values: torch.Tensor, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The sum over channels: (X, Y, Z), zero outside the mask, of (channels, X, Y, Z); (voxels,) of
    (channels * voxels,)."""
    array = values.detach().cpu().numpy().astype(np.float32)
    if array.ndim == 1:
        return np.asarray(array.reshape(-1, int(mask.sum())).sum(axis=0))
    return np.asarray(array.sum(axis=0) * mask)
