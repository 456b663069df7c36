"""The carpet plot of a BOLD run: one row per voxel, one column per volume, below head motion and DVARS.

Rows are sorted by tissue and standardised, so that whole-brain signals appear as vertical stripes (Power 2017).
"""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec, SubplotSpec
from matplotlib.patches import Patch
from numpy.typing import NDArray

from bids_app.errors import DataError

TISSUES = {1: ("GM", "#ffb000"), 2: ("WM", "#40c8ff"), 3: ("CSF", "#7dff7a"), 0: ("other", "#999999")}
CENSORED_COLOR = "#ff4060"
EMPTY_COLOR = "#2b3a55"  # where a series has no volume
LIMIT = 2.0  # SD, at both ends of the grey scale
MAX_ROWS, MAX_COLUMNS = 220, 900  # more would exceed the pixels of the figure
MIN_SHARE = 0.08  # of the rows, so that the name of a tissue fits
LINE, CARPET, TOP, BOTTOM = 0.75, 2.1, 0.42, 0.53  # inches of height


def draw_carpet(
    series: NDArray[np.float32],
    path: Path,
    *,
    tr: float,
    sample_mask: NDArray[np.bool_],
    tissue: NDArray[np.integer] | None = None,
    fd: NDArray[np.floating] | None = None,
    dvars: NDArray[np.floating] | None = None,
    denoised: NDArray[np.float32] | None = None,
    fd_threshold: float | None = None,
    title: str = "",
) -> None:
    """Write the carpet plot as one PNG.

    `series` (voxels, time) holds all volumes, before denoising, in any unit; `tr` in s; `sample_mask` (time,) is false
    for censored volumes; `tissue` (voxels,): 1 = GM, 2 = WM, 3 = CSF, 0 = other; `fd` (time,) and `fd_threshold` in
    mm; `dvars` (time,), standardised, without unit (either is omitted if it is all NaN); `denoised` (voxels, retained
    volumes) is drawn below, if given. Raises DataError where these differ in length, or all volumes are censored.
    """
    labels = np.zeros(len(series), np.uint8) if tissue is None else np.asarray(tissue)
    _check_lengths(series, sample_mask=sample_mask, labels=labels, fd=fd, dvars=dvars, denoised=denoised)
    voxels, bounds = select_rows(labels)
    carpets = {"before denoising": standardise_rows(series[voxels])}
    if denoised is not None:
        carpets["after denoising"] = insert_dropped(standardise_rows(denoised[voxels]), sample_mask)
    traces = (("FD (mm)", fd), ("DVARS (std.)", dvars))
    lines = {name: values for name, values in traces if values is not None and np.isfinite(values).any()}
    figure, grid = _figure_grid(len(lines), len(carpets), title=title, sample_mask=sample_mask)
    below = len(lines) + len(carpets) - 1
    for at, (name, values) in enumerate(lines.items()):
        axes = figure.add_subplot(grid[at, 1])
        _draw_trace(axes, values, tr=tr, label=name, limit=fd_threshold if name.startswith("FD") else None)
        _format_axes(axes, sample_mask, tr=tr, last=at == below)
    for at, (name, values) in enumerate(carpets.items(), start=len(lines)):
        _draw_carpet_axes(figure, grid[at, 1], grid[at, 2], values, seconds=len(sample_mask) * tr)
        _format_axes(figure.axes[-2], sample_mask, tr=tr, last=at == below)
        _draw_tissue_strip(figure.add_subplot(grid[at, 0]), bounds, name=name)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, facecolor="black")


def select_rows(tissue: NDArray[np.integer]) -> tuple[NDArray[np.intp], list[tuple[int, int, int]]]:
    """The voxels that are drawn, sorted by tissue, and (label, first row, row after the last) of each tissue.

    `tissue` (voxels,): 1 = GM, 2 = WM, 3 = CSF, else other. Voxels are sampled evenly, so that each tissue has its
    share of the rows, but at least a twelfth.
    """
    known = np.where(np.isin(tissue, list(TISSUES)), tissue, 0)
    members = {label: np.flatnonzero(known == label) for label in TISSUES}
    parts, bounds, start = [], [], 0
    for label, voxels in members.items():
        if not len(voxels):
            continue
        share = max(len(voxels) / len(tissue), MIN_SHARE)
        number = min(len(voxels), max(1, round(share * MAX_ROWS)))
        parts.append(voxels[np.linspace(0, len(voxels) - 1, number).round().astype(np.intp)])
        bounds.append((label, start, start + number))
        start += number
    return np.concatenate(parts), bounds


def standardise_rows(series: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row of (voxels, time), detrended and divided by its SD; rows that are a straight line are 0."""
    values = series - series.mean(axis=1, keepdims=True)
    time = np.arange(values.shape[1], dtype=np.float32)
    time -= time.mean()
    if len(time) > 1:
        values -= np.outer(values @ time / (time @ time), time)
    spread_out = values.std(axis=1, keepdims=True)
    flat = spread_out <= 1e-5 * np.abs(series).max(axis=1, keepdims=True)  # rounding error of float32
    return np.where(flat, np.float32(0), values / np.where(flat, np.float32(1), spread_out)).astype(np.float32)


def insert_dropped(values: NDArray[np.float32], sample_mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Volumes at their original times: (voxels, retained volumes) -> (voxels, time), NaN where censored."""
    whole = np.full((len(values), len(sample_mask)), np.nan, np.float32)
    whole[:, sample_mask] = values
    return whole


def censored_segments(dropped: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Segments of censored volumes, as (first, one after the last)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], dropped, [False]]).astype(np.int8)))
    return [(int(first), int(after)) for first, after in edges.reshape(-1, 2)]


def _check_lengths(
    series: NDArray[np.float32],
    *,
    sample_mask: NDArray[np.bool_],
    labels: NDArray[np.integer],
    fd: NDArray[np.floating] | None,
    dvars: NDArray[np.floating] | None,
    denoised: NDArray[np.float32] | None,
) -> None:
    """Raise DataError, with both numbers, where lengths differ."""
    if series.ndim != 2 or not series.size:
        raise DataError(
            f"a series of shape {series.shape} has no carpet plot: it must be (voxels, time); check the mask"
        )
    if not sample_mask.any():
        raise DataError("all volumes of the run were censored: raise --fd-threshold, or exclude the run with --exclude")
    voxels, volumes = series.shape
    for name, length, expected in (
        ("sample mask", len(sample_mask), volumes),
        ("FD", volumes if fd is None else len(fd), volumes),
        ("DVARS", volumes if dvars is None else len(dvars), volumes),
        ("tissue segmentation", len(labels), voxels),
        ("denoised series", voxels if denoised is None else len(denoised), voxels),
        ("denoised series", sample_mask.sum() if denoised is None else denoised.shape[1], sample_mask.sum()),
    ):
        if length != expected:
            raise DataError(f"the {name} has {length} entries, expected {expected}; are they from the same run?")


def _figure_grid(lines: int, carpets: int, *, title: str, sample_mask: NDArray[np.bool_]) -> tuple[Figure, GridSpec]:
    """An empty figure with its text, and its grid: one row per trace or carpet; tissues, plot and colour bar across."""
    heights = [LINE] * lines + [CARPET] * carpets
    height = sum(heights) + TOP + BOTTOM
    figure = Figure(figsize=(11, height), dpi=110, facecolor="black")
    FigureCanvasAgg(figure)
    figure.text(0.008, 1 - 0.08 / height, title, color="white", fontsize=11, va="top", ha="left")
    handles = [
        Patch(color=CENSORED_COLOR, label=f"censored: {int((~sample_mask).sum())} of {len(sample_mask)} volumes")
    ]
    figure.legend(handles=handles, loc="lower left", fontsize=9, frameon=False, labelcolor="white")
    figure.text(0.99, 0.05 / height, "one row per voxel", color="#aaaaaa", fontsize=8, va="bottom", ha="right")
    grid = GridSpec(
        lines + carpets,
        3,
        figure,
        height_ratios=heights,
        width_ratios=[0.012, 1, 0.014],
        left=0.085,
        right=0.93,
        top=1 - TOP / height,
        bottom=BOTTOM / height,
        hspace=0.16,
        wspace=0.012,
    )
    return figure, grid


def _draw_carpet_axes(
    figure: Figure, place: SubplotSpec, beside: SubplotSpec, values: NDArray[np.float32], *, seconds: float
) -> None:
    axes = figure.add_subplot(place)
    extent = (0.0, seconds, float(len(values)), 0.0)
    how = "nearest" if values.shape[1] <= MAX_COLUMNS else "antialiased"  # the latter blurs with few volumes
    image = axes.imshow(values, cmap="gray", vmin=-LIMIT, vmax=LIMIT, aspect="auto", extent=extent, interpolation=how)
    axes.set_yticks([])
    bar = figure.colorbar(image, cax=figure.add_subplot(beside), extend="both", ticks=[-2, -1, 0, 1, 2])
    bar.set_label("SD of the voxel", color="white", fontsize=9)
    bar.outline.set_edgecolor("white")
    bar.ax.tick_params(colors="white", labelsize=8)


def _draw_trace(axes: Axes, values: NDArray[np.floating], *, tr: float, label: str, limit: float | None) -> None:
    known = values[np.isfinite(values)]
    axes.stairs(values, np.arange(len(values) + 1) * tr, baseline=None, color="white", linewidth=0.9)
    most = float(known.max(initial=0.0))
    axes.set_ylim(0.0, 1.1 * max(most, limit or 0.0) or 1.0)
    axes.set_ylabel(label.replace(" ", "\n"), color="white", fontsize=9)
    if limit is not None:
        axes.axhline(limit, color=CENSORED_COLOR, linewidth=0.9, linestyle="--")
    text = f"mean {known.mean():.2f}\nmax {most:.2f}" + (f"\nlimit {limit:g}" if limit is not None else "")
    axes.text(1.012, 0.5, text, color="white", fontsize=8, va="center", transform=axes.transAxes)


def _format_axes(axes: Axes, sample_mask: NDArray[np.bool_], *, tr: float, last: bool) -> None:
    """Mark censored volumes in red (above the upper edge of a carpet), and time in seconds below."""
    axes.set_xlim(0.0, len(sample_mask) * tr)
    axes.set_facecolor(EMPTY_COLOR if axes.images else "black")
    low, high = (1.015, 1.055) if axes.images else (0.0, 1.0)
    for first, after in censored_segments(~sample_mask):
        axes.axvspan(
            first * tr,
            after * tr,
            low,
            high,
            color=CENSORED_COLOR,
            alpha=1.0 if axes.images else 0.45,
            lw=0,
            clip_on=False,
        )
    axes.tick_params(colors="white", labelsize=8, labelbottom=last)
    axes.spines[:].set_color("#777777")
    if last:
        axes.set_xlabel("time (s)", color="white", fontsize=9)


def _draw_tissue_strip(axes: Axes, bounds: list[tuple[int, int, int]], *, name: str) -> None:
    """Draw the tissues beside a carpet, and its name."""
    end = bounds[-1][2]
    for label, first, after in bounds:
        word, color = TISSUES[label] if label or len(bounds) > 1 else ("brain", "#999999")
        axes.axhspan(first, after, color=color, lw=0)
        axes.text(-0.6, (first + after) / 2, word, color=color, fontsize=8, va="center", ha="right")
    axes.set(xlim=(0, 1), ylim=(end, 0), xticks=[], yticks=[])
    axes.set_ylabel(name, color="white", fontsize=9, labelpad=34)
    axes.spines[:].set_visible(False)
