"""Fractional ALFF: a voxel's amplitudes within a frequency band over those at all frequencies (Zou et al. 2008).

`mean`, `dpabi` and `afni`: sum of the band's amplitudes over the sum of all; `dpabi` zero-pads to the next power of
two, `afni` omits the highest frequency. `cpac`: SD of the series within the band over its SD. XCP-D has none.
"""

import numpy as np
from numpy.typing import NDArray

from bids_app.errors import UsageError
from bids_app.maps import _spectrum
from bids_app.maps._series import check_series
from bids_app.maps._spectrum import plan_spectral_sum, sum_amplitudes

INPUT = "denoised"
UNIT = "proportion of the amplitude (0 to 1)"
ENTITIES = {"stat": "falff"}
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
    """Fractional ALFF of each voxel (voxels,), 0 to 1; 0 where the series is constant.

    `series` (voxels, time): confounds regressed out, not band-passed, without censored volumes, which are false in
    `sample_mask` (all volumes,); the Lomb-Scargle periodogram bridges them. `tr`: seconds. `band`: Hz, edges included;
    None means 0.01-0.08. The linear trend is removed; the frequency 0 does not count. Raises UsageError for `xcpd`,
    which defines none, and DataError as ALFF does. Zou et al. 2008, J Neurosci Methods 172:137.
    """
    if alff_definition == "xcpd":
        raise UsageError("--alff-definition xcpd does not define falff: remove falff from --maps, or choose mean")
    check_series(series, sample_mask=sample_mask)
    spectral_sum = plan_spectral_sum(alff_definition, tr=tr, sample_mask=sample_mask, band=band)
    inside, whole = sum_amplitudes(series, spectral_sum, np.column_stack([spectral_sum.inside, spectral_sum.whole])).T
    share: NDArray[np.float32] = np.divide(inside, whole, out=np.zeros_like(inside), where=whole > 0)
    return share
