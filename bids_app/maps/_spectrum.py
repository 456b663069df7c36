"""Amplitudes of each series at the frequencies of its scan, and their sums by the definitions of ALFF and fALFF.

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
OPTIONS = {
    "alff_definition": {
        "default": "mean",
        "choices": DEFINITIONS,
        "summary": "definition of `alff` and `falff`: {choices} ({default})",
        "details": "`mean` is the mean amplitude over the band; the others follow the software of that name",
    }
}
WITHOUT_GAPS = ("dpabi", "cpac")
BAND = (0.01, 0.08)
CHUNK = 512  # series transformed at once, so that they stay in the processor's cache
EDGE_BINS = 1e-6  # bins: a frequency at the band's edge up to rounding is in the band


@dataclass(frozen=True)
class SpectralSum:
    """Weights (bins,) of one-sided amplitudes (twice those of the transform), and how they are summed.

    ALFF = `scale` * sum(inside * amplitude), fALFF = sum(inside * amplitude) / sum(whole * amplitude); with `squared`
    the roots of such sums of squared amplitudes. `length`: volumes of the zero-padded transform. `basis` (time,
    2 * bins): Lomb-Scargle's cosines and sines, side by side; None without gaps.
    """

    length: int
    inside: NDArray[np.float64]
    whole: NDArray[np.float64]
    scale: float
    trend: bool
    squared: bool
    basis: Array | None


def check_band(band: tuple[float, float] | None, *, tr: float) -> tuple[float, float]:
    """The band in Hz, by default 0.01-0.08. Raises DataError for a TR that is not positive or too long."""
    low, high = band or BAND
    if not (math.isfinite(tr) and tr > 0):
        raise DataError(f"the repetition time is {tr} s; set RepetitionTime in the sidecar of the BOLD image")
    if not 0 <= low < high:
        raise UsageError(f"--band {low:g} {high:g}: specify the lower frequency first, in Hz, both at least 0")
    if high > (1 + 1e-9) / (2 * tr):
        raise DataError(
            f"--band {low:g} {high:g} goes above {1 / (2 * tr):.4g} Hz, the Nyquist frequency of volumes {tr:g} s "
            "apart; choose a lower band"
        )
    return low, high


def plan_spectral_sum(
    definition: str, *, tr: float, sample_mask: NDArray[np.bool_], band: tuple[float, float] | None
) -> SpectralSum:
    """How a definition sums the amplitudes of a scan of `sample_mask.size` volumes, `tr` seconds apart.

    Raises UsageError for an unknown definition; DataError for a band that the scan is too short for or that is above
    the highest frequency, and for gaps where the definition has no meaning over gaps.
    """
    low, high = check_band(band, tr=tr)
    if definition not in DEFINITIONS:
        raise UsageError(f"--alff-definition: there is no {definition}; choose from {', '.join(DEFINITIONS)}")
    gaps = sample_mask.size - np.count_nonzero(sample_mask)
    if gaps and definition in WITHOUT_GAPS:
        raise DataError(
            f"--alff-definition {definition} requires a series without gaps, and {gaps} volumes are censored; "
            "choose mean, afni or xcpd, or --fd-threshold 0, which censors none"
        )
    length = 1 << (sample_mask.size - 1).bit_length() if definition == "dpabi" else sample_mask.size
    bins = np.arange(length // 2 + 1)
    inside = _bins_in_band(definition, bins, length * tr * low, length * tr * high)
    if not inside.any():
        raise DataError(
            f"{sample_mask.size} volumes {tr:g} s apart resolve frequencies {1 / (sample_mask.size * tr):.3g} Hz "
            f"apart, and none of them is in the band {low:g}-{high:g} Hz; choose a wider band or exclude this "
            "scan"
        )
    whole = (bins > 0) & (bins < sample_mask.size // 2) if definition == "afni" else bins > 0
    weights = (bins > 0).astype(np.float64)  # XCP-D counts a bin 0 that is nearest to its edge, but the mean is gone
    if length % 2 == 0 and definition != "dpabi":
        weights[-1] = 0.5  # the highest frequency has no mirror image; DPABI doubles it like the others
    scale = _scale(definition, count=int(inside.sum()), volumes=int(np.count_nonzero(sample_mask)))
    basis = lomb_scargle_basis(sample_mask, trend=definition != "xcpd", power=definition == "xcpd") if gaps else None
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
    inside: NDArray[np.bool_] = (bins >= max(first, definition != "xcpd")) & (bins <= last)
    return inside


def _scale(definition: str, *, count: int, volumes: int) -> float:
    if definition == "afni":
        return math.sqrt(volumes)
    if definition == "cpac":
        return math.sqrt(volumes / (volumes - 1) / 2)
    return math.sqrt(2) / count if definition == "xcpd" else 1 / count


def lomb_scargle_basis(sample_mask: NDArray[np.bool_], *, trend: bool, power: bool) -> Array:
    """Columns whose products with a series are the amplitudes' cosine and sine parts, side by side (time, 2 * bins).

    They are scaled as a least-squares fit; with `power` as the periodogram, so that noise has equal weight at each
    frequency. At the highest frequency they are doubled, as those of the Fourier transform are.
    """
    times = np.flatnonzero(sample_mask).astype(np.float64)
    angle = 2 * np.pi * np.arange(sample_mask.size // 2 + 1) / sample_mask.size * times[:, None]
    shift = np.arctan2(np.sin(2 * angle).sum(axis=0), np.cos(2 * angle).sum(axis=0)) / 2
    waves = np.stack([np.cos(angle - shift), np.sin(angle - shift)], axis=2)
    norms = (waves**2).sum(axis=0)
    there = norms > 1e-9 * len(times)  # frequency 0 and the highest one have only a cosine
    scale = np.sqrt(2 / (len(times) * norms.clip(1e-9))) if power else 1 / norms.clip(1e-9)
    if sample_mask.size % 2 == 0:
        scale[-1] = (math.sqrt(2) if power else 2) * scale[-1]
    columns = np.where(there, waves * scale, 0).reshape(len(times), -1)
    trends = np.vander(times / sample_mask.size, 2 if trend else 1)
    basis = np.linalg.qr(trends)[0]
    return np.ascontiguousarray(columns - basis @ (basis.T @ columns), dtype=np.float32)


def sum_amplitudes(series: Array, spectral_sum: SpectralSum, weights: NDArray[np.float64]) -> Array:
    """Weighted sums of each series' amplitudes (voxels, sums); `series` (voxels, time), `weights` (bins, sums)."""
    voxels, volumes = series.shape
    unit = 1 if spectral_sum.basis is not None else 2 / volumes
    factors = np.ascontiguousarray(weights * (unit**2 if spectral_sum.squared else unit), dtype=np.float32)
    totals = np.empty((voxels, factors.shape[1]), np.float32)
    for start in range(0, voxels, CHUNK):
        chunk = compute_amplitudes(series[start : start + CHUNK], spectral_sum)
        if spectral_sum.squared:
            chunk *= chunk
        np.matmul(chunk, factors, out=totals[start : start + CHUNK])
    return np.sqrt(totals) if spectral_sum.squared else totals


def compute_amplitudes(series: Array, spectral_sum: SpectralSum) -> Array:
    """One-sided amplitudes of a chunk of series, in units of their transform (voxels, bins)."""
    # the first volume is subtracted, not the mean: that is exact, and constant series become 0
    part = series - series[:, :1]
    if spectral_sum.basis is not None:
        return np.abs((part @ spectral_sum.basis).view(np.complex64))
    if spectral_sum.trend:
        ramp = np.arange(part.shape[1]) - (part.shape[1] - 1) / 2
        ramp = (ramp / np.linalg.norm(ramp)).astype(np.float32)
        part -= (part @ ramp)[:, None] * ramp
    if spectral_sum.length > part.shape[1]:
        part -= part.mean(axis=1, keepdims=True)  # after zero-padding a mean leaks beyond frequency 0
    amplitudes: Array = np.abs(scipy.fft.rfft(part, n=spectral_sum.length, axis=1))
    return amplitudes
