"""The region with the simulated effect."""

import difflib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from bids_app.atlases.atlas import Atlas
from bids_app.errors import UsageError
from bids_app.phantom.deformation import Array, contraction, move, positions, transform

BOX_MM = 1.5
MARGIN_MM = 60.0  # there a region of 8 ml that loses 30 % moves its surroundings by 0.02 mm


@dataclass(frozen=True)
class Region:
    """A named part of the brain: voxels (X, Y, Z) and the affine of their grid."""

    name: str
    voxels: NDArray[np.bool_]
    affine: Array

    @property
    def volume_ml(self) -> float:
        """Its volume."""
        return float(self.voxels.sum() * abs(np.linalg.det(self.affine[:3, :3])) / 1000)

    @property
    def centre_mm(self) -> list[float]:
        """Its centre of mass in world coordinates."""
        centre = transform(np.argwhere(self.voxels).mean(axis=0)[:, None].astype(np.float32), self.affine)
        return [round(float(value), 1) for value in centre[:, 0]]

    def holds(self, points: Array) -> NDArray[np.bool_]:
        """Whether the voxel nearest to each world point (3, N) is in the region."""
        voxels = transform(points, np.linalg.inv(self.affine))
        inside: NDArray[np.bool_] = ndimage.map_coordinates(self.voxels.astype(np.uint8), voxels, order=0).astype(bool)
        return inside


@dataclass(frozen=True)
class Field:
    """A pull-back displacement (3, X, Y, Z) in voxels, and the affine of its grid; edge values continue beyond."""

    displacement: Array
    affine: Array

    def source(self, points: Array) -> Array:
        """The original positions of the tissue at world points (3, N)."""
        return move(points, displacement=self.displacement, affine=self.affine)


def find(atlas: Atlas, name: str) -> Region:
    """The atlas's region called `name`, ignoring case; UsageError, with similar names, if there is none."""
    known = {text.casefold(): label for label, text in atlas.names.items()}
    label = known.get(name.casefold())
    if label is None:
        near = difflib.get_close_matches(name.casefold(), known, n=6, cutoff=0.5)
        similar = "did you mean " + ", ".join(atlas.names[known[text]] for text in near) + "?"
        hint = similar if near else f"it has {', '.join(sorted(atlas.names.values()))}"
        raise UsageError(f"--region {name}: the atlas {atlas.name} has no such region; {hint}")
    return Region(atlas.names[label], np.asarray(atlas.labels == label), np.asarray(atlas.affine, np.float64))


def shrink(region: Region, *, effect: float) -> Field:
    """The deformation that takes `effect` of a region's volume, on a box round it with axes along the world's."""
    inside = transform(np.argwhere(region.voxels).T.astype(np.float32), region.affine)
    # Offset from the atlas's grid, so that no voxel centre is halfway between two of the atlas.
    low = inside.min(axis=1) - MARGIN_MM - 0.37
    needed = np.ceil((inside.max(axis=1) + MARGIN_MM - low) / BOX_MM)
    shape = tuple(fft.next_fast_len(int(size), real=True) for size in needed)
    box = np.diag([BOX_MM, BOX_MM, BOX_MM, 1.0])
    box[:3, 3] = low
    held = region.holds(transform(positions(shape).reshape(3, -1), box))
    return Field(contraction(held.reshape(shape).astype(np.float32), effect=effect), box)


def remaining(region: Region, field: Field) -> float:
    """The part of the region's volume that is left after the deformation, counted at 1 mm."""
    points = transform(np.argwhere(region.voxels).T.astype(np.float32), region.affine)
    low, high = points.min(axis=1) - 5, points.max(axis=1) + 5
    grid = positions(tuple(int(size) for size in high - low)).reshape(3, -1) + low[:, None] + np.float32(0.37)
    return float(region.holds(field.source(grid)).sum() / region.holds(grid).sum())
