"""Regional functional connectivity strength: how strongly a voxel's region correlates with all other regions.

S_i = mean over j != i of r_ij, between the mean series of an atlas's regions; each voxel has its region's value.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bids_app.errors import DataError
from bids_app.maps import _strength
from bids_app.maps._series import check_series
from bids_app.maps._strength import connectivity_strength

INPUT = "filtered"
UNIT = "connectivity strength (mean correlation, or degree)"
ENTITIES = {"stat": "rfcs"}
SUFFIX = "boldmap"
REGISTRATION = "nonlinear"
ANALYSIS_MASK = "gm"
SCALING = "zscore"
SMOOTHING_MM = 0.0
ADJUST_FOR = ()
ATLASES = ("aal", "harvard_oxford")
OPTIONS = _strength.OPTIONS
CHUNK = 1024


def compute(series: NDArray[np.float32], *, parcels: NDArray[np.int32], strength: str) -> NDArray[np.float32]:
    """Strength of each voxel's region (voxels,); 0 where there is no region, or its mean series is constant.

    `series` (voxels, time), in any unit: band-passed, without censored volumes. `parcels` (voxels,): the region of
    each voxel, 0 for none. `strength`: as for fcs, between regions. Raises UsageError for another strength; DataError
    for parcels of another size, under 2 regions in the mask, no voxel or under 3 volumes.
    Liang et al. 2013, PNAS 110:1929.
    """
    check_series(series)
    if parcels.shape != series.shape[:1]:
        raise DataError(
            f"the atlas has {parcels.size} voxels in the mask and the series {len(series)}: they are on different grids"
        )
    labels, region = np.unique(parcels, return_inverse=True)
    here = labels != 0
    if here.sum() < 2:
        raise DataError(
            f"{here.sum()} regions of the atlas are in the brain mask, and rfcs requires 2; check the atlas"
        )
    values = np.zeros(len(labels), np.float32)
    values[here] = connectivity_strength(_means(series, region, len(labels))[here], kind=strength)
    return values[region]


def _means(series: NDArray[np.float32], region: NDArray[np.intp], regions: int) -> NDArray[np.float32]:
    """Mean series of each region up to a constant (regions, time); `region` (voxels,) counts from 0."""
    total = np.zeros((regions, series.shape[1]))
    for start in range(0, len(series), CHUNK):
        part = series[start : start + CHUNK]
        # the first volume is subtracted, which leaves correlations unchanged: large means would cost precision
        away = part - part[:, :1]
        at = (region[start : start + CHUNK], np.arange(len(part)))
        total += sparse.csr_array((np.ones(len(part), np.float32), at), shape=(regions, len(part))) @ away
    return (total / np.bincount(region, minlength=regions)[:, None]).astype(np.float32)
