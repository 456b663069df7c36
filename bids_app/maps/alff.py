"""Amplitude of low-frequency fluctuations: the mean amplitude of a voxel's signal within a frequency band.

`mean`: the mean one-sided amplitude over the band's frequencies (Zang et al. 2007). `dpabi`: the same, zero-padded to
the next power of two. `afni`: 2 sum |X| / sqrt(N). `cpac`: SD of the series within the band. `xcpd`: 2 mean
sqrt(power), without the band's last frequency. The frequency 0 is in no band.
"""

import numpy as np
from numpy.typing import NDArray

from bids_app.maps import _spectrum
from bids_app.maps._series import check_series
from bids_app.maps._spectrum import plan_spectral_sum, sum_amplitudes

INPUT = "denoised"
UNIT = "unit of the BOLD signal"
ENTITIES = {"stat": "alff"}
SUFFIX = "boldmap"
REGISTRATION = "nonlinear"
ANALYSIS_MASK = "gm"
SCALING = "mean"
SMOOTHING_MM = 6.0
ADJUST_FOR = ()
ATLASES = ("aal", "harvard_oxford")
OPTIONS = _spectrum.OPTIONS


def compute(
    series: NDArray[np.float32],
    *,
    tr: float,
    sample_mask: NDArray[np.bool_],
    band: tuple[float, float] | None,
    alff_definition: str,
) -> NDArray[np.float32]:
    """ALFF of each voxel (voxels,), in the unit of the series; 0 where the series is constant.

    `series` (voxels, time): confounds regressed out, not band-passed, without censored volumes, which are false in
    `sample_mask` (all volumes,); the Lomb-Scargle periodogram bridges them. `tr`: seconds. `band`: Hz, edges included;
    None means 0.01-0.08. The linear trend is removed, for `xcpd` only the mean. Of AFNI and C-PAC the formula is used,
    not the padding, quadratic detrending and halved edges of their filter. Raises DataError for a band without a
    frequency of this scan or above its highest one, a TR that is not positive, no voxel, or gaps with `dpabi` or
    `cpac`.
    Zang et al. 2007, Brain Dev 29:83; Taylor & Saad 2013, Brain Connect 3:523; Mehta et al. 2024, Imaging Neurosci 2:1.
    """
    check_series(series, sample_mask=sample_mask)
    spectral_sum = plan_spectral_sum(alff_definition, tr=tr, sample_mask=sample_mask, band=band)
    amplitudes: NDArray[np.float32] = sum_amplitudes(series, spectral_sum, spectral_sum.inside[:, None])[:, 0]
    return amplitudes * np.float32(spectral_sum.scale)
