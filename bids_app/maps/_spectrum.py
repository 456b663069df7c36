"""Amplitudes of each series at the frequencies of its scan, and what the definitions of ALFF and fALFF make of them.

Without gaps they are those of the Fourier transform; with censored volumes those of the Lomb-Scargle periodogram, a
least-squares sine and cosine at each frequency (Lomb 1976, Astrophys Space Sci 39:447; Scargle 1982, ApJ 263:835).
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from bids_app.errors import DataError, UsageError

Array = NDArray[np.float32]
DEFINITIONS = ("mean", "dpabi", "afni", "cpac", "xcpd")
WITHOUT_GAPS = ("dpabi", "cpac")
BAND = (0.01, 0.08)
CHUNK = 512  # series that are transformed together: they stay in the processor's cache
EDGE_BINS = 1e-6  # in bins: a frequency that is the band's edge but for rounding is in the band


@dataclass(frozen=True)
class SpectralSum:
    """What is summed. Weights (bins,) are of twice the amplitude of the transform, so of one-sided amplitudes.

    ALFF = `scale` * sum(inside * amplitude), fALFF = sum(inside * amplitude) / sum(whole * amplitude); with `squared`
    the roots of such sums of squared amplitudes. `length`: volumes of the transform, zeros added. `basis` (time,
    2 * bins): Lomb-Scargle's cosines and sines, side by side; None where there is no gap.
    """

    length: int
    inside: NDArray[np.float64]
    whole: NDArray[np.float64]
    scale: float
    trend: bool
    squared: bool
    basis: Array | None


def check_band(band: tuple[float, float] | None, *, tr: float) -> tuple[float, float]:
    """The band in Hz, 0.01-0.08 where none is given. Raises DataError for a TR that is not positive or too long."""
    low, high = band or BAND
    if not (math.isfinite(tr) and tr > 0):
        raise DataError(f"the repetition time is {tr} s: give RepetitionTime in the sidecar of the BOLD image")
    if not 0 <= low < high:
        raise UsageError(f"--band {low:g} {high:g}: give the lower frequency first, in Hz, none of them below 0")
    if high > (1 + 1e-9) / (2 * tr):
        raise DataError(
            f"--band {low:g} {high:g} goes above {1 / (2 * tr):.4g} Hz, the highest frequency that volumes {tr:g} s "
            "apart can show; choose a lower band"
        )
    return low, high


def plan_spectral_sum(
    definition: str, *, tr: float, kept: NDArray[np.bool_], band: tuple[float, float] | None
) -> SpectralSum:
    """How a definition sums the amplitudes of a scan of `kept.size` volumes, `tr` seconds apart; `kept` (time,).

    Raises UsageError for an unknown definition; DataError for a band that the scan is too short for or that is above
    the highest frequency, and for gaps where the definition has no meaning over gaps.
    """
    low, high = check_band(band, tr=tr)
    if definition not in DEFINITIONS:
        raise UsageError(f"--alff-definition: there is no {definition}; choose from {', '.join(DEFINITIONS)}")
    gaps = kept.size - np.count_nonzero(kept)
    if gaps and definition in WITHOUT_GAPS:
        raise DataError(
            f"--alff-definition {definition} has no meaning over the gaps that {gaps} censored volumes leave; choose "
            "mean, afni or xcpd, or --fd-threshold 0, which drops none"
        )
    length = 1 << (kept.size - 1).bit_length() if definition == "dpabi" else kept.size
    bins = np.arange(length // 2 + 1)
    inside = _bins_in_band(definition, bins, length * tr * low, length * tr * high)
    if not inside.any():
        raise DataError(
            f"{kept.size} volumes {tr:g} s apart show frequencies {1 / (kept.size * tr):.3g} Hz apart, and none of "
            f"them is in the band {low:g}-{high:g} Hz; choose a wider band or leave this scan out"
        )
    whole = (bins > 0) & (bins < kept.size // 2) if definition == "afni" else bins > 0
    weights = (bins > 0).astype(np.float64)  # XCP-D counts a bin 0 that is nearest to its edge, but the mean is gone
    if length % 2 == 0 and definition != "dpabi":
        weights[-1] = 0.5  # the highest frequency has no mirror image; DPABI doubles it like the others
    scale = _scale(definition, count=int(inside.sum()), volumes=int(np.count_nonzero(kept)))
    basis = _lomb_scargle(kept, trend=definition != "xcpd", power=definition == "xcpd") if gaps else None
    return SpectralSum(
        length, weights * inside, weights * whole, scale, definition != "xcpd", definition == "cpac", basis
    )


def _bins_in_band(definition: str, bins: NDArray[np.int_], low: float, high: float) -> NDArray[np.bool_]:
    """Which bins are in the band, whose edges are given in bins; the mean (bin 0) is in no band but XCP-D's."""
    first, last = low - EDGE_BINS, high + EDGE_BINS
    if definition in ("afni", "cpac"):
        first, last = np.rint(low), np.rint(high)
    if definition == "xcpd":
        first, last = np.abs(bins - low).argmin(), np.abs(bins - high).argmin() - 1
    elif definition == "afni":
        last = min(last, bins.size - 2)
    found: NDArray[np.bool_] = (bins >= max(first, definition != "xcpd")) & (bins <= last)
    return found


def _scale(definition: str, *, count: int, volumes: int) -> float:
    if definition == "afni":
        return math.sqrt(volumes)
    if definition == "cpac":
        return math.sqrt(volumes / (volumes - 1) / 2)
    return math.sqrt(2) / count if definition == "xcpd" else 1 / count


def _lomb_scargle(kept: NDArray[np.bool_], *, trend: bool, power: bool) -> Array:
    """Columns whose products with a series are the amplitudes' cosine and sine parts, side by side (time, 2 * bins).

    They are scaled as a least-squares fit is; with `power` as the periodogram is, so that noise counts alike at each
    frequency. At the highest frequency they are twice the amplitude's, as those of the Fourier transform.
    """
    times = np.flatnonzero(kept).astype(np.float64)
    angle = 2 * np.pi * np.arange(kept.size // 2 + 1) / kept.size * times[:, None]
    shift = np.arctan2(np.sin(2 * angle).sum(axis=0), np.cos(2 * angle).sum(axis=0)) / 2
    waves = np.stack([np.cos(angle - shift), np.sin(angle - shift)], axis=2)
    norms = (waves**2).sum(axis=0)
    there = norms > 1e-9 * len(times)  # at frequency 0 and at the highest one there is a cosine only
    scale = np.sqrt(2 / (len(times) * norms.clip(1e-9))) if power else 1 / norms.clip(1e-9)
    if kept.size % 2 == 0:
        scale[-1] = (math.sqrt(2) if power else 2) * scale[-1]
    columns = np.where(there, waves * scale, 0).reshape(len(times), -1)
    known = np.vander(times / kept.size, 2 if trend else 1)
    basis = np.linalg.qr(known)[0]
    return np.ascontiguousarray(columns - basis @ (basis.T @ columns), dtype=np.float32)


def sum_amplitudes(series: Array, how: SpectralSum, weights: NDArray[np.float64]) -> Array:
    """Weighted sums of each series' amplitudes (voxels, sums); `series` (voxels, time), `weights` (bins, sums)."""
    voxels, volumes = series.shape
    unit = 1 if how.basis is not None else 2 / volumes
    factors = np.ascontiguousarray(weights * (unit**2 if how.squared else unit), dtype=np.float32)
    found = np.empty((voxels, factors.shape[1]), np.float32)
    for start in range(0, voxels, CHUNK):
        amplitudes = _amplitudes(series[start : start + CHUNK], how)
        if how.squared:
            amplitudes *= amplitudes
        np.matmul(amplitudes, factors, out=found[start : start + CHUNK])
    return np.sqrt(found) if how.squared else found


def _amplitudes(series: Array, how: SpectralSum) -> Array:
    # the first volume is taken off, not the mean: that is exact, and what is constant becomes 0
    part = series - series[:, :1]
    if how.basis is not None:
        return np.abs((part @ how.basis).view(np.complex64))
    if how.trend:
        ramp = np.arange(part.shape[1]) - (part.shape[1] - 1) / 2
        ramp = (ramp / np.linalg.norm(ramp)).astype(np.float32)
        part -= (part @ ramp)[:, None] * ramp
    if how.length > part.shape[1]:
        part -= part.mean(axis=1, keepdims=True)  # with zeros added a mean is no longer at frequency 0 alone
    found: Array = np.abs(scipy.fft.rfft(part, n=how.length, axis=1))
    return found
