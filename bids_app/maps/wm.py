"""Modulated white matter: density times the Jacobian determinant, so that its sum is the volume (Good et al. 2001)."""

import numpy as np

INPUT = "wm"
UNIT = "mL of white matter per mL of template"
ENTITIES = {"label": "WM", "desc": "modulated"}
SUFFIX = "probseg"
REGISTRATION = "nonlinear"
ANALYSIS_MASK = "wm"
SCALING = "raw"
SMOOTHING_MM = 8.0
ADJUST_FOR = ("tiv",)
ATLASES = ("juelich", "harvard_oxford")


def compute(density: np.ndarray, *, jacobian: np.ndarray) -> np.ndarray:
    """White-matter volume per template volume, unsmoothed.

    `density` (X, Y, Z): probability of white matter, 0 to 1, warped to the template. `jacobian` (X, Y, Z): determinant
    of the composed affine and warp. Good et al. 2001, NeuroImage 14:21.
    """
    return np.asarray(density * jacobian, dtype=np.float32)
