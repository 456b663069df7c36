"""Tables of regions from a heatmap and an atlas."""

from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from bids_app.errors import DataError

OUTSIDE = "outside the atlas"


def tabulate_regions(
    heatmap: np.ndarray,
    labels: np.ndarray,
    names: dict[int, str],
    mask: np.ndarray,
    *,
    sign: Literal["both", "positive"],
    voxel_ml: float,
) -> pd.DataFrame:
    """Tabulate where a heatmap's mass lies: a row per region, by rank, then a row for voxels outside the atlas.

    heatmap, labels, mask (bool): (X, Y, Z) on one grid. A region without voxels in the mask has no row. Columns:
    region; voxels, in the mask; volume_ml; coverage, the share of the region's voxels that is in the mask; mean; p95,
    the 95th percentile (of magnitudes when both signs count); maximum, the value of the largest magnitude (the largest
    value when only positive ones count); mass, the sum of magnitudes (of positive values); share, of the mask's mass,
    which sums to 1 (NA where there is none); rank, how many regions have a mean of at least this magnitude (at least
    this mean), so that all regions rank last in an empty map; index, the label, 0 outside.
    Raises DataError where the heatmap is not finite in the mask, ValueError where the grids differ.
    """
    if not heatmap.shape == labels.shape == mask.shape:
        raise ValueError(f"not on one grid: heatmap {heatmap.shape}, labels {labels.shape}, mask {mask.shape}")
    inside = mask.astype(bool)
    values, inside_labels = heatmap[inside].astype(np.float64), labels[inside]
    if not np.isfinite(values).all():
        raise DataError(f"the heatmap has {np.count_nonzero(~np.isfinite(values))} non-finite voxels in the mask")
    size = int(labels.max(initial=0)) + 1
    frame = _summarise_labels(values, inside_labels, np.bincount(labels.ravel(), minlength=size), both=sign == "both")
    frame["volume_ml"] = frame["voxels"] * voxel_ml
    total = frame["mass"].sum()
    frame["share"] = frame["mass"] / total if total > 0 else np.nan
    return _rank_rows(frame, names, both=sign == "both")


def _summarise_labels(values: np.ndarray, labels: np.ndarray, whole: np.ndarray, *, both: bool) -> pd.DataFrame:
    """Summarise every label, including 0, indexed by label; `whole`: voxels of each label in the whole image."""
    strength = np.abs(values) if both else values
    order = np.lexsort((strength, labels))
    values, strength, labels = values[order], strength[order], labels[order]
    voxels = np.bincount(labels, minlength=len(whole))
    last = np.cumsum(voxels) - 1
    some = voxels > 0
    first, last, count = (last - voxels + 1)[some], last[some], voxels[some]
    frame = pd.DataFrame({"voxels": voxels, "coverage": voxels / np.maximum(whole, 1)})
    frame["mass"] = np.bincount(labels, weights=np.maximum(strength, 0), minlength=len(whole))
    frame.loc[some, "mean"] = np.bincount(labels, weights=values, minlength=len(whole))[some] / count
    frame.loc[some, "maximum"] = values[last]
    # linear interpolation between two ordered values, as numpy's default
    place = 0.95 * (count - 1)
    below = first + np.floor(place).astype(int)
    frame.loc[some, "p95"] = strength[below] + (place % 1) * (strength[np.minimum(below + 1, last)] - strength[below])
    return frame


def _rank_rows(frame: pd.DataFrame, names: dict[int, str], *, both: bool) -> pd.DataFrame:
    """Sort regions by rank, add their names, and append the row outside the atlas; columns in their final order."""
    regions = frame[(frame.index > 0) & (frame["voxels"] > 0)].copy()
    regions["region"] = [names.get(int(label), str(label)) for label in regions.index]
    regions["index"] = regions.index
    by = regions["mean"].abs() if both else regions["mean"]
    regions["rank"] = by.rank(method="max", ascending=False).astype("Int64")
    outside = frame.loc[[0]].assign(region=OUTSIDE, index=0, rank=pd.array([pd.NA], dtype="Int64"), coverage=np.nan)
    columns = ["region", "voxels", "volume_ml", "coverage", "mean", "p95", "maximum", "mass", "share", "rank", "index"]
    ordered = regions.sort_values("rank", kind="stable")
    return pd.concat([ordered[columns], outside[columns]], ignore_index=True)


def region_means(maps: Iterable[np.ndarray], labels: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return the mean of each region, (maps, regions), of maps (voxels,); labels (voxels,), `index`: the regions'."""
    size = max(int(labels.max(initial=0)), int(index.max(initial=0))) + 1
    voxels = np.maximum(np.bincount(labels, minlength=size), 1)
    every = np.stack([np.bincount(labels, weights=values, minlength=size) / voxels for values in maps])
    return np.asarray(every[:, index])


def make_region_maximum(labels: np.ndarray, index: np.ndarray, *, both: bool) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that computes a map's (voxels,) maximum in each region (regions,), of magnitudes with `both`.

    labels (voxels,); `index`: the labels of the regions, each of which has voxels.
    """
    order = np.argsort(labels, kind="stable")
    there, first = np.unique(labels[order], return_index=True)
    selected = np.searchsorted(there, index)

    def maximum(values: np.ndarray) -> np.ndarray:
        strength = np.abs(values) if both else values
        return np.asarray(np.maximum.reduceat(strength[order], first)[selected])

    return maximum


def rank_regions(of_regions: np.ndarray, *, both: bool) -> np.ndarray:
    """Rank region means (maps, regions) within each map: how many are at least as strong, 1 the strongest."""
    return np.asarray(rankdata(-np.abs(of_regions) if both else -of_regions, axis=1, method="max"))
