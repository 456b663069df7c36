"""Diffeomorphic registration by greedy composition of small smooth steps that raise local correlation.

The scheme is that of Yushkevich et al. 2016 (Alzheimers Dement 12 Suppl:126) with the local normalised correlation of
Avants et al. 2008 (Med Image Anal 12:26). Fields (3, X, Y, Z) are displacements in voxels of the fixed image.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bids_app.preprocess._registration_loops import average_boxes, follow_field, sample_image, smooth_in_place

Array = NDArray[np.float32]

RADIUS = 2
STEP = 1.0  # the longest displacement of a step, voxels
STEP_SIGMA = 1.8  # smoothing of a step, voxels
FIELD_SIGMA = 0.85  # smoothing of the whole field after each step, voxels
LEAST_VARIANCE = 1e-3  # below it (unit: the variance in the fixed brain) a cube is flat and pulls nowhere
INVERSION_STEPS = 25


def register_greedy(fixed: Array, moving: Array, steps: Sequence[int]) -> Array:
    """The field with moving(x + field(x)) like fixed(x), both (X, Y, Z) on one grid and 0 outside the brain.

    `steps`: of each level, the coarsest first; each level halves the voxels of the one before.
    """
    scale = np.float32(fixed[fixed > 0].std())
    multiple = 2 ** (len(steps) - 1)
    margins = [(0, -count % multiple) for count in fixed.shape]
    pair = [np.pad(values, margins).astype(np.float32) / scale for values in (fixed, moving)]
    field: Array | None = None
    for level, count in enumerate(steps):
        f, m = (_shrink(values, multiple >> level) for values in pair)
        field = np.zeros((3, *f.shape), np.float32) if field is None else double_resolution(field)
        field = _climb(f, m, field, count)
    assert field is not None
    x, y, z = fixed.shape
    return np.ascontiguousarray(field[:, :x, :y, :z])


def invert(field: Array) -> Array:
    """The inverse v of a field u, from v(x) = -u(x + v(x)), repeated."""
    inverse, following = np.zeros_like(field), np.empty_like(field)
    for _ in range(INVERSION_STEPS):
        follow_field(field, inverse, 0.0, -1.0, following)
        inverse, following = following, inverse
    return inverse


def local_moments(values: Array) -> tuple[Array, Array]:
    """Mean and variance of the values in the cube of 2 * RADIUS + 1 voxels round each."""
    average = _mean(values)
    return average, _mean(values * values) - average**2


def correlation_slope(fixed: Array, moved: Array, mean_f: Array, variance_f: Array) -> Array:
    """Half the slope of the sum of all squared local correlations by each value of `moved`; all (X, Y, Z).

    mean_f, variance_f: the `local_moments` of `fixed`. Cubes in which one of the two is flat are left out of the sum.
    """
    mean_m, variance_m = local_moments(moved)
    covariance = _mean(fixed * moved) - mean_f * mean_m
    defined = (variance_f > LEAST_VARIANCE) & (variance_m > LEAST_VARIANCE)
    by_f = np.divide(covariance, variance_f * variance_m, out=np.zeros_like(fixed), where=defined)
    by_m = np.divide(by_f * covariance, variance_m, out=np.zeros_like(fixed), where=defined)
    return np.asarray(_mean(by_f) * fixed - _mean(by_m) * moved + _mean(by_m * mean_m - by_f * mean_f), np.float32)


def _mean(values: Array) -> Array:
    scratch, result = np.empty_like(values), np.empty_like(values)
    average_boxes(values, RADIUS, scratch, result)
    return result


def _climb(fixed: Array, moving: Array, field: Array, steps: int) -> Array:
    scratch, values = np.empty_like(fixed), np.empty_like(fixed)
    slopes, following = np.empty_like(field), np.empty_like(field)
    of_step, of_field = _gaussian(STEP_SIGMA), _gaussian(FIELD_SIGMA)
    moments = local_moments(fixed)
    for _ in range(steps):
        sample_image(moving, field, values, slopes)
        slopes *= correlation_slope(fixed, values, *moments)
        for axis in range(3):
            smooth_in_place(slopes[axis], of_step, scratch)
        _hold_border(slopes)
        longest = float(np.sqrt((slopes * slopes).sum(axis=0).max()))
        if longest == 0:
            break
        slopes *= STEP / longest
        follow_field(field, slopes, 1.0, 1.0, following)
        field, following = following, field
        for axis in range(3):
            smooth_in_place(field[axis], of_field, scratch)
        _hold_border(field)
    return field


def _gaussian(sigma: float) -> Array:
    """One half of a Gaussian kernel, its centre first, that sums to 1 with the other half."""
    half = np.exp(-(np.arange(int(np.ceil(3 * sigma)) + 1) ** 2) / (2 * sigma**2))
    return np.asarray(half / (half[0] + 2 * half[1:].sum()), np.float32)


def _hold_border(field: Array) -> None:
    """No displacement at the border, so that the field goes on as 0 outside the grid."""
    for axis in (1, 2, 3):
        for end in (0, -1):
            field[(slice(None),) * axis + (end,)] = 0


def _shrink(values: Array, by: int) -> Array:
    x, y, z = (count // by for count in values.shape)
    return np.ascontiguousarray(values.reshape(x, by, y, by, z, by).mean((1, 3, 5), dtype=np.float32))


def double_resolution(field: Array) -> Array:
    """The field (3, X, Y, Z) on voxels of half the size: linear between centres, constant beyond the outermost."""
    doubled = np.float32(2) * field
    near, far = np.float32(0.75), np.float32(0.25)
    for axis in (1, 2, 3):
        along = np.moveaxis(doubled, axis, 0)
        before, after = np.concatenate([along[:1], along[:-1]]), np.concatenate([along[1:], along[-1:]])
        halves = np.stack([near * along + far * before, near * along + far * after], axis=1)
        doubled = np.moveaxis(halves.reshape(-1, *along.shape[1:]), 0, axis)
    return np.ascontiguousarray(doubled)
