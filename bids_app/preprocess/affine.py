"""Affine registration of two brains by global correlation, from coarse to fine."""

import itertools

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from bids_app.preprocess._registration_loops import sample_image
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
    starts = [
        _start(fixed, moving, fixed_affine, moving_affine, angles)
        for angles in itertools.product(STARTS_DEGREES, (0.0,), STARTS_DEGREES)
    ]
    finest = max(np.linalg.norm(fixed_affine[:3, :3], axis=0))
    for mm, steps in zip(LEVELS_MM, STEPS, strict=True):
        if mm < 0.9 * finest and mm != LEVELS_MM[0]:
            break
        pair = (*average_blocks(fixed, fixed_affine, mm), *average_blocks(moving, moving_affine, mm))
        results = [_refine(pair, start, steps) for start in starts]
        starts = [max(results, key=lambda result: result[1])[0]]
    return starts[0]


def _start(
    fixed: Array, moving: Array, fixed_affine: Matrix, moving_affine: Matrix, angles: tuple[float, ...]
) -> Matrix:
    """A rotation about the centres of mass of the two brains."""
    here, there = (
        affine[:3, :3] @ ndimage.center_of_mass(values) + affine[:3, 3]
        for values, affine in ((fixed, fixed_affine), (moving, moving_affine))
    )
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    matrix[:3, 3] = there - matrix[:3, :3] @ here
    return matrix


def _refine(pair: tuple[Array, Matrix, Array, Matrix], start: Matrix, steps: int) -> tuple[Matrix, float]:
    """The matrix near `start` with the highest correlation, and that correlation, by Gauss-Newton steps.

    Each regresses the fixed brain on the moved one, its derivatives by the 12 parameters, and a constant.
    """
    fixed, fixed_affine, moving, moving_affine = pair
    to_moving = np.linalg.inv(moving_affine).astype(np.float32)
    grid = np.stack(np.meshgrid(*(np.arange(count) for count in fixed.shape), indexing="ij")).astype(np.float32)
    world = fixed_affine[:3, :3].astype(np.float32) @ grid.reshape(3, -1) + fixed_affine[:3, 3:].astype(np.float32)
    lever = np.concatenate([world / LEVER_MM, np.ones((1, world.shape[1]), np.float32)])
    values, slopes = np.empty(fixed.shape, np.float32), np.empty((3, *fixed.shape), np.float32)
    best, highest, matrix, change = start, -1.0, start, np.zeros((3, 4))
    for _ in range(steps + 1):
        voxels = to_moving[:3, :3] @ (matrix[:3, :3].astype(np.float32) @ world + matrix[:3, 3:].astype(np.float32))
        sample_image(moving, (voxels + to_moving[:3, 3:]).reshape(grid.shape) - grid, values, slopes)
        correlation = float(np.corrcoef(fixed.ravel(), values.ravel())[0, 1]) if values.any() else -1.0
        if correlation <= highest + LEAST_GAIN:
            change = change / 2  # too long a step
            if correlation > highest or np.abs(change).max() < LEAST_MM:
                break
            matrix = _moved(best, change)
            continue
        best, highest = matrix, correlation
        used = ((fixed > 0) | (values > 0)).ravel()
        by_point = to_moving[:3, :3].T @ slopes.reshape(3, -1)[:, used]
        design = np.concatenate(
            [(by_point[:, None] * lever[None, :, used]).reshape(12, -1), values.ravel()[None, used]]
        )
        design = np.concatenate([design, np.ones((1, design.shape[1]), np.float32)])
        design = design.astype(np.float64)  # sums of float32 would depend on the number of threads
        fit = np.linalg.lstsq(design @ design.T, design @ fixed.ravel()[used].astype(np.float64), rcond=None)[0]
        change = (fit[:12] / fit[12]).reshape(3, 4) if fit[12] > 0 else np.zeros((3, 4))
        matrix = _moved(best, change)
    return best, highest


def _moved(matrix: Matrix, change: Matrix) -> Matrix:
    """The matrix after a change (3, 4) in mm: at LEVER_MM along each axis, and of all."""
    result = matrix.copy()
    result[:3] += change / [LEVER_MM, LEVER_MM, LEVER_MM, 1.0]
    return result
