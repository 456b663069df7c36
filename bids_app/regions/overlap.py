"""How well a heatmap finds the region of a reference map: overlap measures without an arbitrary threshold."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import average_precision_score, roc_auc_score

from bids_app.errors import DataError

FWHM_PER_SIGMA = 2 * np.sqrt(2 * np.log(2))
REFERENCE_SHARE = 0.1  # of the mask's voxels: the region of a continuous reference map


def binarise_reference(reference: NDArray[np.floating], mask: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], str]:
    """Return the region of a reference map (X, Y, Z) in the mask, (voxels,), and its definition in words.

    A binary map is the region itself; otherwise the region is the tenth of the mask's voxels with the largest absolute
    values. Raises DataError where it has no voxel in the mask, or all of them.
    """
    values = np.nan_to_num(reference[mask].astype(np.float64))
    levels = np.unique(values)
    if len(levels) <= 2:
        inside, words = values == levels[-1] if levels[-1] != 0 else values != 0, "its region"
    else:
        # zero marks voxels that the map does not cover
        limit = np.quantile(np.abs(values), 1 - REFERENCE_SHARE)
        inside = (np.abs(values) >= limit) & (values != 0)
        words = f"the {REFERENCE_SHARE:.0%} of voxels with the largest absolute values"
    if not inside.any() or inside.all():
        raise DataError(f"the reference map marks {'all' if inside.all() else 'none'} of the analysed voxels")
    return inside, words


def measure_overlap(values: NDArray[np.floating], inside: NDArray[np.bool_]) -> dict[str, float]:
    """Measure the overlap of a map's strengths (voxels,), none negative, with a region (voxels,).

    max_dice: the largest Dice over all thresholds, exact; dice_at_volume: Dice of as many voxels as the region has (the
    strongest; ties share); auprc, whose chance level is the region's share of voxels; auroc; enrichment: the region's
    share of the map's mass over its share of voxels; pointing: whether the strongest voxel lies in it (0 or 1).
    """
    strengths, size = values.astype(np.float64), int(inside.sum())
    order = np.argsort(-strengths, kind="stable")
    hits = inside[order].cumsum()
    counts = np.arange(1, len(order) + 1)
    last = np.append(np.diff(strengths[order]) != 0, True)  # ties pass a threshold together
    dice = 2 * hits / (counts + size)
    limit = strengths[order[size - 1]]
    above, level = strengths > limit, strengths == limit
    tied_share = (size - above.sum()) / level.sum()
    total = strengths.sum()
    return {
        "max_dice": float(dice[last].max()),
        "dice_at_volume": float((inside & above).sum() + tied_share * (inside & level).sum()) / size,
        "auprc": float(average_precision_score(inside, strengths)),
        "auroc": float(roc_auc_score(inside, strengths)),
        "enrichment": float(strengths[inside].sum() / total / (size / len(inside))) if total else float("nan"),
        "pointing": float(inside[strengths == strengths.max()].mean()),
    }


def smooth_in_mask(
    volume: NDArray[np.floating], mask: NDArray[np.bool_], voxel_mm: tuple[float, float, float], fwhm_mm: float
) -> NDArray[np.float64]:
    """Return the values in the mask, (voxels,), of a map (X, Y, Z) after Gaussian smoothing restricted to the mask."""
    values = np.where(mask, volume, 0.0).astype(np.float64)
    if fwhm_mm == 0:
        return np.asarray(values[mask])
    sigma = [fwhm_mm / FWHM_PER_SIGMA / edge for edge in voxel_mm]
    weight = ndimage.gaussian_filter(mask.astype(np.float64), sigma, mode="constant")
    return np.asarray(ndimage.gaussian_filter(values, sigma, mode="constant")[mask] / weight[mask])
