"""Where the voxels of a vector lie, and the means over cubes and regions that are taken of them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

CUBE_MM = 6.0  # below the usual smoothing of 8 mm, so that little is lost, and an eighth of the voxels at 3 mm
CUBES, REGIONS = "cubes", "regions"
AT_ONCE = 16  # people whose values are copied


@dataclass(frozen=True, eq=False)
class Places:
    """The voxels of a mask: `index` (voxels, 3) on the grid, edges `voxel_mm`, and `regions` (voxels,), their labels
    in a parcellation, 0 for none; None where there is no parcellation.
    """

    index: NDArray[np.int_]
    voxel_mm: tuple[float, float, float]
    regions: NDArray[np.int_] | None = None

    def labels(self, name: str, values: int) -> NDArray[np.int_]:
        """The group of each of the values (channels * voxels) of a vector, numbered from 0; -1 for none.

        `name`: CUBES of about CUBE_MM, or REGIONS of the parcellation. Channels never share a group.
        """
        whole = self._cubes() if name == CUBES else self._regions()
        numbers = np.unique(whole[whole >= 0], return_inverse=True)[1].ravel()
        inside = np.full(len(whole), -1)
        inside[whole >= 0] = numbers
        count = int(inside.max(initial=-1)) + 1
        channels = range(values // len(whole))
        return np.concatenate([np.where(inside >= 0, inside + channel * count, -1) for channel in channels])

    def _cubes(self) -> NDArray[np.int_]:
        edges = [max(1, round(CUBE_MM / mm)) for mm in self.voxel_mm]
        cube = self.index // edges
        whole: NDArray[np.int_] = np.ravel_multi_index(tuple(cube.T), tuple(cube.max(axis=0) + 1))
        return whole

    def _regions(self) -> NDArray[np.int_]:
        if self.regions is None:
            return np.full(len(self.index), -1)
        return np.where(self.regions > 0, self.regions, -1)


def means(x: NDArray[np.float32], labels: NDArray[np.int_], centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean over each group (people, groups) of x (people, values) less `centre` (values,)."""
    inside = np.flatnonzero(labels >= 0)
    groups, size = labels[inside], np.bincount(labels[inside])
    shares = sparse.csr_array((1 / size[groups], (groups, inside)), shape=(len(size), len(labels)))
    found = np.empty((len(x), len(size)))
    for start in range(0, len(x), AT_ONCE):
        found[start : start + AT_ONCE] = np.asarray(shares @ (x[start : start + AT_ONCE] - centre).T).T
    return found


def spread(coefficients: NDArray[np.float64], labels: NDArray[np.int_]) -> NDArray[np.float64]:
    """Coefficients of values (k, values) of coefficients of group means (k, groups)."""
    inside = labels >= 0
    each = np.zeros((len(coefficients), len(labels)))
    each[:, inside] = (coefficients / np.bincount(labels[inside]))[:, labels[inside]]
    return each
