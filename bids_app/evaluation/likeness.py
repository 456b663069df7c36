"""How alike two participants' maps are beyond what all participants share, for pairs among many participants.

Up to MAX_COMPARED rows, every pair is compared. Among more, the usual difference and its spread are estimated from that
many rows, sampled at random, and pairs are selected by random projections of the residuals (Achlioptas 2003, Journal of
Computer and System Sciences 66:671-687), then compared exactly. Memory is linear in the number of rows, and so is time,
except for one product of the projections.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import ndtri
from sklearn.random_projection import SparseRandomProjection

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
MAX_SCALING = 10.0
MAX_COMPARED = 1000  # rows of which all pairs are compared exactly
PROJECTIONS = 1024  # a squared difference has a relative SD of sqrt(2 / 1024), 4 %
MARGIN = 1 + 6 * (2 / PROJECTIONS) ** 0.5
PROJECTED_ROUNDING = 1e-4  # of the sum of two rows' squares, in single precision
ROWS = 256  # compared with all others at once
BLOCK = 1 << 22  # values in memory at once
MIN_STEP = 512  # voxels read at once, whatever the number of rows


@dataclass(frozen=True)
class Rows:
    """The participant and the content of each row, as numbers; only pairs that differ in both are compared."""

    participants: NDArray[np.intp]
    contents: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.participants)

    def comparable(self, first: NDArray[np.intp], second: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Whether rows `first` and `second`, broadcast against each other, are compared, each pair once."""
        participants, contents = self.participants, self.contents
        differ = (participants[first] != participants[second]) & (contents[first] != contents[second])
        return np.asarray(differ & (first < second))


@dataclass(frozen=True)
class Threshold:
    """What pairs of unrelated participants have: the usual squared difference, and the ratio to it of a copy."""

    usual: float
    limit: float


def find_similar(x: NDArray[np.float32], grid: Grid, rows: Rows) -> Iterator[tuple[int, int, float, bool]]:
    """Yield two rows of x (rows, voxels of the grid), their likeness, and whether the second was flipped left to right.

    The definition is in `duplicates.find_duplicates`.
    """
    n = len(x)
    if n < MIN_PEOPLE:
        return
    residuals = _Residuals(x, grid)
    sampled = np.arange(n)
    if n > MAX_COMPARED:
        sampled = np.sort(np.random.default_rng(0).choice(n, MAX_COMPARED, replace=False))
    product = residuals.inner_products(sampled)
    power = np.diag(product)
    pairs = np.argwhere(rows.comparable(sampled[:, None], sampled))
    if not len(pairs):
        return
    first, second = pairs.T
    projected = residuals.project() if n > MAX_COMPARED else None
    for flipped in (False, True):
        other = second + flipped * len(sampled)
        difference = np.maximum(power[first] + power[other] - 2 * product[first, other], 0)
        threshold = _threshold(difference, (power[first] + power[other]) * _shrinkage(n), n)
        if projected is None:
            selected, squared = np.stack([first, other]), difference
        else:
            selected = _select(projected, rows, threshold, flipped)
            squared = residuals.squared_differences(selected)
        total = residuals.power[selected].sum(axis=0) * _shrinkage(n)
        ratio = squared / _expected(total, threshold.usual)
        similar = ratio <= threshold.limit
        for i, j, share in zip(*selected[:, similar].tolist(), ratio[similar].tolist(), strict=True):
            yield i, j % n, 1 - share, flipped


def _shrinkage(n: int) -> float:
    """Two copies pull the mean of n rows towards themselves; their sums of squares shrink by the inverse of this."""
    return n**2 / ((n - 1) * (n - 2))


def _expected(total: NDArray[np.float64], usual: float) -> NDArray[np.float64]:
    return np.asarray(np.maximum(np.minimum(total, usual), np.finfo(float).tiny))


def _threshold(difference: NDArray[np.float64], total: NDArray[np.float64], n: int) -> Threshold:
    """Return the threshold for n rows, given squared differences and sums of squares of pairs (pairs,) of some rows."""
    # beyond the number of pairs if every participant is duplicated
    rank = min(max(min(n, MAX_COMPARED) // 2, len(difference) // 20), len(difference) - 1)
    usual = float(np.partition(difference, rank)[rank])
    ratios = np.sort(difference / _expected(total, usual))
    among = len(ratios) * max(n / MAX_COMPARED, 1) ** 2
    return Threshold(usual, min(1 - MIN_LIKENESS, max(chance_limit(ratios, rank, among), ROUNDING)))


def chance_limit(ratios: NDArray[np.float64], rank: int, among: float) -> float:
    """Return the limit below which EXPECTED_FALSE_ALARMS ratios are expected `among` so many unrelated pairs, of which
    the sorted `ratios` are a sample: extrapolated from the ranks `rank` to twice `rank` as if their cube roots were
    normal.
    """
    ranks = np.array([rank, min(2 * rank, len(ratios) - 1)])
    (low, high), scores = np.cbrt(ratios[ranks]), ndtri((ranks + 0.5) / len(ratios))
    spread = (high - low) / (scores[1] - scores[0]) if high > low else 0.0
    return float(max(low + (ndtri(EXPECTED_FALSE_ALARMS / among) - scores[0]) * spread, 0) ** 3)


def _select(projected: NDArray[np.float32], rows: Rows, threshold: Threshold, flipped: bool) -> NDArray[np.intp]:
    """Return the pairs (2, pairs) of rows whose projections (2 n, PROJECTIONS) may be below the threshold; the second
    is one of the flipped rows, n to 2 n - 1, if `flipped`.
    """
    n = len(rows)
    others = projected[n:] if flipped else projected[:n]
    power = np.einsum("ij,ij->i", projected, projected)
    everyone, near_pairs = np.arange(n), []
    for start in range(0, n, ROWS):
        block = everyone[start : start + ROWS]
        total = power[block, None] + power[n * flipped :][:n]
        difference = total - 2 * projected[block] @ others.T
        expected = np.minimum(total * (_shrinkage(n) * MARGIN), threshold.usual)
        near = difference <= MARGIN * threshold.limit * expected + PROJECTED_ROUNDING * total
        first, second = np.nonzero(near & rows.comparable(block[:, None], everyone))
        near_pairs.append(np.stack([block[first], second + n * flipped]))
    return np.concatenate(near_pairs, axis=1)


class _Residuals:
    """Residuals (2 n, voxels) of n rows, and of these flipped left to right, of the fit of the mean, a constant, and
    the mean's slopes and Laplacian, in SDs of the voxel, divided by the row's share of the mean; never held as a whole.
    """

    def __init__(self, x: NDArray[np.float32], grid: Grid) -> None:
        self.x, self.n = x, len(x)
        self.mean, self.sd = (np.asarray(values, np.float32) for values in scale.fit(x).values())
        self.other, self.there = _mirror_voxels(grid)
        self.step = max(BLOCK // self.n, MIN_STEP)
        self.patterns = _patterns(self.mean, grid) / self.sd
        length = np.maximum(np.linalg.norm(self.patterns, axis=1), np.finfo(np.float32).tiny)
        self.patterns /= length[:, None]
        projections = np.zeros((2 * self.n, len(self.patterns)))
        squares = np.zeros(2 * self.n)
        overlap = self.patterns.astype(float) @ self.patterns.T.astype(float)
        for part, block in self._scaled(np.arange(self.n)):
            projections += block @ self.patterns[:, part].T
            squares += np.einsum("ij,ij->i", block, block)
        self.weights = projections @ np.linalg.pinv(overlap, rcond=1e-6, hermitian=True)
        self.scaling = np.clip(1 + self.weights[:, 0] / length[0], 1 / MAX_SCALING, MAX_SCALING)
        left = squares - np.einsum("ij,ij->i", self.weights, projections)
        self.power = np.maximum(left, 0) / self.scaling**2  # (2 n,) sums of squares

    def _scaled(self, rows: NDArray[np.intp]) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield parts of the voxels with the scaled rows and flipped rows, (2 rows, voxels of the part)."""
        for start in range(0, self.x.shape[1], self.step):
            part = slice(start, start + self.step)
            block = np.vstack([self.x[rows, part], self.x[np.ix_(rows, self.other[part])]])
            block -= self.mean[part]
            block /= self.sd[part]
            block[len(block) // 2 :] *= self.there[part]
            yield part, block

    def _parts(self, rows: NDArray[np.intp]) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield parts of the voxels with the residuals of so many rows and flipped rows."""
        both = np.concatenate([rows, rows + self.n])
        weights = self.weights[both].astype(np.float32)
        scaling = self.scaling[both, None].astype(np.float32)
        for part, block in self._scaled(rows):
            block -= weights @ self.patterns[:, part]
            block /= scaling
            yield part, block

    def inner_products(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the inner products of m rows and of these flipped, (2 m, 2 m)."""
        product = np.zeros((2 * len(rows),) * 2)
        for _, block in self._parts(rows):
            product += block @ block.T
        return product

    def project(self) -> NDArray[np.float32]:
        """Return random projections (2 n, PROJECTIONS), whose differences are about as long as those of the rows."""
        random = SparseRandomProjection(PROJECTIONS, random_state=0).fit(self.x[:1])
        matrix = random.components_.T.tocsr().astype(np.float32)
        total = np.zeros((2 * self.n, PROJECTIONS), np.float32)
        for part, block in self._parts(np.arange(self.n)):
            total += block @ matrix[part]
        return total

    def squared_differences(self, pairs: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the squared difference of each pair of rows (2, pairs), 0 to 2 n - 1."""
        total = np.zeros(pairs.shape[1])
        if not len(total):
            return total
        rows = np.unique(pairs % self.n)
        first, second = np.searchsorted(rows, pairs % self.n) + len(rows) * (pairs >= self.n)
        for _, block in self._parts(rows):
            for start in range(0, len(total), ROWS):
                some = slice(start, start + ROWS)
                between = block[first[some]] - block[second[some]]
                total[some] += np.einsum("ij,ij->i", between, between)
        return total


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
