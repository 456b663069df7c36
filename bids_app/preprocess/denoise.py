"""Regresses motion, tissue signals and drift out of time series, and band-passes them.

Least squares on confounds (Friston et al. 1996, MRM 35:346; Ciric et al. 2017, NeuroImage 154:174); volumes with much
motion are censored and interpolated for the filter only (Power et al. 2012, NeuroImage 59:2142); data and confounds
pass the same filter before the fit (Lindquist et al. 2019, Hum Brain Mapp 40:2358). Order and numbers are those of
nilearn.signal.clean, except that trends run over true time where volumes are censored, and that all of these are
interpolated (nilearn 0.14 skips one if the volume as far from the other end is censored too).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import interpolate, linalg, signal

from bids_app.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

ORDER = 5  # of the Butterworth filter, applied forwards and backwards: nilearn's
CONSTANT = 1e-9  # a confound whose SD is this part of its largest value, or less, is constant
DEPENDENT = 1e-9  # a confound of which this fraction, or less, is not in the others is collinear
ROWS = 8192  # voxels at a time
LONG = 2000  # volumes up to which one matrix product is faster than running the filter

Matrix = NDArray[np.float64]


def clean(
    series: NDArray[np.float32],
    *,
    tr: float,
    confounds: "pd.DataFrame | None",
    sample_mask: NDArray[np.bool_],
    band: tuple[float, float] | None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the denoised and the band-passed series, both (voxels, kept volumes), the former demeaned.

    `series` (voxels, time); `confounds` (time, k), finite on the kept volumes; `band` in Hz, low 0 for a low-pass.
    Without confounds the former are the input; without a band the latter are the former.
    Denoised: intercept, linear trend and confounds, fitted on the kept volumes. Filtered: dropped volumes between kept
    ones are interpolated (cubic spline), trends removed, series and confounds filtered, dropped volumes removed, the
    filtered confounds fitted. Dropped volumes at the ends are excluded from the filter, as a spline diverges there.
    Raises DataError for confounds of another length, a TR, a band or a number of volumes that cannot be used.
    """
    check(series.shape[1], tr=tr, confounds=confounds, sample_mask=sample_mask, band=band)
    table = None if confounds is None else _check_confounds(confounds, sample_mask)
    compact = series if sample_mask.all() else np.ascontiguousarray(series[:, sample_mask])
    denoised = compact if table is None else _regress_out(compact, np.flatnonzero(sample_mask), table)
    if band is None:
        return denoised, denoised
    return denoised, _filter_and_regress(compact, np.flatnonzero(sample_mask), table, tr=tr, band=band)


def check(
    volumes: int,
    *,
    tr: float,
    confounds: "pd.DataFrame | None",
    sample_mask: NDArray[np.bool_],
    band: tuple[float, float] | None,
) -> None:
    """Raise DataError, with the numbers, for input that `clean` would refuse whatever its values."""
    if not (np.isfinite(tr) and tr > 0):
        raise DataError(f"the repetition time is {tr:g} s; it must be above 0")
    lengths = {} if confounds is None else {"the confounds table": len(confounds)}
    for name, rows in (lengths | {"the sample mask": len(sample_mask)}).items():
        if rows != volumes:
            raise DataError(
                f"{name} has {rows} rows and the BOLD image {volumes} volumes; they are from different runs"
            )
    count = int(sample_mask.sum())
    if count < 3:
        raise DataError(f"{count} of {volumes} volumes are retained, too few for any analysis; raise --fd-threshold")
    if band is None:
        return
    low, high = band
    nyquist = 0.5 / tr
    if not 0 <= low < high:
        raise DataError(f"--band {low:g} {high:g}: the first must be at least 0 and below the second")
    if high >= nyquist:
        raise DataError(
            f"--band {low:g} {high:g} reaches or exceeds {nyquist:g} Hz, the Nyquist frequency at a repetition "
            f"time of {tr:g} s; lower it"
        )
    if bins(count, tr=tr, band=band) == 0:
        raise DataError(
            f"{count} retained volumes of {tr:g} s resolve frequencies {1 / (count * tr):.3g} Hz apart, and none "
            f"lies in --band {low:g} {high:g}; widen it, or exclude this run"
        )
    span = int(np.ptp(np.flatnonzero(sample_mask))) + 1
    if span <= padding_length(filter_sections(tr, band)):
        raise DataError(
            f"{span} volumes are too few for the filter of --band {low:g} {high:g}, which requires more than "
            f"{padding_length(filter_sections(tr, band))}; exclude this run, or use --band none"
        )


def bins(volumes: int, *, tr: float, band: tuple[float, float]) -> int:
    """The number of frequencies above 0 in the band that so many volumes can resolve."""
    frequencies = np.arange(1, volumes // 2 + 1) / (volumes * tr)
    slack = 1e-9 / tr
    return int(((frequencies >= band[0] - slack) & (frequencies <= band[1] + slack)).sum())


def _check_confounds(confounds: "pd.DataFrame", sample_mask: NDArray[np.bool_]) -> Matrix:
    """The confounds of the kept volumes, (kept, k)."""
    table = confounds.to_numpy(dtype=np.float64)[sample_mask]
    bad = ~np.isfinite(table)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise DataError(
            f"the confound {confounds.columns[column]} is missing in {int(bad[:, column].sum())} retained "
            f"volumes (first: volume {np.flatnonzero(sample_mask)[row] + 1}); correct the table, or choose "
            "another --denoise"
        )
    return table


def _regress_out(series: NDArray[np.float32], times: NDArray[np.intp], table: Matrix) -> NDArray[np.float32]:
    """Residuals of intercept, trend over true time, and confounds. series (voxels, kept), times (kept,) in volumes."""
    trend = np.column_stack([np.ones(len(times)), times - times.mean()])
    trend /= np.linalg.norm(trend, axis=0)
    fitted = _basis(table - trend @ (trend.T @ table), np.abs(table).max(axis=0, initial=0))
    _check_left(len(times) - 2, fitted.shape[1], table.shape[1], f"{len(times)} retained volumes")
    design = np.hstack([trend, fitted]).astype(np.float32)

    def apply(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(rows - rows @ design @ design.T, dtype=np.float32)

    return _by_chunks(series, apply)


def _filter_and_regress(
    series: NDArray[np.float32],
    times: NDArray[np.intp],
    table: Matrix | None,
    *,
    tr: float,
    band: tuple[float, float],
) -> NDArray[np.float32]:
    """Interpolated, detrended, filtered and fitted. series (voxels, kept) -> (voxels, kept)."""
    sos = filter_sections(tr, band)
    design = np.zeros((len(times), 0))
    if table is not None:
        passed = _pass(table.T, times, sos).T
        design = _basis(passed - passed.mean(axis=0), np.abs(table).max(axis=0, initial=0))
        frequencies = bins(len(times), tr=tr, band=band)
        what = f"{len(times)} retained volumes with {frequencies} frequencies in --band {band[0]:g} {band[1]:g}"
        _check_left(2 * frequencies, design.shape[1], table.shape[1], what)
    if len(times) > LONG:

        def apply(rows: NDArray[np.float32]) -> NDArray[np.float32]:
            passed = _pass(rows.astype(np.float64), times, sos)
            return (passed - (passed @ design) @ design.T).astype(np.float32)

    else:
        # every step is linear in the series, so the steps done on unit pulses make one matrix
        pulses = _pass(np.eye(len(times)), times, sos)
        operator = (pulses - (pulses @ design) @ design.T).astype(np.float32)

        def apply(rows: NDArray[np.float32]) -> NDArray[np.float32]:
            return rows @ operator

    return _by_chunks(series, apply)


def _pass(rows: Matrix, times: NDArray[np.intp], sos: Matrix) -> Matrix:
    """Interpolate rows (n, kept) over dropped volumes, detrend, filter forwards and backwards, and drop again."""
    span = np.arange(times[0], times[-1] + 1)
    whole = rows if len(span) == len(times) else interpolate.CubicSpline(times, rows, axis=1)(span)
    return signal.sosfiltfilt(sos, signal.detrend(whole, axis=1), axis=1)[:, times - times[0]]


def filter_sections(tr: float, band: tuple[float, float]) -> Matrix:
    """Second-order sections of the Butterworth filter for a band in Hz, as scipy.signal takes them (sections, 6)."""
    low, high = band
    if low == 0:
        return signal.butter(ORDER, high, btype="lowpass", fs=1 / tr, output="sos")
    return signal.butter(ORDER, (low, high), btype="bandpass", fs=1 / tr, output="sos")


def padding_length(sos: Matrix) -> int:
    """The volumes by which scipy.signal.sosfiltfilt lengthens a series at either end."""
    alike = min(int((sos[:, 2] == 0).sum()), int((sos[:, 5] == 0).sum()))
    return int(3 * (2 * len(sos) + 1 - alike))


def _basis(table: Matrix, largest: NDArray[np.float64]) -> Matrix:
    """An orthonormal basis of demeaned columns (kept, k); constant and collinear ones are omitted."""
    sd = table.std(axis=0)
    table = table[:, sd > CONSTANT * largest] / sd[sd > CONSTANT * largest]
    if not table.size:
        return np.zeros((len(table), 0))
    q, r, _ = linalg.qr(table, mode="economic", pivoting=True)
    size = np.abs(np.diag(r))
    return np.asarray(q[:, size > DEPENDENT * size[0]], dtype=np.float64)


def _check_left(freedom: int, fitted: int, columns: int, what: str) -> None:
    """Raise DataError if there are as many confounds as the series have degrees of freedom."""
    if fitted >= freedom:
        raise DataError(
            f"{columns} confounds ({fitted} of them independent) leave no degrees of freedom in {what} "
            f"({max(freedom, 0)}); use a --denoise with fewer confounds, censor fewer volumes, widen the band, or "
            "exclude this run"
        )


def _by_chunks(
    series: NDArray[np.float32], apply: Callable[[NDArray[np.float32]], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Apply a linear map that takes constants to 0; the mean is subtracted first, for the precision of float32."""
    out = np.empty_like(series)
    for first in range(0, len(series), ROWS):
        rows = series[first : first + ROWS]
        out[first : first + ROWS] = apply(rows - rows.mean(axis=1, dtype=np.float64, keepdims=True).astype(np.float32))
    return out
