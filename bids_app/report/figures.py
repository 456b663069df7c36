"""The figures of brains: one function, one PNG; nothing outside the dilated brain mask is ever drawn."""

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Colormap, ListedColormap
from nibabel.nifti1 import Nifti1Image

from bids_app.errors import DataError
from bids_app.report.mosaic import Mosaic, resample_to

# drawn in this order, so that the outlines of grey and white matter lie over that of the CSF
TISSUES = {3: ("CSF", "#7dff7a"), 1: ("grey matter", "#ffb000"), 2: ("white matter", "#40c8ff")}
MASK_COLOR, REGION_COLOR = "#ff4060", "#40ff60"
LARGE_CUTS = 4  # of each axis, so that a cortex can be judged
SHOWN_SHARE = 0.10  # of the brain voxels, in the figure of a heatmap


def draw_segmentation(
    t1w: Nifti1Image,
    mask: Nifti1Image,
    dseg: Nifti1Image | None,
    path: Path,
    plain_path: Path | None = None,
    *,
    radiological: bool = False,
) -> None:
    """Draw a native T1w with the outlines of its brain mask and tissues (1 = GM, 2 = WM, 3 = CSF).

    In `plain_path` it has no outlines. All images share one grid, in any orientation. Raises DataError where the mask
    is empty.
    """
    mosaic = Mosaic(t1w, mask, radiological=radiological, title="T1w in native space", cuts=LARGE_CUTS)
    if plain_path is not None:
        mosaic.save(plain_path)
    if dseg is not None:
        labels = np.asarray(dseg.dataobj)
        for label, (name, color) in TISSUES.items():
            tissue = Nifti1Image((labels == label).astype(np.float32), dseg.affine)
            mosaic.outline(tissue, level=0.5, color=color, label=name, width=0.6)
    mosaic.outline(_to_float(mask), level=0.5, color=MASK_COLOR, label="brain mask", width=1.3)
    mosaic.save(path)


def draw_registration(
    warped: Nifti1Image,
    template: Nifti1Image,
    template_mask: Nifti1Image,
    path: Path,
    template_path: Path,
    *,
    template_gm: Nifti1Image | None = None,
    radiological: bool = False,
) -> None:
    """Draw a brain in template space, and the template alike, under the outline of the template (and its GM, at 50 %).

    All images share one grid.
    """
    for image, title, file in (
        (warped, "Participant in template space", path),
        (template, "Template", template_path),
    ):
        mosaic = Mosaic(image, template_mask, radiological=radiological, title=title, cuts=LARGE_CUTS)
        if template_gm is not None:
            mosaic.outline(template_gm, level=0.5, color="#ffb000", label="template grey matter", width=0.6)
        mosaic.outline(_to_float(template_mask), level=0.5, color=MASK_COLOR, label="template brain", width=1.3)
        mosaic.save(file)


def draw_map(
    image: Nifti1Image,
    template: Nifti1Image,
    mask: Nifti1Image,
    path: Path,
    *,
    title: str,
    unit: str,
    colormap: str = "gray",
    symmetric: bool = False,
    radiological: bool = False,
) -> None:
    """Draw one map inside the mask, over the template where it has no finite value, with a colour bar in its unit.

    The scale ends at the 99.5th percentile of the absolute value in the mask.
    """
    values = _values_inside(image, mask)
    finite = values[np.isfinite(values)]
    high = _upper_limit(finite)
    low = -high if symmetric else min(0.0, float(np.quantile(finite, 0.005)) if finite.size else 0.0)
    there = np.isfinite(np.asarray(image.dataobj)).astype(np.float32)
    shown = _blank_outside(Nifti1Image(there, image.affine), mask)
    mosaic = Mosaic(template, mask, margin_mm=2.0, radiological=radiological, title=title, bar=True)
    mosaic.overlay(image, colormap=colormap, limits=(low, high), where=shown)
    mosaic.outline(_to_float(mask), level=0.5, color="#bbbbbb", label="template brain mask", width=0.7)
    extend = "both" if finite.size and finite.min() < low and finite.max() > high else "max"
    mosaic.scale(label=unit, colormap=colormap, limits=(low, high), extend=extend)
    mosaic.save(path)


def draw_heatmap(
    image: Nifti1Image,
    template: Nifti1Image,
    mask: Nifti1Image,
    path: Path,
    *,
    title: str,
    unit: str,
    sign: str = "both",
    radiological: bool = False,
    outlined: tuple[str, Nifti1Image] | None = None,
    paper: bool = False,
) -> float:
    """Draw the strongest 10 % of a heatmap on the template; returns the threshold (in the unit of the heatmap).

    `outlined`: a region (0 and 1) whose outline is drawn over it, with its name. `paper`: also as PDF and SVG.

    `sign` is 'both' (cold to hot, symmetric) or 'positive' (hot, from 0). The threshold is the 90th percentile of the
    absolute value in the mask; the scale ends at the 99.5th. Raises DataError where a value in the mask is not finite.
    """
    low, threshold, high = heatmap_limits(image, mask, sign=sign)
    colormap = heatmap_colors(low, threshold, high)
    values = np.asarray(image.dataobj, dtype=np.float32)
    if sign == "positive":
        values = np.maximum(values, 0.0)
    shown = _blank_outside(Nifti1Image(values, image.affine), mask)
    mosaic = Mosaic(template, mask, margin_mm=2.0, radiological=radiological, title=title, bar=True)
    if threshold > 0.0:
        mosaic.overlay(shown, threshold=threshold, colormap=colormap, limits=(low, high))
    else:
        mosaic.figure.text(0.4, 0.02, "this heatmap is zero throughout the brain", color="white", ha="center")
    if outlined is not None:
        mosaic.outline(outlined[1], level=0.5, color=REGION_COLOR, label=outlined[0], width=1.1)
    mosaic.scale(label=unit, colormap=colormap, limits=(low, high), extend="both" if low < 0 else "max")
    mosaic.save(path, paper=paper)
    return threshold


def heatmap_limits(image: Nifti1Image, mask: Nifti1Image, *, sign: str) -> tuple[float, float, float]:
    """Lower end of the scale, threshold (0 if all is 0) and upper end of a heatmap, from its values in the mask."""
    values = _values_inside(image, mask)
    if not np.isfinite(values).all():
        raise DataError(f"a heatmap has {int((~np.isfinite(values)).sum())} non-finite voxels in its mask")
    size = np.maximum(values, 0.0) if sign == "positive" else np.abs(values)
    high = _upper_limit(size)
    threshold = float(np.quantile(size, 1.0 - SHOWN_SHARE)) if size.size else 0.0
    if threshold <= 0.0 and size.any():  # fewer than a tenth of the voxels differ from zero: show them all
        threshold = float(size[size > 0].min())
    if size.any() and threshold >= high:
        high = max(float(size.max()), 1e-12)
        threshold = min(threshold, 0.999 * high)
    return (0.0 if sign == "positive" else -high), threshold, high


def heatmap_colors(low: float, threshold: float, high: float) -> Colormap:
    """Cold to hot (or hot alone from 0): grey below the threshold, all the colours between it and the ends."""
    at = np.linspace(low, high, 256)
    beyond = np.clip((np.abs(at) - threshold) / max(high - threshold, 1e-12), 0.0, 1.0)
    if low < 0:
        colors = colormaps["RdYlBu_r"](0.5 + np.sign(at) * (0.1 + 0.4 * beyond))
    else:
        colors = colormaps["hot"](0.3 + 0.65 * beyond)
    colors[(np.abs(at) < threshold) | (threshold == 0.0)] = (0.35, 0.35, 0.35, 1.0)
    return ListedColormap(colors, name="heat")


def _values_inside(image: Nifti1Image, mask: Nifti1Image) -> np.ndarray:
    where = np.asarray(resample_to(mask, image, interpolation="nearest").dataobj) > 0
    return np.asarray(image.dataobj, dtype=np.float64)[where]


def _blank_outside(image: Nifti1Image, mask: Nifti1Image) -> Nifti1Image:
    where = np.asarray(resample_to(mask, image, interpolation="nearest").dataobj) > 0
    return Nifti1Image(np.where(where, np.asarray(image.dataobj), np.float32(0)).astype(np.float32), image.affine)


def _upper_limit(values: np.ndarray) -> float:
    if not values.size:
        return 1.0
    size = np.abs(values)
    high = float(np.quantile(size, 0.995)) or float(size.max())
    return high or 1.0


def _to_float(mask: Nifti1Image) -> Nifti1Image:
    return Nifti1Image((np.asarray(mask.dataobj) > 0).astype(np.float32), mask.affine)
