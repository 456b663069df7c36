"""Tissue fractions from a mixture of Gaussians with partial volume, template priors and a Markov field.

Classes are CSF, GM, WM and their neighbouring mixtures CSF/GM and GM/WM (Tohka et al. 2004, NeuroImage 23:84); priors
and neighbours enter as in Zhang et al. 2001 (IEEE TMI 20:45), by mean field.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bids_app import jit
from bids_app.errors import DataError

Array = NDArray[np.float32]
Doubles = NDArray[np.float64]

PRIOR_WEIGHT = 0.5
PRIOR_FLOOR = 1e-3
CLASSES = 5
NEIGHBOURS = 0.5  # weight of a neighbour along each axis
SUBSAMPLED_STEPS = 30  # on every second voxel along each axis, without neighbours
STEPS = 3
DONE = 2e-4  # change of the means, in mean intensities of the brain
LEAST_VARIANCE = 1e-5
OUTSIDE = -1.0
BRIGHTEST = 2.0  # what is brighter than this times the 99th percentile is clipped


@jit.jitted(
    "(f4[:,:,::1], f4[:,:,:,::1], f4[:,:,:,::1], f8[::1], f8[::1], f8[::1], f4[:,:,:,::1], f8[:,::1])", fastmath=True
)
def update_posteriors(
    values: Array,
    priors: Array,
    posteriors: Array,
    means: Doubles,
    variances: Doubles,
    weights: Doubles,
    result: Array,
    sums: Doubles,
) -> None:
    """The posteriors (K, X, Y, Z) given those of the neighbours, where values are not negative; border voxels are left.

    priors: logarithms, of the three tissues; weights: of a neighbour along each axis. sums (K, 3): of the posteriors
    times 1, v and v * v.
    """
    classes = posteriors.shape[0]
    sums[:] = 0
    p = np.empty(classes)
    of_variance = np.log(variances)
    for x in range(1, values.shape[0] - 1):
        for y in range(1, values.shape[1] - 1):
            for z in range(1, values.shape[2] - 1):
                v = values[x, y, z]
                if v < 0:
                    continue
                highest = -1e30
                for k in range(classes):
                    q = posteriors[k]
                    near = weights[0] * (q[x - 1, y, z] + q[x + 1, y, z])
                    near += weights[1] * (q[x, y - 1, z] + q[x, y + 1, z])
                    near += weights[2] * (q[x, y, z - 1] + q[x, y, z + 1])
                    likelihood = -0.5 * ((v - means[k]) ** 2 / variances[k] + of_variance[k])
                    # mixtures are the odd classes
                    prior = (priors[k // 2, x, y, z] + priors[(k + 1) // 2, x, y, z]) / 2
                    p[k] = likelihood + prior + near
                    highest = max(highest, p[k])
                total = 0.0
                for k in range(classes):
                    p[k] = np.exp(p[k] - highest)
                    total += p[k]
                for k in range(classes):
                    share = p[k] / total
                    result[k, x, y, z] = share
                    sums[k, 0] += share
                    sums[k, 1] += share * v
                    sums[k, 2] += share * v * v


def estimate_fractions(
    t1w: Array, mask: NDArray[np.bool_], prior_gm: Array, prior_wm: Array, voxel_mm: Sequence[float]
) -> dict[str, Array]:
    """Fractions of CSF, GM and WM (X, Y, Z); they sum to 1 in the mask and are 0 outside.

    t1w: without bias field. The priors are 0 to 1; that of CSF is the mask minus both.
    Raises DataError for an image of one intensity in the mask, or of none above 0.
    """
    # C order, for which the loops are compiled
    t1w, prior_gm, prior_wm = (np.pad(np.ascontiguousarray(array), 1) for array in (t1w, prior_gm, prior_wm))
    mask = np.pad(np.ascontiguousarray(mask), 1)
    values = np.full(t1w.shape, OUTSIDE, np.float32)
    values[mask] = _relative(t1w[mask])
    priors = np.stack([1 - prior_gm - prior_wm, prior_gm, prior_wm]).clip(PRIOR_FLOOR, 1).astype(np.float32)
    priors /= priors.sum(axis=0)
    inside, certain = values[mask].astype(np.float64), priors[:, mask].astype(np.float64) ** 2
    means = (certain * inside).sum(axis=1) / certain.sum(axis=1)
    variances = np.full(3, max(((inside[:, None] - means) ** 2).min(axis=1).mean(), LEAST_VARIANCE))
    logs = (PRIOR_WEIGHT * np.log(priors)).astype(np.float32)
    every_second = (slice(1, -1, 2),) * 3
    few = np.pad(values[every_second], 1, constant_values=OUTSIDE)
    few_logs = np.pad(logs[(slice(None), *every_second)], ((0, 0), (1, 1), (1, 1), (1, 1)))
    weights = 1 / np.square(np.asarray(voxel_mm, np.float64))
    weights *= 3 * NEIGHBOURS / weights.sum()
    _, means, variances = _maximise(few, few_logs, means, variances, np.zeros(3), SUBSAMPLED_STEPS)
    posteriors, means, _ = _maximise(values, logs, means, variances, weights, STEPS)
    darker, brighter = (_share(values, low, high) for low, high in itertools.pairwise(means))
    csf, csf_gm, gm, gm_wm, wm = posteriors
    fractions = {
        "GM": gm + csf_gm * darker + gm_wm * (1 - brighter),
        "WM": wm + gm_wm * brighter,
        "CSF": csf + csf_gm * (1 - darker),
    }
    return {name: np.ascontiguousarray(array[1:-1, 1:-1, 1:-1], np.float32) for name, array in fractions.items()}


def _relative(inside: Array) -> Array:
    """Intensities of the mask (N,) over their mean; a negative one is dark, and a single one does not set the scale."""
    clipped = inside.clip(0, BRIGHTEST * np.quantile(inside, 0.99))
    if clipped.min() == clipped.max():
        raise DataError(
            "the T1w image has one intensity in all of its brain mask, so that no tissues can be distinguished"
        )
    return np.asarray(clipped / clipped.mean(dtype=np.float64), np.float32)


def _share(values: Array, low: float, high: float) -> Array:
    """The share of the brighter one of two tissues in each voxel, by their means; half of each if these are equal."""
    if low == high:
        return np.full_like(values, 0.5)
    return np.asarray((values - low) / (high - low)).clip(0, 1)


def _maximise(
    values: Array, priors: Array, means: Doubles, variances: Doubles, weights: Doubles, steps: int
) -> tuple[Array, Doubles, Doubles]:
    """Posteriors (5, X, Y, Z), means and variances (3,) after at most `steps` rounds of expectation-maximisation."""
    posteriors, following = (np.zeros((CLASSES, *values.shape), np.float32) for _ in range(2))
    sums = np.zeros((CLASSES, 3))
    for _ in range(steps):
        update_posteriors(values, priors, posteriors, *_with_mixtures(means, variances), weights, following, sums)
        posteriors, following = following, posteriors
        size, first, second = sums[::2].T
        populated = size > 0  # a tissue that no voxel is taken for stays as it was
        before, means = means, np.divide(first, size, out=means.copy(), where=populated)
        spread = np.divide(second, size, out=variances + means**2, where=populated) - means**2
        variances = np.maximum(spread, LEAST_VARIANCE)
        if not weights.any() and np.abs(means - before).max() < DONE:
            break
    return posteriors, means, variances


def _with_mixtures(means: Doubles, variances: Doubles) -> tuple[Doubles, Doubles]:
    """Means and variances of the five classes: a mixture of two tissues has all shares equally often."""
    between = (means[1:] + means[:-1]) / 2
    spread = (variances[1:] + variances[:-1]) / 2 + np.diff(means) ** 2 / 12
    return (
        np.array([means[0], between[0], means[1], between[1], means[2]]),
        np.array([variances[0], spread[0], variances[1], spread[1], variances[2]]),
    )
