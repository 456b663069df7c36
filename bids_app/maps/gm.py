"""Modulated grey matter: density times the Jacobian determinant, so that its sum is the volume (Good et al. 2001)."""

import numpy as np

INPUT = "gm"
UNIT = "mL of grey matter per mL of template"
ENTITIES = {"label": "GM", "desc": "modulated"}
SUFFIX = "probseg"
REGISTRATION = "nonlinear"
ANALYSIS_MASK = "gm"
SCALING = "raw"
SMOOTHING_MM = 8.0
ADJUST_FOR = ("tiv",)
ATLASES = ("aal", "harvard_oxford")


def compute(density: np.ndarray, *, jacobian: np.ndarray) -> np.ndarray:
    """Grey-matter volume per template volume, unsmoothed.

    `density` (X, Y, Z): probability of grey matter, 0 to 1, warped to the template. `jacobian` (X, Y, Z): determinant
    of the composed affine and warp. Good et al. 2001, NeuroImage 14:21.
    """
    return np.asarray(density * jacobian, dtype=np.float32)
