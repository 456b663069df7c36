"""The voxels that are analysed: a mask and where it lies."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray

from bids_app.errors import DataError


@dataclass(frozen=True, eq=False)
class Grid:
    """A mask (X, Y, Z) and its affine (4, 4), voxels to world RAS+ mm; `whole`: networks get the grid uncropped.

    `regions` (voxels,): the label of each voxel in the parcellation of a regional classifier, 0 for none.

    Raises DataError for a mask that is empty or not 3D.
    """

    mask: NDArray[np.bool_]
    affine: NDArray[np.float64]
    whole: bool = False
    regions: NDArray[np.int_] | None = None

    def __post_init__(self) -> None:
        if self.mask.ndim != 3 or self.mask.dtype != np.bool_ or not self.mask.any():
            raise DataError(
                "the analysis mask must be 3D and boolean, with at least one voxel; check the space of the maps"
            )

    @cached_property
    def voxels(self) -> int:
        """Voxels in the mask."""
        return int(self.mask.sum())

    @property
    def voxel_mm(self) -> tuple[float, float, float]:
        """Edge lengths of a voxel in mm."""
        x, y, z = voxel_sizes(self.affine).tolist()
        return x, y, z

    def vector(self, volume: NDArray[Any]) -> NDArray[Any]:
        """Return the values in the mask, (voxels,), of an array (X, Y, Z)."""
        return volume[self.mask]

    def volume(self, vector: NDArray[Any]) -> NDArray[Any]:
        """Return an array (X, Y, Z) of the values in the mask, (voxels,), zero outside it."""
        full = np.zeros(self.mask.shape, vector.dtype)
        full[self.mask] = vector
        return full

    @property
    def seen(self) -> "Grid":
        """The grid of a network's input: uncropped if `whole`, else the bounding box of the mask."""
        return self if self.whole else self.cropped

    @cached_property
    def cropped(self) -> "Grid":
        """The bounding box of the mask, with the same voxel order and world coordinates."""
        edges = [np.flatnonzero(self.mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
        first = np.array([edge[0] for edge in edges])
        box = tuple(slice(edge[0], edge[-1] + 1) for edge in edges)
        affine = self.affine.copy()
        affine[:3, 3] += self.affine[:3, :3] @ first
        return Grid(self.mask[box], affine)

    def same_place(self, shape: tuple[int, ...], affine: NDArray[np.float64]) -> bool:
        """Return whether an image of that shape and affine is on this grid, to a thousandth of a mm."""
        return tuple(shape) == self.mask.shape and np.allclose(affine, self.affine, rtol=0, atol=1e-3)

    def write(self, path: Path) -> None:
        """Save as .npz."""
        regions: dict[str, Any] = {} if self.regions is None else {"regions": self.regions}
        np.savez_compressed(path, mask=self.mask, affine=self.affine, whole=self.whole, **regions)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Load what `write` saved."""
        with np.load(path) as stored:
            regions = stored.get("regions")
            return cls(stored["mask"], stored["affine"], bool(stored["whole"]), regions)
