"""Duplicate scans under two participants' names, which could be in training and test at once."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import ndtri

from bids_app.dataset import scale
from bids_app.dataset.grid import Grid

# Measured on grey matter of 16 participants of OpenNeuro ds002748, 2 mm, smoothed by 8 mm: different participants
# reach 0.06 (white matter 0.19); a head rotated, shaded, made noisy and processed again has 0.76 or more (0.68
# unsmoothed), one processed with another seed 0.99, a map shifted by a voxel 0.89, a head flipped left to right and
# processed again 0.61. There were no twins or siblings, who should not be reported.
MIN_LIKENESS = 0.6
EXPECTED_FALSE_ALARMS = 0.01  # in a data set
ROUNDING = 1e-6  # of the squared difference of two rows: a smaller one is a copy whatever the spread of the others
MIN_PEOPLE = 4
MIN_SLICES = 5
MIN_SLICE_VOXELS = 100  # of a slice
MAX_SCALING = 10.0
BLOCK = 1 << 22  # values in memory at once
PLANES = {"L": "sagittal", "R": "sagittal", "P": "coronal", "A": "coronal", "I": "axial", "S": "axial"}


@dataclass(frozen=True, order=True)
class Pair:
    """Two rows of different participants, and what they share: every value, "identical"; nearly all individual
    features, "alike"; or neighbouring slices, "slices". `measure` describes how much.
    """

    first: int
    second: int
    kind: str
    measure: str


def find_duplicates(x: NDArray[np.float32], grid: Grid, people: Sequence[str]) -> list[Pair]:
    """Return the pairs of rows of x (rows, voxels of the grid), of different participants, that share a scan or a part.

    x: one map, smoothed as for training; a memory map is read in parts. people: the participant of each row; rows of
    one participant are not compared. An identical pair is not also reported as alike or by its slices.

    Alike: rows are compared, in SDs of the voxel, by their residuals of a least-squares fit of the mean over
    participants, a constant, the mean's slopes along the axes and its Laplacian, divided by their share of the mean.
    This removes the effects of scaling, a small shift or different smoothing. The similarity of a pair is 1 - d / e: d
    is the squared difference, and e that expected of two different participants, the smaller of two estimates: the
    rows' sums of squares, since participants near the mean differ less; and the difference that only a twentieth of all
    pairs fall short of, since participants of one site share much and still differ. A copy has 1 and unrelated
    participants about 0, whatever their number. The same is computed with each second row mirrored left to right, among
    such pairs. A pair is alike from 0.6 on, and only if, by the spread of the other small differences, less than 0.01
    such pairs are expected by chance: cube roots of sums of squares are close to normal (Wilson & Hilferty 1931, PNAS
    17:684). At least 4 participants are required. If no participant shares a site with more than one other and sites
    differ by 2 SDs, those two look like copies.

    Slices: 5 or more neighbouring slices with equal values at the same position along an axis of the grid. A slice
    counts if it has 100 voxels in the mask, not all equal. Smoothing alters a copied block on either side up to the
    width of its kernel.
    """
    names = np.asarray(people)
    apart = np.triu(names[:, None] != names, 1)
    digests = np.array([_digest(row) for row in x])
    identical = apart & (digests[:, None] == digests)
    pairs = [Pair(i, j, "identical", f"all {grid.voxels} values are equal") for i, j in np.argwhere(identical).tolist()]
    apart &= ~identical
    return sorted([*pairs, *_similar_pairs(x, grid, apart), *_pairs_with_equal_slices(x, grid, apart)])


def _digest(values: NDArray[np.float32]) -> str:
    """Return a hash of the values, in which -0 is 0."""
    return hashlib.blake2b((values + np.float32(0)).tobytes(), digest_size=16).hexdigest()


def _similar_pairs(x: NDArray[np.float32], grid: Grid, apart: NDArray[np.bool_]) -> Iterator[Pair]:
    """Yield the pairs, of those marked in `apart` (rows, rows), that are more similar than expected by chance."""
    rows = len(x)
    if rows < MIN_PEOPLE or not apart.any():
        return
    product = _residuals(x, grid)
    power = np.diag(product)
    for columns, how in ((slice(rows), ""), (slice(rows, None), ", one of them flipped left-right")):
        total = (power[:rows, None] + power[columns])[apart]
        difference = np.maximum(total - 2 * product[:rows, columns][apart], 0)
        # two copies pull the mean towards themselves, which shrinks their sums of squares by this factor
        total *= rows**2 / ((rows - 1) * (rows - 2))
        # beyond the number of pairs if every participant is duplicated
        rank = min(max(rows // 2, len(total) // 20), len(total) - 1)
        usual = np.partition(difference, rank)[rank]
        ratio = difference / np.maximum(np.minimum(total, usual), np.finfo(float).tiny)
        similar = ratio <= min(1 - MIN_LIKENESS, max(chance_limit(np.sort(ratio), rank), ROUNDING))
        for (i, j), share in zip(np.argwhere(apart)[similar].tolist(), ratio[similar], strict=True):
            yield Pair(i, j, "alike", f"likeness {1 - share:.3f}{how} (1: same scan, 0: unrelated participants)")


def chance_limit(ratios: NDArray[np.float64], rank: int) -> float:
    """Return the limit below which EXPECTED_FALSE_ALARMS of the sorted ratios are expected, extrapolated from the ranks
    `rank` to twice `rank` as if normal.
    """
    ranks = np.array([rank, min(2 * rank, len(ratios) - 1)])
    (low, high), scores = np.cbrt(ratios[ranks]), ndtri((ranks + 0.5) / len(ratios))
    spread = (high - low) / (scores[1] - scores[0]) if high > low else 0.0
    return float(max(low + (ndtri(EXPECTED_FALSE_ALARMS / len(ratios)) - scores[0]) * spread, 0) ** 3)


def _residuals(x: NDArray[np.float32], grid: Grid) -> NDArray[np.float64]:
    """Return the Gram matrix (2 n, 2 n) of the residuals of the n rows after the fit, and of the rows mirrored."""
    mean, sd = (np.asarray(values, np.float32) for values in scale.fit(x).values())
    patterns = _patterns(mean, grid) / sd
    length = np.maximum(np.linalg.norm(patterns, axis=1), np.finfo(np.float32).tiny)
    patterns /= length[:, None]
    other, there = _mirror_voxels(grid)
    n = len(x)
    product = np.zeros((2 * n + len(patterns),) * 2)
    step = max(BLOCK // n, 1)
    for start in range(0, x.shape[1], step):
        part = slice(start, start + step)
        block = np.vstack([x[:, part], x[:, other[part]], patterns[:, part]])
        block[: 2 * n] -= mean[part]
        block[: 2 * n] /= sd[part]
        block[n : 2 * n] *= there[part]
        product += block @ block.T
    rows, fit = product[: 2 * n], slice(2 * n, None)
    weights = rows[:, fit] @ np.linalg.pinv(product[fit, fit], rcond=1e-6, hermitian=True)
    scaling = np.clip(1 + weights[:, 0] / length[0], 1 / MAX_SCALING, MAX_SCALING)
    left: NDArray[np.float64] = (rows[:, : 2 * n] - weights @ rows[:, fit].T) / np.outer(scaling, scaling)
    return left


def _patterns(mean: NDArray[np.float32], grid: Grid) -> NDArray[np.float32]:
    """Return the mean, a constant, and the mean's gradients and Laplacian, (6, voxels), padded with the edge values."""
    box = grid.cropped
    nearest = ndimage.distance_transform_edt(~box.mask, return_distances=False, return_indices=True)
    volume = box.volume(mean)[tuple(nearest)]
    slopes = [ndimage.correlate1d(volume, [-0.5, 0, 0.5], axis, mode="nearest") for axis in range(3)]
    bend = ndimage.laplace(volume, mode="nearest")
    return np.array([mean, np.ones_like(mean), *(box.vector(pattern) for pattern in (*slopes, bend))])


def _mirror_voxels(grid: Grid) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return for each voxel its mirror voxel, x to -x mm, and whether that is in the mask."""
    world = nib.affines.apply_affine(grid.affine, np.argwhere(grid.mask)) * (-1, 1, 1)
    # the midline may lie between two voxels: all positions must then be rounded to the same side
    place = np.floor(nib.affines.apply_affine(np.linalg.inv(grid.affine), world) + 0.501).astype(np.intp)
    inside = ((place >= 0) & (place < grid.mask.shape)).all(axis=1)
    place[~inside] = 0
    numbers, there = grid.volume(np.arange(grid.voxels)), tuple(place.T)
    return numbers[there], inside & grid.mask[there]


def _pairs_with_equal_slices(x: NDArray[np.float32], grid: Grid, apart: NDArray[np.bool_]) -> Iterator[Pair]:
    """Yield runs of slices that two participants share; slices are compared by hash along each axis."""
    where = np.argwhere(grid.mask)
    slices = {
        (axis, position): inside
        for axis in range(3)
        for position in range(grid.mask.shape[axis])
        if len(inside := np.flatnonzero(where[:, axis] == position)) >= MIN_SLICE_VOXELS
    }
    holders: dict[tuple[int, int, str], list[int]] = defaultdict(list)
    for participant, row in enumerate(x):
        for (axis, position), inside in slices.items():
            values = row[inside]
            if (values != values[0]).any():
                holders[axis, position, _digest(values)].append(participant)
    shared = defaultdict(list)
    for (axis, position, _), together in holders.items():
        for i, j in combinations(together, 2):
            if apart[i, j]:
                shared[i, j, axis].append(position)
    planes = [PLANES[code] for code in nib.aff2axcodes(grid.affine)]
    for (i, j, axis), positions in shared.items():
        positions.sort()
        for run in np.split(positions, np.flatnonzero(np.diff(positions) != 1) + 1):
            if len(run) >= MIN_SLICES:
                measure = (
                    f"{len(run)} {planes[axis]} slices are identical, {run[0]} to {run[-1]} along axis {axis} of "
                    "the grid"
                )
                yield Pair(i, j, "slices", measure)
