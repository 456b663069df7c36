"""Regional homogeneity: the similarity of a voxel's series with its neighbours', as Kendall's concordance W.

W = (12 sum R^2 - 3 M^2 N (N + 1)^2) / (M^2 N (N^2 - 1) - M sum(t^3 - t)), with R the sum over M series of the average
ranks at a volume, N volumes and t the lengths of runs of ties (Zang et al. 2004; Kendall & Gibbons 1990).
"""

import numpy as np
from numpy.typing import NDArray

from bids_app import jit
from bids_app.errors import UsageError
from bids_app.maps import _ranks
from bids_app.maps._series import check_series

INPUT = "filtered"
UNIT = "Kendall's W (0 to 1)"
ENTITIES = {"stat": "reho"}
SUFFIX = "boldmap"
REGISTRATION = "nonlinear"
ANALYSIS_MASK = "gm"
SCALING = "mean"
SMOOTHING_MM = 6.0
ADJUST_FOR = ()
ATLASES = ("aal", "harvard_oxford")
OPTIONS = {
    "neighbours": {
        "setting": "reho_neighbours",
        "default": 27,
        "choices": (7, 19, 27),
        "summary": "voxels of a neighbourhood of `reho`, its centre included: 7, 19 or 27 ({default})",
    }
}
CONNECTIVITY = {7: 1, 19: 2, 27: 3}  # by neighbours: the number of axes along which they may be one voxel away
CHUNK = 4096


def compute(series: NDArray[np.float32], *, mask: NDArray[np.bool_], neighbours: int) -> NDArray[np.float32]:
    """Kendall's W of each voxel with those neighbours that lie in the mask; 0 to 1.

    `series` (voxels, time), in any unit: band-passed, unsmoothed, without censored volumes; `mask` (X, Y, Z), true at
    those voxels. A voxel that has no neighbour, or is constant, is 0; a constant neighbour has no concordance. Raises
    DataError for a mask that is empty or of another size, or under 3 volumes; UsageError unless 7, 19 or 27 neighbours.
    Zang et al. 2004, NeuroImage 22:394.
    """
    check_series(series, mask=mask)
    near = _near(mask, neighbours)
    ranks, squares = _ranks.ranked(np.ascontiguousarray(series, np.float32), judges=neighbours)
    concordance = np.zeros(len(series), np.float32)
    agree = _agreement if jit.available() else _agreement_by_numpy
    agree(ranks, squares, near, concordance)
    return concordance


def caption(mask: NDArray[np.bool_], *, neighbours: int) -> str:
    """The number of voxels of each neighbourhood: fewer at the edge of the mask (X, Y, Z), where values are higher."""
    count = (_near(mask, neighbours) >= 0).sum(axis=1, dtype=np.int32)
    share = 100 * float((count == neighbours).mean())
    return (
        f"Each value is computed from a voxel and its neighbours in the mask: all {neighbours} for {share:.0f} % of "
        f"the voxels, fewer at the edge (median {np.median(count):.0f}, minimum {count.min()})."
    )


def _near(mask: NDArray[np.bool_], neighbours: int) -> NDArray[np.int32]:
    """Rows of the series of each voxel's neighbours (voxels, neighbours), -1 for those outside the mask."""
    if neighbours not in CONNECTIVITY:
        raise UsageError(f"{neighbours} neighbours: choose 7, 19 or 27")
    rows = np.full(np.add(mask.shape, 2), -1, np.int32)
    rows[1:-1, 1:-1, 1:-1][mask] = np.arange(np.count_nonzero(mask), dtype=np.int32)
    steps = np.argwhere(np.ones((3, 3, 3))) - 1
    steps = steps[np.abs(steps).sum(axis=1) <= CONNECTIVITY[neighbours]]
    moves = steps @ np.array([rows.shape[1] * rows.shape[2], rows.shape[2], 1])
    here = np.flatnonzero(rows.ravel() >= 0)
    near: NDArray[np.int32] = rows.ravel()[here[:, None] + moves]
    return near


@jit.jitted(*(f"({kind}[:, ::1], i8[::1], i4[:, ::1], f4[::1])" for kind in ("i2", "i4")))
def _agreement(
    ranks: _ranks.Ranks, squares: NDArray[np.int64], near: NDArray[np.int32], concordance: NDArray[np.float32]
) -> None:
    volumes = ranks.shape[1]
    total = np.empty(volumes, ranks.dtype)
    for voxel in range(len(near)):
        total[:] = 0
        judges, square_sum = 0, np.int64(0)
        for neighbour in range(near.shape[1]):
            row = near[voxel, neighbour]
            if row >= 0:
                judges += 1
                square_sum += squares[row]
                for time in range(volumes):
                    total[time] += ranks[row, time]
        if judges > 1 and squares[voxel] > 0:
            shared = np.int64(0)
            for time in range(volumes):
                shared += np.int64(total[time]) * np.int64(total[time])
            concordance[voxel] = shared / (judges * square_sum)


def _agreement_by_numpy(
    ranks: _ranks.Ranks, squares: NDArray[np.int64], near: NDArray[np.int32], concordance: NDArray[np.float32]
) -> None:
    for start in range(0, len(near), CHUNK):
        rows = near[start : start + CHUNK]
        there = rows >= 0
        total = np.zeros((len(rows), ranks.shape[1]), ranks.dtype)
        for neighbour in range(rows.shape[1]):
            has = there[:, neighbour]
            total[has] += ranks[rows[has, neighbour]]
        shared = (total.astype(np.int64) ** 2).sum(axis=1)
        judges = there.sum(axis=1)
        square_sum = np.where(there, squares[rows], 0).sum(axis=1)
        varies = (judges > 1) & (squares[start : start + CHUNK] > 0)
        concordance[start : start + CHUNK][varies] = shared[varies] / (judges * square_sum)[varies]
