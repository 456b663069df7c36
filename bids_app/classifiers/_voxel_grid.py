"""Positions of the voxels of a vector, and means over cubes and regions of them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

CUBE_MM = 6.0  # below the usual smoothing of 8 mm, so that little is lost, and an eighth of the voxels at 3 mm
CUBES, REGIONS = "cubes", "regions"
ROWS_AT_ONCE = 16  # samples whose values are copied at a time


@dataclass(frozen=True, eq=False)
class VoxelGrid:
    """The voxels of a mask: `index` (voxels, 3) on the grid, edges `voxel_mm`, and `regions` (voxels,), their labels
    in a parcellation, 0 for none; None without a parcellation.
    """

    index: NDArray[np.int_]
    voxel_mm: tuple[float, float, float]
    regions: NDArray[np.int_] | None = None

    def labels(self, name: str, values: int) -> NDArray[np.int_]:
        """The group of each of the values (channels * voxels) of a vector, numbered from 0; -1 for none.

        `name`: CUBES of about CUBE_MM, or REGIONS of the parcellation. Channels never share a group.
        """
        groups = self._cubes() if name == CUBES else self._regions()
        inside = np.full(len(groups), -1)
        inside[groups >= 0] = np.unique(groups[groups >= 0], return_inverse=True)[1].ravel()
        count = int(inside.max(initial=-1)) + 1
        channels = range(values // len(groups))
        return np.concatenate([np.where(inside >= 0, inside + channel * count, -1) for channel in channels])

    def _cubes(self) -> NDArray[np.int_]:
        edges = [max(1, round(CUBE_MM / mm)) for mm in self.voxel_mm]
        cube = self.index // edges
        numbers: NDArray[np.int_] = np.ravel_multi_index(tuple(cube.T), tuple(cube.max(axis=0) + 1))
        return numbers

    def _regions(self) -> NDArray[np.int_]:
        if self.regions is None:
            return np.full(len(self.index), -1)
        return np.where(self.regions > 0, self.regions, -1)


def group_means(x: NDArray[np.float32], labels: NDArray[np.int_], centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean over each group (n, groups) of x (n, values) minus `centre` (values,)."""
    inside = np.flatnonzero(labels >= 0)
    groups, size = labels[inside], np.bincount(labels[inside])
    shares = sparse.csr_array((1 / size[groups], (groups, inside)), shape=(len(size), len(labels)))
    means = np.empty((len(x), len(size)))
    for start in range(0, len(x), ROWS_AT_ONCE):
        means[start : start + ROWS_AT_ONCE] = np.asarray(shares @ (x[start : start + ROWS_AT_ONCE] - centre).T).T
    return means


def spread_over_voxels(coefficients: NDArray[np.float64], labels: NDArray[np.int_]) -> NDArray[np.float64]:
    """Coefficients of values (k, values) equivalent to coefficients of group means (k, groups)."""
    inside = labels >= 0
    spread = np.zeros((len(coefficients), len(labels)))
    spread[:, inside] = (coefficients / np.bincount(labels[inside]))[:, labels[inside]]
    return spread
