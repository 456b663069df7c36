"""A mosaic of axial, coronal and sagittal cuts of a brain, and of the brain only."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from contourpy import LineType, contour_generator
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from nibabel.nifti1 import Nifti1Image
from nilearn.image import reorder_img, resample_to_img
from scipy import ndimage

from bids_app.errors import DataError
from bids_app.preprocess.conform import find_box
from bids_app.report.paper import save_figure

MARGIN_MM = 6.0
STEP_MM = 2.0  # of distances to a mask
GAP_MM = 6.0
LETTERS_MM = 16.0  # under each row, for its coordinates
WIDTH, HEAD, FOOT = 11.0, 0.28, 0.34  # inch: of the picture, above the cuts, below them
LETTER_WIDTH = 0.58  # the width of a letter, as a share of its size
BAR_SHARE = 0.91  # the share of the width that cuts may take beside a colour bar


def resample_to(image: Nifti1Image, reference: Nifti1Image, *, interpolation: str) -> Nifti1Image:
    """The image on the grid of a reference; unchanged if it is there already."""
    if image.shape[:3] == reference.shape[:3] and np.allclose(image.affine, reference.affine, atol=1e-3):
        return image
    resampled: Nifti1Image = resample_to_img(image, reference, interpolation=interpolation)
    return resampled


def dilate_mask(mask: Nifti1Image, *, margin_mm: float = MARGIN_MM) -> Nifti1Image:
    """Every voxel within some mm of a mask, on the mask's grid; measured in steps of about 2 mm where voxels are finer.

    Raises DataError where the mask is empty.
    """
    inside = np.asarray(mask.dataobj) > 0
    if not inside.any():
        raise DataError("the brain mask is empty, so there is nothing to draw; check the brain mask")
    voxel_mm = mask.header.get_zooms()[:3]
    box = find_box(inside, [int(np.ceil(margin_mm / size)) for size in voxel_mm])
    near = np.zeros(inside.shape, np.uint8)
    steps = [max(1, round(STEP_MM / size)) for size in voxel_mm]
    coarse = inside[box][tuple(slice(None, None, step) for step in steps)]
    sampling = [step * size for step, size in zip(steps, voxel_mm, strict=True)]
    close = ndimage.distance_transform_edt(~coarse, sampling=sampling) <= margin_mm
    for axis, step in enumerate(steps):
        close = close.repeat(step, axis)
    near[box] = close[tuple(slice(0, part.stop - part.start) for part in box)]
    return Nifti1Image(near, mask.affine)


def crop_to_mask(image: Nifti1Image, keep: Nifti1Image) -> Nifti1Image:
    """The image cropped to a mask and blank outside it, so that no face can be drawn.

    `image` is (X, Y, Z) in any orientation; `keep` may lie on another grid of the same space. Voxels
    outside, and those that are not finite, become 0. Raises DataError where the two do not overlap.
    """
    inside = np.asarray(resample_to(keep, image, interpolation="nearest").dataobj) > 0
    if not inside.any():
        raise DataError("an image to be drawn does not overlap its brain mask; check the registration")
    box = find_box(inside, (0, 0, 0))
    data = np.asarray(image.dataobj[box], dtype=np.float32)
    data = np.where(inside[box] & np.isfinite(data), data, np.float32(0))
    affine = np.array(image.affine, dtype=float)
    affine[:3, 3] = (image.affine @ [*(part.start for part in box), 1.0])[:3]
    return Nifti1Image(data, affine)


def spread_cuts(mask: Nifti1Image, axis: int, *, cuts: int) -> list[float]:
    """World coordinates (mm) of cuts spread over the extent of a mask (in RAS+ order), away from its very ends."""
    extent = find_box(np.asarray(mask.dataobj) > 0, (0, 0, 0))[axis]
    ends = mask.affine[axis, 3] + mask.affine[axis, axis] * np.array([extent.start, extent.stop - 1])
    low, high = ends.min(), ends.max()
    edge = 0.7 / cuts * (high - low)  # fewer cuts are nearer the middle
    return [float(cut) for cut in np.unique(np.round(np.linspace(low + edge, high - edge, cuts)))]


@dataclass(frozen=True)
class Cut:
    """One cut of a mosaic, `at` mm along `axis` (0 to 2): which world axes go across and up in the picture, and where.

    `low` is the world (mm) at the lower left of its place in the picture, whose corner is (`left`, `bottom`), mm too,
    as is its `size`.
    """

    axis: int
    across: int
    up: int
    at: float
    left: float
    bottom: float
    low: tuple[float, float]
    size: tuple[float, float]
    flipped: bool

    def place(self, across: np.ndarray, up: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """From the world (mm) to the picture (mm)."""
        sign = -1.0 if self.flipped else 1.0
        return self.left + sign * (across - self.low[0]), self.bottom + (up - self.low[1])

    def plane(self, image: Nifti1Image) -> np.ndarray | None:
        """The image's voxels on the cut, (up, across), of an image in RAS+ order; None where it does not reach."""
        index = int(np.rint((self.at - image.affine[self.axis, 3]) / image.affine[self.axis, self.axis]))
        if not 0 <= index < image.shape[self.axis]:
            return None
        plane: np.ndarray = np.asarray(image.dataobj)[(slice(None),) * self.axis + (index,)]
        return plane.T

    def extent(self, image: Nifti1Image) -> tuple[float, float, float, float]:
        """Where the outer edges of an image's voxels lie in the picture: left, right, bottom, top."""
        ends = [
            image.affine[axis, 3] + image.affine[axis, axis] * np.array([-0.5, image.shape[axis] - 0.5])
            for axis in (self.across, self.up)
        ]
        (left, right), (bottom, top) = self.place(ends[0], ends[1])
        return left, right, bottom, top


def arrange_cuts(
    frame: Nifti1Image, mask: Nifti1Image, *, cuts: int, radiological: bool
) -> tuple[list[Cut], tuple[float, float]]:
    """Rows of axial, coronal and sagittal cuts, all of one scale; and the size (mm) of the picture.

    frame and mask (X, Y, Z) are in RAS+ order; cuts are spread over the mask, and every place is as large as the frame.
    """
    low = np.diag(frame.affine)[:3] * -0.5 + frame.affine[:3, 3]
    size = np.diag(frame.affine)[:3] * frame.shape[:3]
    column = max(size[0], size[1]) + GAP_MM
    cut_list, bottom = [], 0.0
    for axis, across, up in ((0, 1, 2), (1, 0, 2), (2, 0, 1)):
        flipped = radiological and across == 0
        start = low[across] + (size[across] if flipped else 0.0)
        for number, at in enumerate(spread_cuts(mask, axis, cuts=cuts)):
            left = number * column + (column - size[across]) / 2
            corner, extent = (start, low[up]), (size[across], size[up])
            cut_list.append(Cut(axis, across, up, at, left, bottom + LETTERS_MM, corner, extent, flipped))
        bottom += size[up] + LETTERS_MM
    return cut_list, (cuts * column, bottom)


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
        self.keep = dilate_mask(mask, margin_mm=margin_mm)
        self.legend: list[Line2D] = []
        shown = self._prepare(background)
        visible = resample_to(mask, shown, interpolation="nearest")  # the image may not reach all of the brain
        self.cuts, size = arrange_cuts(self._prepare(self.keep), visible, cuts=cuts, radiological=radiological)
        width = BAR_SHARE if bar else 0.992
        inner = (width - 0.016) * WIDTH * size[1] / size[0]
        height = inner + HEAD + FOOT
        # one Axes for all cuts: one for each takes longer than all drawing
        self.figure = Figure(figsize=(WIDTH, height), dpi=110, facecolor="black")
        FigureCanvasAgg(self.figure)
        self.axes = self.figure.add_axes((0.008, FOOT / height, width - 0.016, inner / height))
        self.axes.set(xlim=(0, size[0]), ylim=(0, size[1]), autoscale_on=False)
        self.axes.set_axis_off()
        self._paint(shown, limits or grey_limits(np.asarray(shown.dataobj)), colormap)
        for cut in self.cuts:
            self._letters(cut)
        if title:
            self.figure.text(0.008, 1 - 0.07 / height, title, color="white", fontsize=11, va="top", ha="left")
        note = "mm; x < 0 is left"
        self.figure.text(width, 0.1 / height, note, color="#aaaaaa", fontsize=8, va="bottom", ha="right")

    def _prepare(self, image: Nifti1Image) -> Nifti1Image:
        cropped = crop_to_mask(image, self.keep)
        values = np.asarray(cropped.dataobj)
        binary = bool(np.isin(values, (values.min(), values.max())).all())  # nilearn warns where it would blur such
        ordered: Nifti1Image = reorder_img(cropped, resample="nearest" if binary else "linear")
        return ordered

    def _paint(
        self,
        image: Nifti1Image,
        limits: tuple[float, float],
        colormap: str | Colormap,
        hidden: Callable[[Cut, np.ndarray], np.ndarray] | None = None,
    ) -> None:
        for cut in self.cuts:
            plane = cut.plane(image)
            if plane is None:
                continue
            values = plane if hidden is None else np.ma.masked_array(plane, hidden(cut, plane))
            low, high = limits
            extent = cut.extent(image)
            self.axes.imshow(
                values, origin="lower", extent=extent, cmap=colormap, vmin=low, vmax=high, interpolation="nearest"
            )

    def _letters(self, cut: Cut) -> None:
        left, right, top = cut.left, cut.left + cut.size[0], cut.bottom + cut.size[1]
        style: dict[str, Any] = {"color": "white", "fontsize": 9, "clip_on": False}
        self.axes.text(left, cut.bottom, f"{'xyz'[cut.axis]}={cut.at:.0f}", va="top", ha="left", **style)
        if cut.axis != 0:
            for place, letter in ((left, "RL"[not cut.flipped]), (right, "LR"[not cut.flipped])):
                self.axes.text(place, top, letter, va="top", ha="left" if place == left else "right", **style)

    def outline(self, image: Nifti1Image, *, level: float, color: str, label: str, width: float = 0.8) -> None:
        """Draw where an image crosses a level, and name it in the legend."""
        shown = self._prepare(image)
        lines: list[np.ndarray] = []
        for cut in self.cuts:
            plane = cut.plane(shown)
            if plane is None:
                continue
            axes = (cut.across, cut.up)
            centres = [shown.affine[axis, 3] + shown.affine[axis, axis] * np.arange(shown.shape[axis]) for axis in axes]
            x, y = cut.place(*centres)
            lines += contour_generator(x, y, plane, line_type=LineType.Separate).lines(level)  # type: ignore[arg-type]
        self.axes.add_collection(LineCollection(lines, colors=[color], linewidths=width), autolim=False)
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
        shown, mask = self._prepare(image), None if where is None else self._prepare(where)

        def hidden(cut: Cut, plane: np.ndarray) -> np.ndarray:
            out = np.zeros(plane.shape, bool) if threshold is None else np.abs(plane) < threshold
            covered = None if mask is None else cut.plane(mask)
            return out if covered is None else out | (covered < 0.5)

        self._paint(shown, limits, colormap, hidden)

    def scale(self, *, label: str, colormap: str | Colormap, limits: tuple[float, float], extend: str) -> None:
        """Add a colour bar; its label must hold the unit."""
        axes = self.figure.add_axes((0.925, 0.12, 0.014, 0.76))
        mappable = ScalarMappable(Normalize(*limits), colormap)
        bar = self.figure.colorbar(mappable, cax=axes, extend=extend)
        points = 72 * self.figure.get_figheight() / (LETTER_WIDTH * len(label))  # limited by the height
        bar.set_label(label, color="white", fontsize=min(10, points))
        bar.outline.set_edgecolor("white")
        axes.tick_params(colors="white", labelsize=8)
        axes.ticklabel_format(axis="y", scilimits=(-3, 4))
        axes.yaxis.get_offset_text().set(color="white", fontsize=8)

    def save(self, path: Path, *, paper: bool = False) -> None:
        """Write one PNG, and with `paper` the files for a paper."""
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
        save_figure(self.figure, path, paper=paper, facecolor="black")


def grey_limits(data: np.ndarray, *, quantiles: tuple[float, float] = (0.02, 0.998)) -> tuple[float, float]:
    """Limits of the grey scale from the values that are not zero."""
    values = data[np.isfinite(data) & (data != 0)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = (float(value) for value in np.quantile(values, quantiles))
    return (min(low, 0.0) if low >= 0 else low), (high if high > low else low + 1.0)
