"""A mosaic of axial, coronal and sagittal cuts of a brain, and of nothing but the brain."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from nibabel.nifti1 import Nifti1Image
from nilearn import plotting
from nilearn.image import reorder_img, resample_to_img
from scipy import ndimage

from bids_app.errors import DataError

MARGIN_MM = 6.0
BAR = 0.91  # the share of the width that cuts may take beside a colour bar


def on_grid(image: Nifti1Image, reference: Nifti1Image, *, interpolation: str) -> Nifti1Image:
    """The image on the grid of a reference; untouched if it is there already."""
    if image.shape[:3] == reference.shape[:3] and np.allclose(image.affine, reference.affine, atol=1e-3):
        return image
    resampled: Nifti1Image = resample_to_img(image, reference, interpolation=interpolation)
    return resampled


def dilated(mask: Nifti1Image, *, margin_mm: float = MARGIN_MM) -> Nifti1Image:
    """Every voxel within some mm of a mask, on the mask's grid. Raises DataError where the mask is empty."""
    inside = np.asarray(mask.dataobj) > 0
    if not inside.any():
        raise DataError("the brain mask is empty, so there is nothing to draw; look at the mask step")
    voxel_mm = mask.header.get_zooms()[:3]
    pad = [int(np.ceil(margin_mm / size)) for size in voxel_mm]
    box = tuple(
        slice(max(int(where.min()) - extra, 0), int(where.max()) + extra + 1)
        for where, extra in zip(np.nonzero(inside), pad, strict=True)
    )
    near = np.zeros(inside.shape, np.uint8)
    near[box] = ndimage.distance_transform_edt(~inside[box], sampling=voxel_mm) <= margin_mm
    return Nifti1Image(near, mask.affine)


def only(image: Nifti1Image, keep: Nifti1Image) -> Nifti1Image:
    """The image cropped to a mask and blank outside it, so that no face can be drawn.

    `image` is (X, Y, Z) in any orientation; `keep` may lie on another grid of the same space. Voxels
    outside, and those that are not finite, become 0. Raises DataError where the two do not overlap.
    """
    kept = np.asarray(on_grid(keep, image, interpolation="nearest").dataobj) > 0
    if not kept.any():
        raise DataError("an image to be drawn does not overlap its brain mask; look at the registration")
    box = tuple(slice(int(where.min()), int(where.max()) + 1) for where in np.nonzero(kept))
    data = np.asarray(image.dataobj[box], dtype=np.float32)
    data = np.where(kept[box] & np.isfinite(data), data, np.float32(0))
    affine = np.array(image.affine, dtype=float)
    affine[:3, 3] = (image.affine @ [*(part.start for part in box), 1.0])[:3]
    return Nifti1Image(data, affine)


def spread(mask: Nifti1Image, axis: int, *, cuts: int) -> list[float]:
    """World coordinates (mm) of cuts spread over the mask's extent along an axis, away from its very ends."""
    indices = np.argwhere(np.asarray(mask.dataobj) > 0)
    world = indices @ mask.affine[:3, :3].T + mask.affine[:3, 3]
    low, high = world[:, axis].min(), world[:, axis].max()
    edge = 0.1 * (high - low)
    return [float(cut) for cut in np.unique(np.round(np.linspace(low + edge, high - edge, cuts)))]


class Mosaic:
    """Three rows of cuts (axial, coronal, sagittal) of one background, to which outlines and overlays are added.

    Left is on the left unless `radiological`; either way the letters L and R are printed. Coordinates are RAS mm.
    """

    def __init__(
        self,
        background: Nifti1Image,
        mask: Nifti1Image,
        *,
        colormap: str | Colormap = "gray",
        limits: tuple[float, float] | None = None,
        margin_mm: float = MARGIN_MM,
        radiological: bool = False,
        title: str = "",
        bar: bool = False,
        cuts: int = 7,
    ) -> None:
        self.keep = dilated(mask, margin_mm=margin_mm)
        self.figure = Figure(figsize=(11, 5.6), dpi=110, facecolor="black")
        FigureCanvasAgg(self.figure)
        self.legend: list[Line2D] = []
        shown = self._prepare(background)
        visible = on_grid(mask, shown, interpolation="nearest")  # the image may not reach all of the brain
        low, high = limits or contrast(np.asarray(shown.dataobj))
        width = BAR if bar else 0.992
        self.rows = [
            plotting.plot_img(
                shown,
                display_mode=direction,
                cut_coords=spread(visible, "xyz".index(direction), cuts=cuts),
                figure=self.figure,
                axes=(0.008, bottom, width - 0.016, 0.285),
                cmap=colormap,
                vmin=low,
                vmax=high,
                colorbar=False,
                annotate=False,
                draw_cross=False,
                black_bg=True,
                radiological=radiological and direction != "x",
            )
            for direction, bottom in (("z", 0.655), ("y", 0.36), ("x", 0.065))
        ]
        for row in self.rows:
            row.annotate(left_right=True, positions=True, size=9)
        if title:
            self.figure.text(0.008, 0.985, title, color="white", fontsize=11, va="top", ha="left")
        self.figure.text(width, 0.02, "mm; x < 0 is left", color="#aaaaaa", fontsize=8, va="bottom", ha="right")

    def _prepare(self, image: Nifti1Image) -> Nifti1Image:
        cropped = only(image, self.keep)
        values = np.asarray(cropped.dataobj)
        binary = bool(np.isin(values, (values.min(), values.max())).all())  # nilearn warns where it would blur such
        ordered: Nifti1Image = reorder_img(cropped, resample="nearest" if binary else "linear")
        return ordered

    def outline(self, image: Nifti1Image, *, level: float, color: str, label: str, width: float = 0.8) -> None:
        """Draw where an image crosses a level, and name it in the legend."""
        shown = self._prepare(image)
        for row in self.rows:
            for axes in row.axes.values():
                _contour(axes, shown, level=level, color=color, width=width)
        self.legend.append(Line2D([], [], color=color, linewidth=2, label=label))

    def overlay(
        self,
        image: Nifti1Image,
        *,
        colormap: str | Colormap,
        limits: tuple[float, float],
        threshold: float | None = None,
        where: Nifti1Image | None = None,
    ) -> None:
        """Draw an image over the background where its absolute value reaches a threshold (above 0), or where a mask is.

        `where` is on the image's grid.
        """
        shown = self._prepare(image)
        opacity = None if where is None else self._prepare(where)
        for row in self.rows:
            row.add_overlay(
                shown, threshold=threshold, cmap=colormap, vmin=limits[0], vmax=limits[1], transparency=opacity
            )

    def scale(self, *, label: str, colormap: str | Colormap, limits: tuple[float, float], extend: str) -> None:
        """Add a colour bar; its label must hold the unit."""
        axes = self.figure.add_axes((0.925, 0.12, 0.014, 0.76))
        mappable = ScalarMappable(Normalize(*limits), colormap)
        bar = self.figure.colorbar(mappable, cax=axes, extend=extend)
        bar.set_label(label, color="white", fontsize=10)
        bar.outline.set_edgecolor("white")
        axes.tick_params(colors="white", labelsize=8)
        axes.ticklabel_format(axis="y", scilimits=(-3, 4))
        axes.yaxis.get_offset_text().set(color="white", fontsize=8)

    def save(self, path: Path) -> None:
        """Write one PNG."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.legend:
            legend = self.figure.legend(
                handles=self.legend,
                loc="lower left",
                bbox_to_anchor=(0.0, -0.005),
                ncols=len(self.legend),
                fontsize=9,
                frameon=False,
                labelcolor="white",
                handlelength=1.4,
                columnspacing=1.6,
            )
            legend.set_zorder(10)
        self.figure.savefig(path, facecolor="black")


def contrast(data: np.ndarray, *, quantiles: tuple[float, float] = (0.02, 0.998)) -> tuple[float, float]:
    """Limits of the grey scale from the values that are not zero."""
    values = data[np.isfinite(data) & (data != 0)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = (float(value) for value in np.quantile(values, quantiles))
    return (min(low, 0.0) if low >= 0 else low), (high if high > low else low + 1.0)


def _contour(axes: object, image: Nifti1Image, *, level: float, color: str, width: float) -> None:
    # nilearn's add_contours warns at every cut that the level does not cross
    cut: Callable[..., np.ndarray] = axes.transform_to_2d  # type: ignore[attr-defined]
    direction = axes.direction  # type: ignore[attr-defined]
    data = np.asarray(image.dataobj)
    try:
        plane = np.asarray(cut(data, image.affine))[::-1]
    except IndexError:  # the cut lies outside this image
        return
    if not plane.min() < level < plane.max():
        return
    across, up = {"z": (0, 1), "y": (0, 2), "x": (1, 2)}[direction]
    # the extent by which nilearn places its pictures, so that both lie on each other
    extent = [
        image.affine[axis, 3] + image.affine[axis, axis] * end
        for axis in (across, up)
        for end in (0, image.shape[axis] - 1)
    ]
    axes.ax.contour(  # type: ignore[attr-defined]
        plane, levels=[level], colors=[color], linewidths=width, extent=extent, origin="lower"
    )
