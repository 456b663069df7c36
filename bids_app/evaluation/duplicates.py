"""Duplicate scans under two participants' names, which could be in training and test at once."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from bids_app.dataset.grid import Grid
from bids_app.evaluation import likeness

MIN_SLICES = 5
MIN_SLICE_VOXELS = 100  # of a slice
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
    x = np.asarray(x)  # rows of a memory map are slow to take
    digests = [_digest(row) for row in x]
    rows = likeness.Rows(*(np.unique(values, return_inverse=True)[1] for values in (list(people), digests)))
    pairs = [
        *_identical_pairs(rows, f"all {grid.voxels} values are equal"),
        *_similar_pairs(x, grid, rows),
        *_pairs_with_equal_slices(x, grid, rows),
    ]
    return sorted(pairs)


def _digest(values: NDArray[np.float32]) -> str:
    """Return a hash of the values, in which -0 is 0."""
    return hashlib.blake2b((values + np.float32(0)).tobytes(), digest_size=16).hexdigest()


def _identical_pairs(rows: likeness.Rows, measure: str) -> Iterator[Pair]:
    """Yield the pairs of rows with equal contents of different participants."""
    order = np.argsort(rows.contents, kind="stable")
    for together in np.split(order, np.flatnonzero(np.diff(rows.contents[order])) + 1):
        for i, j in combinations(together.tolist(), 2):
            if rows.participants[i] != rows.participants[j]:
                yield Pair(i, j, "identical", measure)


def _similar_pairs(x: NDArray[np.float32], grid: Grid, rows: likeness.Rows) -> Iterator[Pair]:
    """Yield the pairs that are more similar than expected by chance."""
    for i, j, value, flipped in likeness.find_similar(x, grid, rows):
        how = ", one of them flipped left-right" if flipped else ""
        yield Pair(i, j, "alike", f"likeness {value:.3f}{how} (1: same scan, 0: unrelated participants)")


def _pairs_with_equal_slices(x: NDArray[np.float32], grid: Grid, rows: likeness.Rows) -> Iterator[Pair]:
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
            if rows.comparable(np.array(i), np.array(j)):
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
