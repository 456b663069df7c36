"""Fractional ALFF: the share of a voxel's amplitudes, over all frequencies, that lies within a band (Zou et al. 2008).

`mean`, `dpabi` and `afni`: sum of the band's amplitudes over the sum of all; `dpabi` adds zeros to the next power of
two, `afni` leaves the highest frequency out. `cpac`: SD of the series within the band over its SD. XCP-D has none.
"""

import numpy as np
from numpy.typing import NDArray

from bids_app.errors import UsageError
from bids_app.maps._series import check_series
from bids_app.maps._spectrum import plan_spectral_sum, sum_amplitudes

INPUT = "denoised"
UNIT = "share of the amplitude (0 to 1)"
ENTITIES = {"stat": "falff"}
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
    """Fractional ALFF of each voxel (voxels,), 0 to 1; 0 where the series is constant.

    `series` (voxels, time): confounds out, not band-passed, censored volumes taken out; `kept` (all volumes,) is false
    for those, and Lomb-Scargle bridges them. `tr`: seconds. `band`: Hz, edges included; 0.01-0.08 where it is None. The
    linear trend is removed, the mean is no part of the whole. Raises UsageError for `xcpd`, which defines none, and
    DataError as ALFF does. Zou et al. 2008, J Neurosci Methods 172:137.
    """
    if alff_definition == "xcpd":
        raise UsageError("--alff-definition xcpd defines no falff: leave falff out of --maps, or choose mean")
    check_series(series, kept=kept)
    how = plan_spectral_sum(alff_definition, tr=tr, kept=kept, band=band)
    inside, whole = sum_amplitudes(series, how, np.column_stack([how.inside, how.whole])).T
    share: NDArray[np.float32] = np.divide(inside, whole, out=np.zeros_like(inside), where=whole > 0)
    return share
