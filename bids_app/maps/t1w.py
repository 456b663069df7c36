"""The brain in template space, its intensity scaled within the mask; affine by default, which preserves atrophy."""

import numpy as np

from bids_app.errors import DataError

INPUT = "t1w"
UNIT = "scaled intensity"
ENTITIES = {"desc": "{intensity}"}
SUFFIX = "T1w"
REGISTRATION = "affine"
ANALYSIS_MASK = "brain"
SCALING = "raw"
SMOOTHING_MM = 0.0
ADJUST_FOR = ()
ATLASES = ("aal", "harvard_oxford")
OPTIONS = {
    "intensity": {
        "setting": "t1w_scaling",
        "former": ("intensity",),
        "default": "zscore",
        "choices": ("zscore", "minmax"),
        "summary": "scaling of `t1w` within the brain mask ({default})",
    }
}


def compute(t1w: np.ndarray, *, mask: np.ndarray, intensity: str) -> np.ndarray:
    """Brain scaled over the mask's voxels: `zscore` (mean 0, SD 1) or `minmax` (0 to 1); 0 outside.

    `t1w` (X, Y, Z): bias-corrected intensities in template space. `mask` (X, Y, Z): the participant's own brain there,
    without the regions of --exclude-regions.
    Raises DataError if the brain has only one intensity, or no voxels.
    """
    inside = mask > 0
    values = t1w[inside].astype(np.float64)
    if values.size == 0 or values.min() == values.max():
        raise DataError("the brain has a single intensity, or no voxel, so the T1w image cannot be scaled")
    centre, spread = (values.mean(), values.std()) if intensity == "zscore" else (values.min(), np.ptp(values))
    scaled = np.zeros(t1w.shape, dtype=np.float32)
    scaled[inside] = (values - centre) / spread
    return scaled
