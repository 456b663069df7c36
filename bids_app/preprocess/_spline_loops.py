"""The loop of `spline`: a cubic B-spline of a volume (X, Y, Z), sampled at moved points, in voxels."""

import numpy as np
from numpy.typing import NDArray

from bids_app import jit

Array = NDArray[np.float32]


@jit.jitted("(f4[:,:,::1], f8[:,::1], f4[:,::1], b1, f4[::1], b1[::1])", fastmath=True)
def sample_spline(
    coefficients: Array, matrix: NDArray[np.float64], points: Array, clip: bool, values: Array, seen: NDArray[np.bool_]
) -> None:
    """`values` (n,) of the spline at `matrix` (3, 4) applied to `points` (n, 3), and which lie within the volume.

    It ends at the outer faces of its voxels. Beyond them a value is 0, or, if `clip`, that of the nearest point between
    the outermost centres. Coefficients are those of `scipy.ndimage.spline_filter`, which mirrors the volume there.
    """
    size_x, size_y, size_z = coefficients.shape
    margin = 0.0 if clip else 0.5
    w_x, w_y, w_z = np.empty(4, np.float32), np.empty(4, np.float32), np.empty(4, np.float32)
    i, j, k = np.empty(4, np.int64), np.empty(4, np.int64), np.empty(4, np.int64)
    for n in range(points.shape[0]):
        p, q, r = points[n, 0], points[n, 1], points[n, 2]
        a = matrix[0, 0] * p + matrix[0, 1] * q + matrix[0, 2] * r + matrix[0, 3]
        b = matrix[1, 0] * p + matrix[1, 1] * q + matrix[1, 2] * r + matrix[1, 3]
        c = matrix[2, 0] * p + matrix[2, 1] * q + matrix[2, 2] * r + matrix[2, 3]
        seen[n] = min(a, b, c) >= -0.5 and a <= size_x - 0.5 and b <= size_y - 0.5 and c <= size_z - 0.5
        if not seen[n] and not clip:
            values[n] = 0
            continue
        for at, size, index, weight in ((a, size_x, i, w_x), (b, size_y, j, w_y), (c, size_z, k, w_z)):
            within = min(max(at, -margin), size - 1 + margin)
            first = int(np.floor(within))
            t = np.float32(within - first)
            u = np.float32(1) - t
            weight[0] = u * u * u / np.float32(6)
            weight[1] = np.float32(2 / 3) - t * t * (np.float32(1) - t / np.float32(2))
            weight[2] = np.float32(2 / 3) - u * u * (np.float32(1) - u / np.float32(2))
            weight[3] = t * t * t / np.float32(6)
            for tap in range(4):
                index[tap] = size - 1 - abs(size - 1 - abs(first - 1 + tap))
        total = np.float32(0)
        for x in range(4):
            for y in range(4):
                along = np.float32(0)
                for z in range(4):
                    along += w_z[z] * coefficients[i[x], j[y], k[z]]
                total += w_x[x] * w_y[y] * along
        values[n] = total
