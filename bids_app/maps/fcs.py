"""Functional connectivity strength: how strongly a voxel correlates with all other voxels of the brain.

`mean-r`, unthresholded, is a form of the global signal: the correlation with it, times its amplitude. Degrees: Buckner
et al. 2009; mean of Fisher's z: Liang et al. 2013.
"""

import numpy as np
from numpy.typing import NDArray

from bids_app.maps import _strength
from bids_app.maps._strength import connectivity_strength

INPUT = "filtered"
UNIT = "connectivity strength (mean correlation, or degree)"
ENTITIES = {"stat": "fcs"}
SUFFIX = "boldmap"
REGISTRATION = "nonlinear"
ANALYSIS_MASK = "gm"
SCALING = "zscore"
SMOOTHING_MM = 6.0
ADJUST_FOR = ()
ATLASES = ("aal", "harvard_oxford")
OPTIONS = _strength.OPTIONS


def compute(series: NDArray[np.float32], *, strength: str) -> NDArray[np.float32]:
    """Strength of each voxel (voxels,), from its correlations r with all other voxels; 0 where it is constant.

    `series` (voxels, time), in any unit: band-passed, without censored volumes. `strength`: `mean-r`; `mean-z`, the
    mean of Fisher's z; `abs`, the mean of |r|; `positive-squared`, the mean of r^2 where r > 0 and 0 elsewhere;
    `weighted-degree`, the sum of the r above 0.25; `binary-degree`, their number. Constant voxels do not count.
    Raises UsageError for another strength, DataError for no voxel or under 3 volumes.
    Buckner et al. 2009, J Neurosci 29:1860; Liang et al. 2013, PNAS 110:1929.
    """
    return connectivity_strength(series, kind=strength)
