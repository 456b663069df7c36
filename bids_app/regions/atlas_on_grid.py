"""An atlas on the grid of a heatmap that lies in the same space."""

import numpy as np

from bids_app.atlases.atlas import Atlas
from bids_app.atlases.templates import nearest


def resample_to_grid(atlas: Atlas, shape: tuple[int, int, int], affine: np.ndarray) -> np.ndarray:
    """Return the label nearest to each grid centre in world coordinates: int32 (X, Y, Z), 0 outside, in one space."""
    return nearest(atlas.labels, atlas.affine, shape, affine)
