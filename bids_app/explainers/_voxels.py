"""From what a method gives for the input of a classifier to a map of voxels."""

import numpy as np
import torch
from numpy.typing import NDArray


def summed(values: torch.Tensor, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The sum over channels: (X, Y, Z), zero outside the mask, of (channels, X, Y, Z); (voxels,) of
    (channels * voxels,)."""
    found = values.detach().cpu().numpy().astype(np.float32)
    if found.ndim == 1:
        return np.asarray(found.reshape(-1, int(mask.sum())).sum(axis=0))
    return np.asarray(found.sum(axis=0) * mask)
