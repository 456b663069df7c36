"""The loops of `greedy`: sampling, box means and smoothing of images (X, Y, Z) and fields (3, X, Y, Z), in voxels."""

import numpy as np
from numpy.typing import NDArray

from bids_app import jit

Array = NDArray[np.float32]


@jit.jitted("(f4[:,:,::1], f4[:,:,:,::1], f4[:,:,::1], f4[:,:,:,::1])", fastmath=True)
def sample_image(image: Array, field: Array, values: Array, slopes: Array) -> None:
    """`values` of the image at x + field(x), trilinear and 0 outside, and their `slopes` per voxel."""
    last_x, last_y, last_z = image.shape[0] - 1, image.shape[1] - 1, image.shape[2] - 1
    for x in range(values.shape[0]):
        for y in range(values.shape[1]):
            for z in range(values.shape[2]):
                a, b, c = x + field[0, x, y, z], y + field[1, x, y, z], z + field[2, x, y, z]
                if not (a >= 0 and b >= 0 and c >= 0 and a < last_x and b < last_y and c < last_z):
                    values[x, y, z] = 0
                    slopes[0, x, y, z] = slopes[1, x, y, z] = slopes[2, x, y, z] = 0
                    continue
                i, j, k = int(a), int(b), int(c)
                f, g, h = a - i, b - j, c - k
                along_00 = image[i, j, k + 1] - image[i, j, k]
                along_01 = image[i, j + 1, k + 1] - image[i, j + 1, k]
                along_10 = image[i + 1, j, k + 1] - image[i + 1, j, k]
                along_11 = image[i + 1, j + 1, k + 1] - image[i + 1, j + 1, k]
                p_00 = image[i, j, k] + along_00 * h
                p_01 = image[i, j + 1, k] + along_01 * h
                p_10 = image[i + 1, j, k] + along_10 * h
                p_11 = image[i + 1, j + 1, k] + along_11 * h
                low, high = p_00 + (p_01 - p_00) * g, p_10 + (p_11 - p_10) * g
                values[x, y, z] = low + (high - low) * f
                slopes[0, x, y, z] = high - low
                slopes[1, x, y, z] = (p_01 - p_00) * (1 - f) + (p_11 - p_10) * f
                near, far = along_00 * (1 - g) + along_01 * g, along_10 * (1 - g) + along_11 * g
                slopes[2, x, y, z] = near * (1 - f) + far * f


@jit.jitted("(f4[:,:,::1], f4[:,:,::1], f4[:,:,:,::1], f8[:,::1], f8[:,::1], f8[:,::1])", fastmath=True)
def sum_affine_products(
    fixed: Array,
    values: Array,
    slopes: Array,
    turn: NDArray[np.float64],
    to_lever: NDArray[np.float64],
    sums: NDArray[np.float64],
) -> None:
    """The `sums` (15, 15), over the voxels of `fixed`, of products of what an affine registration regresses.

    These are the derivatives of the moved image by the 12 parameters (direction in the world by lever), that image
    (`values`), 1, and the fixed image. `turn` (3, 3) takes `slopes` of `sample_image` to the world, `to_lever` (3, 4)
    voxels to their lever. Voxels at which both images are 0 are left out.
    """
    row, lever = np.empty(15), np.ones(4)
    sums[:] = 0
    for x in range(fixed.shape[0]):
        for y in range(fixed.shape[1]):
            for z in range(fixed.shape[2]):
                if values[x, y, z] == 0 and fixed[x, y, z] == 0:
                    continue
                for d in range(3):
                    lever[d] = to_lever[d, 0] * x + to_lever[d, 1] * y + to_lever[d, 2] * z + to_lever[d, 3]
                u, v, w = slopes[0, x, y, z], slopes[1, x, y, z], slopes[2, x, y, z]
                for d in range(3):
                    slope = turn[d, 0] * u + turn[d, 1] * v + turn[d, 2] * w
                    for e in range(4):
                        row[4 * d + e] = slope * lever[e]
                row[12], row[13], row[14] = values[x, y, z], 1.0, fixed[x, y, z]
                for d in range(15):
                    for e in range(15):
                        sums[d, e] += row[d] * row[e]


@jit.jitted("(f4[:,:,::1], f8[:,::1], f4[:,::1], f4[::1])", fastmath=True)
def sample_points(image: Array, matrix: NDArray[np.float64], points: Array, values: Array) -> None:
    """`values` (n,) of the image at `matrix` (3, 4) applied to `points` (n, 3), trilinear.

    The image ends at the outer faces of its voxels, as in ITK: up to there a value is that at the nearest point between
    the outermost centres, and 0 beyond.
    """
    size_x, size_y, size_z = image.shape
    for n in range(points.shape[0]):
        p, q, r = points[n, 0], points[n, 1], points[n, 2]
        a = matrix[0, 0] * p + matrix[0, 1] * q + matrix[0, 2] * r + matrix[0, 3]
        b = matrix[1, 0] * p + matrix[1, 1] * q + matrix[1, 2] * r + matrix[1, 3]
        c = matrix[2, 0] * p + matrix[2, 1] * q + matrix[2, 2] * r + matrix[2, 3]
        if not (min(a, b, c) >= -0.5 and a <= size_x - 0.5 and b <= size_y - 0.5 and c <= size_z - 0.5):
            values[n] = 0
            continue
        a, b, c = min(max(a, 0.0), size_x - 1.0), min(max(b, 0.0), size_y - 1.0), min(max(c, 0.0), size_z - 1.0)
        i, j, k = int(a), int(b), int(c)
        f, g, h = np.float32(a - i), np.float32(b - j), np.float32(c - k)
        i_1, j_1, k_1 = min(i + 1, size_x - 1), min(j + 1, size_y - 1), min(k + 1, size_z - 1)
        p_00 = image[i, j, k] + (image[i, j, k_1] - image[i, j, k]) * h
        p_01 = image[i, j_1, k] + (image[i, j_1, k_1] - image[i, j_1, k]) * h
        p_10 = image[i_1, j, k] + (image[i_1, j, k_1] - image[i_1, j, k]) * h
        p_11 = image[i_1, j_1, k] + (image[i_1, j_1, k_1] - image[i_1, j_1, k]) * h
        low, high = p_00 + (p_01 - p_00) * g, p_10 + (p_11 - p_10) * g
        values[n] = low + (high - low) * f


@jit.jitted("(f4[:,:,:,::1], f4[:,:,:,::1], f8, f8, f4[:,:,:,::1])", fastmath=True)
def follow_field(field: Array, step: Array, of_step: float, of_field: float, result: Array) -> None:
    """`of_step` * step(x) + `of_field` * field(x + step(x)); a field goes on beyond its border as it is there."""
    end_x, end_y, end_z = step.shape[1] - 1.001, step.shape[2] - 1.001, step.shape[3] - 1.001
    for x in range(step.shape[1]):
        for y in range(step.shape[2]):
            for z in range(step.shape[3]):
                a = min(max(x + step[0, x, y, z], 0.0), end_x)
                b = min(max(y + step[1, x, y, z], 0.0), end_y)
                c = min(max(z + step[2, x, y, z], 0.0), end_z)
                i, j, k = int(a), int(b), int(c)
                f, g, h = a - i, b - j, c - k
                w_00, w_01, w_10, w_11 = (1 - f) * (1 - g), (1 - f) * g, f * (1 - g), f * g
                for d in range(3):
                    u = field[d]
                    low = u[i, j, k] * w_00 + u[i, j + 1, k] * w_01 + u[i + 1, j, k] * w_10 + u[i + 1, j + 1, k] * w_11
                    k_1 = k + 1
                    high = u[i, j, k_1] * w_00 + u[i, j + 1, k_1] * w_01
                    high += u[i + 1, j, k_1] * w_10 + u[i + 1, j + 1, k_1] * w_11
                    result[d, x, y, z] = of_step * step[d, x, y, z] + of_field * (low + (high - low) * h)


@jit.jitted("(f4[:,:,::1], i8, f4[:,:,::1], f4[:,:,::1])", fastmath=True)
def average_boxes(values: Array, radius: int, scratch: Array, result: Array) -> None:
    """The mean of the values in the cube of 2 * radius + 1 voxels round each; 0 beyond the border."""
    size_x, size_y, size_z = values.shape
    share = np.float32(1.0 / (2 * radius + 1) ** 3)
    for x in range(size_x):
        for y in range(size_y):
            total = np.float32(0)
            for z in range(-radius, size_z):
                if z + radius < size_z:
                    total += values[x, y, z + radius]
                if z - radius - 1 >= 0:
                    total -= values[x, y, z - radius - 1]
                if z >= 0:
                    result[x, y, z] = total
    for x in range(size_x):
        row = np.zeros(size_z, np.float32)
        for y in range(-radius, size_y):
            if y + radius < size_y:
                for z in range(size_z):
                    row[z] += result[x, y + radius, z]
            if y - radius - 1 >= 0:
                for z in range(size_z):
                    row[z] -= result[x, y - radius - 1, z]
            if y >= 0:
                for z in range(size_z):
                    scratch[x, y, z] = row[z]
    plane = np.zeros((size_y, size_z), np.float32)
    for x in range(-radius, size_x):
        if x + radius < size_x:
            for y in range(size_y):
                for z in range(size_z):
                    plane[y, z] += scratch[x + radius, y, z]
        if x - radius - 1 >= 0:
            for y in range(size_y):
                for z in range(size_z):
                    plane[y, z] -= scratch[x - radius - 1, y, z]
        if x >= 0:
            for y in range(size_y):
                for z in range(size_z):
                    result[x, y, z] = plane[y, z] * share


@jit.jitted("(f4[:,:,::1], f4[::1], f4[:,:,::1])", fastmath=True)
def smooth_in_place(values: Array, kernel: Array, scratch: Array) -> None:
    """Convolve along each axis with the symmetric kernel (its centre first); the border value goes on beyond it."""
    size_x, size_y, size_z = values.shape
    reach = kernel.size - 1
    for x in range(size_x):
        for y in range(size_y):
            for z in range(size_z):
                scratch[x, y, z] = kernel[0] * values[x, y, z]
        for t in range(1, reach + 1):
            low, high = max(x - t, 0), min(x + t, size_x - 1)
            for y in range(size_y):
                for z in range(size_z):
                    scratch[x, y, z] += kernel[t] * (values[low, y, z] + values[high, y, z])
    row = np.empty(size_z + 2 * reach, np.float32)
    for x in range(size_x):
        for y in range(size_y):
            for z in range(size_z):
                row[reach + z] = kernel[0] * scratch[x, y, z]
            for t in range(1, reach + 1):
                low, high = max(y - t, 0), min(y + t, size_y - 1)
                for z in range(size_z):
                    row[reach + z] += kernel[t] * (scratch[x, low, z] + scratch[x, high, z])
            for t in range(reach):
                row[t], row[reach + size_z + t] = row[reach], row[reach + size_z - 1]
            for z in range(size_z):
                values[x, y, z] = kernel[0] * row[reach + z]
            for t in range(1, reach + 1):
                for z in range(size_z):
                    values[x, y, z] += kernel[t] * (row[reach + z - t] + row[reach + z + t])
