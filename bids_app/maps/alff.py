"""Amplitude of low-frequency fluctuations: how strongly a voxel's signal moves within a band of frequencies.

`mean`: the mean one-sided amplitude over the band's frequencies (Zang et al. 2007). `dpabi`: the same, zeros added to
the next power of two. `afni`: 2 sum |X| / sqrt(N). `cpac`: SD of the series within the band. `xcpd`: 2 mean
sqrt(power), the band's last frequency left out. The frequency 0 is in no band.
"""

import numpy as np
from numpy.typing import NDArray

from bids_app.maps._series import check_series
from bids_app.maps._spectrum import plan_spectral_sum, sum_amplitudes

INPUT = "denoised"
UNIT = "unit of the BOLD signal"
ENTITIES = {"stat": "alff"}
SUFFIX = "boldmap"
REGISTRATION = "syn"
ANALYSIS_MASK = "gm"
SCALING = "mean"
SMOOTHING_MM = 6.0
ADJUST_FOR = ()
ATLASES = ("aal", "harvard_oxford")


def compute(
    series: NDArray[np.float32],
    *,
    tr: float,
    kept: NDArray[np.bool_],
    band: tuple[float, float] | None,
    alff_definition: str,
) -> NDArray[np.float32]:
    """ALFF of each voxel (voxels,), in the unit of the series; 0 where the series is constant.

    `series` (voxels, time): confounds out, not band-passed, censored volumes taken out; `kept` (all volumes,) is false
    for those, and Lomb-Scargle bridges them. `tr`: seconds. `band`: Hz, edges included; 0.01-0.08 where it is None. The
    linear trend is removed, but for `xcpd` the mean only. Of AFNI and C-PAC the formula is taken over, not the padding,
    quadratic detrending and halved edges of their filter. Raises DataError for a band without a frequency of this scan,
    above its highest one, a TR that is not positive, no voxel, or gaps with `dpabi` or `cpac`.
    Zang et al. 2007, Brain Dev 29:83; Taylor & Saad 2013, Brain Connect 3:523; Mehta et al. 2024, Imaging Neurosci 2:1.
    """
    check_series(series, kept=kept)
    how = plan_spectral_sum(alff_definition, tr=tr, kept=kept, band=band)
    found: NDArray[np.float32] = sum_amplitudes(series, how, how.inside[:, None])[:, 0]
    return found * np.float32(how.scale)
