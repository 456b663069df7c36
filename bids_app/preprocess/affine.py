"""Affine registration of two brains by global correlation, from coarse to fine."""

import itertools

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from bids_app.preprocess._registration_loops import sample_image, sum_affine_products
from bids_app.preprocess.conform import average_blocks

Array = NDArray[np.float32]
Matrix = NDArray[np.float64]

LEVELS_MM = (8.0, 4.0, 2.0)
STARTS_DEGREES = (-20.0, 0.0, 20.0)  # nodded and tilted heads, tried at the coarsest level
LEVER_MM = 50.0  # parameters are the displacements at this distance from the centre, so that all are alike
STEPS = (20, 15, 10)
LEAST_MM = 0.02
LEAST_GAIN = 1e-6  # of correlation, below which a level is done


def register_affine(fixed: Array, moving: Array, fixed_affine: Matrix, moving_affine: Matrix) -> Matrix:
    """The matrix (4, 4) from the world of `fixed` to that of `moving`, mm, 12 free parameters.

    Brains (X, Y, Z), 0 outside. It maximises Pearson's correlation over the whole grid of `fixed`, background included,
    so that edges count; at 8, 4 and 2 mm (not finer than `fixed`), from rotations of 0 and 20 degrees about two axes.
    """
    here, there = (
        affine[:3, :3] @ ndimage.center_of_mass(values) + affine[:3, 3]
        for values, affine in ((fixed, fixed_affine), (moving, moving_affine))
    )
    starts = [_start(here, there, angles) for angles in itertools.product(STARTS_DEGREES, (0.0,), STARTS_DEGREES)]
    finest = max(np.linalg.norm(fixed_affine[:3, :3], axis=0))
    for mm, steps in zip(LEVELS_MM, STEPS, strict=True):
        if mm < 0.9 * finest and mm != LEVELS_MM[0]:
            break
        pair = (*average_blocks(fixed, fixed_affine, mm), *average_blocks(moving, moving_affine, mm))
        results = [_refine(pair, start, steps) for start in starts]
        starts = [max(results, key=lambda result: result[1])[0]]
    return starts[0]


def _start(here: Matrix, there: Matrix, angles: tuple[float, ...]) -> Matrix:
    """A rotation that takes the centre of mass of one brain to that of the other."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    matrix[:3, 3] = there - matrix[:3, :3] @ here
    return matrix


def _refine(pair: tuple[Array, Matrix, Array, Matrix], start: Matrix, steps: int) -> tuple[Matrix, float]:
    """The matrix near `start` with the highest correlation, and that correlation, by Gauss-Newton steps.

    Each regresses the fixed brain on the moved one, its derivatives by the 12 parameters, and a constant.
    """
    fixed, fixed_affine, moving, moving_affine = pair
    to_voxels = np.linalg.inv(moving_affine)
    turn, to_lever = np.ascontiguousarray(to_voxels[:3, :3].T), fixed_affine[:3] / LEVER_MM
    values, slopes, sums = np.empty_like(fixed), np.empty((3, *fixed.shape), np.float32), np.empty((15, 15))
    best, highest, matrix, change = start, -1.0, start, np.zeros((3, 4))
    for _ in range(steps + 1):
        sample_image(moving, _displacements(to_voxels @ matrix @ fixed_affine, fixed.shape), values, slopes)
        sum_affine_products(fixed, values, slopes, turn, to_lever, sums)
        correlation = _correlate(sums, fixed.size)
        if correlation <= highest + LEAST_GAIN:
            change = change / 2  # too long a step
            if correlation > highest or np.abs(change).max() < LEAST_MM:
                break
            matrix = _moved(best, change)
            continue
        best, highest = matrix, correlation
        fit = np.linalg.lstsq(sums[:14, :14], sums[:14, 14], rcond=None)[0]
        change = (fit[:12] / fit[12]).reshape(3, 4) if fit[12] > 0 else np.zeros((3, 4))
        matrix = _moved(best, change)
    return best, highest


def _displacements(matrix: Matrix, shape: tuple[int, ...]) -> Array:
    """The field (3, X, Y, Z) that takes the voxels of a grid as the matrix (4, 4) does."""
    steps = (matrix - np.eye(4)).astype(np.float32)
    x, y, z = np.ogrid[: shape[0], : shape[1], : shape[2]]
    return np.stack([row[0] * x + row[1] * y + row[2] * z + row[3] for row in steps[:3]])


def _correlate(sums: Matrix, count: int) -> float:
    """Pearson's correlation of moved and fixed image from their `sum_affine_products`; -1 if the moved one is 0."""
    moved, constant, fixed = 12, 13, 14
    covariance, of_moved, of_fixed = (
        count * sums[here, there] - sums[here, constant] * sums[there, constant]
        for here, there in ((moved, fixed), (moved, moved), (fixed, fixed))
    )
    return float(covariance / np.sqrt(of_moved * of_fixed)) if sums[moved, moved] > 0 else -1.0


def _moved(matrix: Matrix, change: Matrix) -> Matrix:
    """The matrix after a change (3, 4) in mm: at LEVER_MM along each axis, and of all."""
    result = matrix.copy()
    result[:3] += change / [LEVER_MM, LEVER_MM, LEVER_MM, 1.0]
    return result
