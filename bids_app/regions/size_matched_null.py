"""Size-matched null distribution: a region's mean compared with patches of as many voxels elsewhere in the brain."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_PATCHES = 999


class RegionMap(NamedTuple):
    """A map (voxels in the mask,), the voxels of each region (regions,), and whether both signs count."""

    values: NDArray[np.floating]
    labels: NDArray[np.integer]
    signed: bool


def size_matched_p(
    maps: Sequence[RegionMap], mask: NDArray[np.bool_], voxel_mm: tuple[float, float, float], *, seed: int
) -> list[NDArray[np.float64]]:
    """Return the size-matched p of every label from 0 upwards: the share of patches as strong, including the region.

    maps: in one mask (X, Y, Z); labels (voxels in the mask,), where 0 is no region and has no p. A patch has as many
    voxels as the region, those nearest to a random voxel of the mask; its strength is its mean, or the magnitude of
    the mean for signed maps. Patches are compact, whereas an elongated region averages over a larger area, so that its
    p is conservative. NaN where a label has no voxel. Not corrected for the number of regions.
    """
    where = np.argwhere(mask) * np.asarray(voxel_mm)
    centres = np.random.default_rng(seed).permutation(len(where))[:MAX_PATCHES]
    sizes = [np.bincount(region_map.labels) for region_map in maps]
    for each in sizes:
        each[0] = 0  # voxels outside the atlas may be half of the brain, and need no p
    largest = max(1, *(int(each.max()) for each in sizes))
    means = [_region_means(region_map, each) for region_map, each in zip(maps, sizes, strict=True)]
    reached = [np.zeros(len(each)) for each in sizes]
    for centre in centres:
        apart = np.square(where - where[centre]).sum(axis=1)
        near = np.flatnonzero(apart <= np.partition(apart, largest - 1)[largest - 1])
        near = near[np.argsort(apart[near], kind="stable")]  # of voxels equally far the first in the mask's order
        for region_map, each, mean, count in zip(maps, sizes, means, reached, strict=True):
            patch = np.cumsum(region_map.values[near], dtype=np.float64)[each - 1] / np.maximum(each, 1)
            count += (np.abs(patch) if region_map.signed else patch) >= mean
    return [
        np.where(each > 0, (1 + count) / (1 + len(centres)), np.nan) for each, count in zip(sizes, reached, strict=True)
    ]


def _region_means(region_map: RegionMap, sizes: NDArray[np.integer]) -> NDArray[np.float64]:
    means: NDArray[np.float64] = np.bincount(region_map.labels, weights=region_map.values) / np.maximum(sizes, 1)
    return np.abs(means) if region_map.signed else means
