"""Spatial patterns of simulated effects, sampled from an atlas: a small sphere, a region, or many regions."""

import numpy as np
from numpy.typing import NDArray

from bids_app.dataset.grid import Grid

RADIUS_MM = 8.0  # 2 mL
MAX_DIFFUSE_REGIONS = 20  # regions
MIN_VOLUME_ML, MIN_SHARE_INSIDE = (
    1.0,
    0.5,
)  # of what is drawn: its volume in the mask, and the share of it that lies there
MAX_TRIES = 200
PATTERNS = {
    "focal": f"a sphere of {RADIUS_MM:g} mm radius",
    "regional": "one region",
    "diffuse": f"{MAX_DIFFUSE_REGIONS} regions at once",
}

Volume = NDArray[np.bool_]


def draw_pattern(pattern: str, labels: NDArray[np.integer], grid: Grid, random: np.random.Generator) -> list[Volume]:
    """Sample a pattern as volumes (X, Y, Z): regions of the atlas `labels` (X, Y, Z), or a sphere in one of them.

    At least half of each volume, and 1 mL, is in the mask. If fewer regions than MAX_DIFFUSE_REGIONS are eligible, a
    diffuse pattern is half of them.
    """
    if pattern == "focal":
        return [_draw_sphere(labels, grid, random)]
    eligible = [volume for label in np.unique(labels[labels > 0]) if _is_eligible(volume := labels == label, grid)]
    count = 1 if pattern == "regional" else min(MAX_DIFFUSE_REGIONS, max(1, len(eligible) // 2))
    indices = random.choice(len(eligible), count, replace=False)
    return [eligible[index] for index in indices]


def _draw_sphere(labels: NDArray[np.integer], grid: Grid, random: np.random.Generator) -> Volume:
    """Return the first eligible sphere of random centres, or the last of MAX_TRIES."""
    centres = np.argwhere((labels > 0) & grid.mask)
    places = np.indices(grid.mask.shape).reshape(3, -1).T
    volume = np.zeros(grid.mask.shape, bool)
    for centre in random.permutation(centres)[:MAX_TRIES]:
        apart = np.square((places - centre) * np.asarray(grid.voxel_mm)).sum(axis=1)
        volume = (apart <= RADIUS_MM**2).reshape(grid.mask.shape)
        if _is_eligible(volume, grid):
            break
    return volume


def _is_eligible(volume: Volume, grid: Grid) -> bool:
    inside = int((volume & grid.mask).sum())
    return bool(inside >= MIN_SHARE_INSIDE * volume.sum() and inside * np.prod(grid.voxel_mm) >= 1000 * MIN_VOLUME_ML)
