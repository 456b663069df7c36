"""Cubic B-splines (Unser 1999, IEEE Signal Process Mag 16:22) of whole volumes, sampled where a movement takes points.

SciPy computes the coefficients; the samples are compiled, since a run has tens of thousands of points per volume.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_app.preprocess._spline_loops import sample_spline

Array = NDArray[np.float32]


class Spline:
    """The interpolation of a volume (X, Y, Z), mirrored about the centres of its outermost voxels;
    at least 3 along each axis.
    """

    def __init__(self, volume: Array) -> None:
        self.coefficients: Array = ndimage.spline_filter(np.ascontiguousarray(volume), order=3, output=np.float32)

    def sample(self, points: Array, matrix: NDArray[np.floating], *, clip: bool) -> tuple[Array, NDArray[np.bool_]]:
        """The values (n,) at `matrix` (4, 4) applied to `points` (n, 3), both in voxels, and which lie in the volume.

        It ends at the outer faces of its voxels. Beyond them a value is 0, or, if `clip`, that of the nearest point
        between the outermost centres.
        """
        values, seen = np.empty(len(points), np.float32), np.empty(len(points), np.bool_)
        sample_spline(self.coefficients, np.ascontiguousarray(matrix[:3], np.float64), points, clip, values, seen)
        return values, seen
