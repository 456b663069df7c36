"""Ranks of each series in time, doubled and centred so that they are small whole numbers."""

import numpy as np
from numpy.typing import NDArray

from bids_app import jit

Bits = NDArray[np.uint32]
Ranks = NDArray[np.int16] | NDArray[np.int32]
MAX_RANK = np.iinfo(np.int16).max
CHUNK = 1024  # series that are ranked together: their keys stay in the processor's cache


@jit.jitted("(u4[:, ::1], i8, u4[:, ::1])")
def _keys(bits: Bits, index_bits: int, keys: Bits) -> None:
    """Whole numbers in the order of the values, cut short, with the volume's number in the lowest bits."""
    sign, room = np.uint32(1 << 31), np.uint32(32 - index_bits)
    for voxel in range(bits.shape[0]):
        low, high = np.uint32(0xFFFFFFFF), np.uint32(0)
        for time in range(bits.shape[1]):
            bit = bits[voxel, time]
            if bit == sign:  # -0.0 ties with 0.0
                bit = np.uint32(0)
            key = np.uint32(~bit) if bit >= sign else np.uint32(bit | sign)
            keys[voxel, time] = key
            low, high = min(low, key), max(high, key)
        span, drop = np.uint32(high - low), np.uint32(0)
        while np.uint32(span >> drop) >> room:
            drop = np.uint32(drop + np.uint32(1))
        for time in range(bits.shape[1]):
            short = np.uint32(np.uint32(keys[voxel, time] - low) >> drop)
            keys[voxel, time] = np.uint32(np.uint32(short << np.uint32(index_bits)) | np.uint32(time))


@jit.jitted(*(f"(f4[:, ::1], u4[:, ::1], i8, {kind}[:, ::1], i8[::1])" for kind in ("i2", "i4")))
def _places(series: NDArray[np.float32], keys: Bits, index_bits: int, ranks: Ranks, squares: NDArray[np.int64]) -> None:
    """Ranks from sorted keys. Keys that are alike may be cut short: their values are put in order, then tied."""
    volumes = series.shape[1]
    shift, index = np.uint32(index_bits), np.uint32((1 << index_bits) - 1)
    value, when = np.empty(volumes, np.float32), np.empty(volumes, np.int64)
    first = np.empty(volumes, np.int64)
    for voxel in range(series.shape[0]):
        key, alike = keys[voxel], 0
        for place in range(volumes - 1):
            alike += (key[place] >> shift) == (key[place + 1] >> shift)
        if alike == 0:
            for place in range(volumes):
                ranks[voxel, np.int64(key[place] & index)] = 2 * place + 1 - volumes
            squares[voxel] = (volumes * volumes * volumes - volumes) // 3
            continue
        for place in range(volumes):
            now = np.int64(key[place] & index)
            here, spot = series[voxel, now], place
            while spot > 0 and value[spot - 1] > here:
                value[spot], when[spot] = value[spot - 1], when[spot - 1]
                spot -= 1
            value[spot], when[spot] = here, now
        first[0] = 0
        for place in range(1, volumes):
            first[place] = first[place - 1] if value[place] == value[place - 1] else place
        last, total = volumes, 0
        for place in range(volumes - 1, -1, -1):
            middle = first[place] + last - volumes
            ranks[voxel, when[place]] = middle
            total += middle * middle
            last = place if first[place] == place else last
        squares[voxel] = total


def _ranked_by_loops(series: NDArray[np.float32], ranks: Ranks, squares: NDArray[np.int64]) -> None:
    index_bits = (series.shape[1] - 1).bit_length()
    keys = np.empty(series.shape, np.uint32)
    _keys(series.view(np.uint32), index_bits, keys)
    keys.sort(axis=1)
    _places(series, keys, index_bits, ranks, squares)


def _ranked_by_numpy(series: NDArray[np.float32], ranks: Ranks, squares: NDArray[np.int64]) -> None:
    from scipy import stats  # takes longer to import than numba takes to rank a brain

    doubled = 2 * stats.rankdata(series, axis=1) - (series.shape[1] + 1)
    ranks[:] = doubled
    squares[:] = (doubled**2).sum(axis=1)


def ranked(series: NDArray[np.float32], *, judges: int) -> tuple[Ranks, NDArray[np.int64]]:
    """Doubled, centred ranks in time, 2 R - (N + 1) with R the average rank of ties, and the sum of their squares.

    `series` (voxels, time). The ranks are int16 where the sum over `judges` series fits into it (27: N up to 1,214),
    int32 above. Without ties the squares sum to (N^3 - N) / 3; each run of t ties takes (t^3 - t) / 3 away.
    """
    voxels, volumes = series.shape
    kind = np.int16 if judges * (volumes - 1) <= MAX_RANK else np.int32
    ranks, squares = np.empty((voxels, volumes), kind), np.empty(voxels, np.int64)
    rank = _ranked_by_loops if jit.available() else _ranked_by_numpy
    for start in range(0, voxels, CHUNK):
        part = slice(start, start + CHUNK)
        rank(series[part], ranks[part], squares[part])
    return ranks, squares
