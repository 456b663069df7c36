"""Batches of training samples as volumes."""

import numpy as np
from numpy.typing import NDArray

from bids_app.training.feature_pipeline import FeaturePipeline


class VolumeReader:
    """Turns rows of features x (samples, channels * voxels) into volumes (rows, channels, X, Y, Z).

    The values equal those of `FeaturePipeline.to_volumes`, but the buffer is reused, so the next call overwrites them:
    zeroing new memory for each batch took as long as everything else.
    """

    def __init__(self, pipeline: FeaturePipeline, x: NDArray[np.float32], *, most: int) -> None:
        self.x, self.mask = x, pipeline.grid.seen.mask
        self.room = np.zeros((most, len(pipeline.maps), *self.mask.shape), np.float32)

    def __call__(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the volumes of some rows."""
        for volume, row in zip(self.room, rows, strict=False):
            for image, values in zip(volume, self.x[row].reshape(len(volume), -1), strict=True):
                image[self.mask] = values
        return self.room[: len(rows)]
