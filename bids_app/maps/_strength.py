"""Functional connectivity strength: a summary of each series' correlations with all others.

The mean correlation needs no matrix: with z the series at mean 0 and length 1, the sum over j of <z_i, z_j> is
<z_i, sum of z>. The other strengths go through the matrix in square tiles of its upper triangle.
"""

import numpy as np
from numpy.typing import NDArray

from bids_app import jit
from bids_app.errors import UsageError
from bids_app.maps._series import check_series

Array = NDArray[np.float32]
STRENGTHS = ("mean-r", "mean-z", "abs", "positive-squared", "weighted-degree", "binary-degree")
OPTIONS = {
    "strength": {
        "setting": "fcs_measure",
        "former": ("strength",),
        "default": "mean-r",
        "choices": STRENGTHS,
        "summary": "connectivity measure of `fcs` and `rfcs`: {choices} ({default})",
    }
}
DEGREES = ("weighted-degree", "binary-degree")
THRESHOLD = 0.25
MAX_R = 1 - 2**-20  # Fisher's z of a correlation of 1 is infinite: it is limited to 7.28
TILE = 768
CHUNK = 1024


def connectivity_strength(series: Array, *, kind: str) -> Array:
    """One number for each series (n,), from its correlations r with all others that are not constant; 0 if it is.

    `series` (n, time). `mean-r`; `mean-z`: of Fisher's z; `abs`: mean |r|; `positive-squared`: mean of r^2 where r > 0,
    0 elsewhere; `weighted-degree`: sum of the r above 0.25; `binary-degree`: their number.
    Raises UsageError for another kind, DataError for no series or under 3 volumes.
    """
    check_series(series)
    if kind not in STRENGTHS:
        raise UsageError(f"--fcs-measure: there is no {kind}; choose from {', '.join(STRENGTHS)}")
    series = np.ascontiguousarray(series, np.float32)
    shifts, scales = np.empty(len(series), np.float32), np.empty(len(series), np.float32)
    total = np.zeros(series.shape[1])
    (_standards if jit.available() else _standards_by_numpy)(series, shifts, scales, total)
    others = np.count_nonzero(scales) - 1
    if others < 1:
        return np.zeros(len(series), np.float32)
    if kind == "mean-r":
        totals = np.empty(len(series), np.float32)
        along = _along if jit.available() else _along_by_numpy
        along(series, scales, (total - total.mean()).astype(np.float32), totals)
        return np.where(scales > 0, (totals - 1) / np.float32(others), 0).astype(np.float32)
    totals = _tiled(_standardised(series, shifts, scales), kind)
    return totals if kind in DEGREES else totals / np.float32(others)


@jit.jitted("(f4[:, ::1], f4[::1], f4[::1], f8[::1])", fastmath=True)
def _standards(series: Array, shifts: Array, scales: Array, total: NDArray[np.float64]) -> None:
    """Each series' mean after subtraction of its first volume, 1 / its norm, and the sum of the standardised series."""
    volumes = series.shape[1]
    part = np.empty(volumes, np.float32)
    for start in range(0, len(series), 256):
        part[:] = 0
        for row in range(start, min(start + 256, len(series))):
            first, away, square = series[row, 0], np.float32(0), np.float32(0)
            for time in range(volumes):
                away += series[row, time] - first
            away /= np.float32(volumes)
            for time in range(volumes):
                square += (series[row, time] - first - away) ** 2
            scale = np.float32(1 / np.sqrt(square)) if square > 0 else np.float32(0)
            for time in range(volumes):
                part[time] += (series[row, time] - first - away) * scale
            shifts[row], scales[row] = away, scale
        for time in range(volumes):
            total[time] += part[time]


def _standards_by_numpy(series: Array, shifts: Array, scales: Array, total: NDArray[np.float64]) -> None:
    for start in range(0, len(series), CHUNK):
        part = slice(start, start + CHUNK)
        away = series[part] - series[part, :1]
        shifts[part] = away.mean(axis=1)
        away -= shifts[part, None]
        length = np.sqrt(np.einsum("vt,vt->v", away, away))
        scales[part] = np.divide(1, length, out=np.zeros_like(length), where=length > 0)
        total += scales[part] @ away


@jit.jitted("(f4[:, ::1], f4[::1], f4[::1], f4[::1])", fastmath=True)
def _along(series: Array, scales: Array, total: Array, totals: Array) -> None:
    for row in range(len(series)):
        first, product = series[row, 0], np.float32(0)
        for time in range(series.shape[1]):
            product += (series[row, time] - first) * total[time]
        totals[row] = product * scales[row]


def _along_by_numpy(series: Array, scales: Array, total: Array, totals: Array) -> None:
    for start in range(0, len(series), CHUNK):
        part = slice(start, start + CHUNK)
        totals[part] = ((series[part] - series[part, :1]) @ total) * scales[part]


def _standardised(series: Array, shifts: Array, scales: Array) -> Array:
    z = series - series[:, :1]
    z -= shifts[:, None]
    z *= scales[:, None]
    return z


def _tiled(z: Array, kind: str) -> Array:
    """Sums over j != i of what `kind` makes of the correlations; `z` (n, time) at mean 0 and length 1."""
    totals = np.zeros(len(z))
    buffer = np.empty((TILE, TILE), np.float32)
    for top in range(0, len(z), TILE):
        rows = z[top : top + TILE]
        for left in range(top, len(z), TILE):
            columns = z[left : left + TILE]
            tile = buffer.ravel()[: len(rows) * len(columns)].reshape(len(rows), len(columns))
            np.dot(rows, columns.T, out=tile)
            if left == top:
                np.fill_diagonal(tile, 0)
            down, across = _tallied(tile, kind)
            totals[top : top + TILE] += across
            if left > top:
                totals[left : left + TILE] += down
    return totals.astype(np.float32)


def _tallied(tile: Array, kind: str) -> tuple[Array, Array]:
    """Sums over the rows and over the columns of a tile of correlations, which is overwritten."""
    if kind in DEGREES and jit.available():
        down, across = np.zeros(tile.shape[1], np.float32), np.empty(tile.shape[0], np.float32)
        (_weights if kind == "weighted-degree" else _counts)(tile, np.float32(THRESHOLD), down, across)
        return down, across
    if kind in DEGREES:
        above = tile > np.float32(THRESHOLD)
        np.multiply(tile, above, out=tile) if kind == "weighted-degree" else np.copyto(tile, above)
    elif kind == "mean-z":
        np.arctanh(tile.clip(-MAX_R, MAX_R, out=tile), out=tile)
    elif kind == "abs":
        np.abs(tile, out=tile)
    else:
        np.square(tile.clip(0, None, out=tile), out=tile)
    return tile.sum(axis=0), tile.sum(axis=1)


@jit.jitted("(f4[:, ::1], f4, f4[::1], f4[::1])", fastmath=True)
def _weights(tile: Array, threshold: np.float32, down: Array, across: Array) -> None:
    for row in range(tile.shape[0]):
        total = np.float32(0)
        for column in range(tile.shape[1]):
            value = tile[row, column] if tile[row, column] > threshold else np.float32(0)
            total += value
            down[column] += value
        across[row] = total


@jit.jitted("(f4[:, ::1], f4, f4[::1], f4[::1])", fastmath=True)
def _counts(tile: Array, threshold: np.float32, down: Array, across: Array) -> None:
    for row in range(tile.shape[0]):
        total = np.float32(0)
        for column in range(tile.shape[1]):
            value = np.float32(1) if tile[row, column] > threshold else np.float32(0)
            total += value
            down[column] += value
        across[row] = total
