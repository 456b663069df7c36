"""Training people as volumes, read when the loop asks for them."""

import numpy as np
from numpy.typing import NDArray

from bids_app.training.prepare import Preparation


class Reader:
    """Rows of prepared people x (people, channels * voxels) -> volumes (rows, channels, X, Y, Z), so many at most.

    The numbers are those of `Preparation.volumes`, but they stand in the same memory each time, and the next call
    overwrites them: zeroing new memory for each batch took as long as all else.
    """

    def __init__(self, preparation: Preparation, x: NDArray[np.float32], *, most: int) -> None:
        self.x, self.mask = x, preparation.grid.seen.mask
        self.room = np.zeros((most, len(preparation.maps), *self.mask.shape), np.float32)

    def __call__(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """The volumes of some rows."""
        for volume, row in zip(self.room, rows, strict=False):
            for image, values in zip(volume, self.x[row].reshape(len(volume), -1), strict=True):
                image[self.mask] = values
        return self.room[: len(rows)]
