"""Figures of scores: ROC curves, confusion matrices and overlap, one panel per model."""

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix, roc_curve

from bids_app.report.page import format_number
from bids_app.report.paper import save_figure

COLORS = ("#0b6e99", "#c8501e", "#3a7d34", "#7b4ba0", "#a07b00", "#b0306a")
ROC_NOTE = (
    "Predictions of different folds are pooled for this figure only; "
    "the AUROC in the table is computed within each fold."
)
OVERLAP_NOTE = "Overlap of each mean heatmap with the reference map, by smoothing width of the heatmap."
CAPTIONS = {
    "roc": "ROC curves of predictions for held-out participants, one line per repeat; the dotted line is chance.",
    "confusion": "Confusion matrices of predictions for held-out participants: number of participants, with several "
    "repeats the mean over repeats, and in brackets the proportion of their true class.",
    "overlap": "Area under the precision-recall curve (AUPRC) of each mean heatmap, smoothed by 0 to 8 mm, for the "
    "voxels of the reference map; the dotted line is chance.",
}
MARKERS = ("o", "s", "^", "D")
CONFUSION_NOTE = "Participants, out of fold; in brackets the proportion of their true class."


def draw_roc(predictions: pd.DataFrame, classes: Sequence[str], path: Path, *, note: str = ROC_NOTE) -> None:
    """Draw the out-of-fold ROC curve of every model, one thin line per repeat.

    `predictions` has the columns cell, repeat, true and probability_<class>; the first of `classes` is the reference.
    With two classes, the second against the first; with more, each class against the rest.
    """
    against = [classes[1]] if len(classes) == 2 else list(classes)
    with _panels(predictions, path, note=note) as panels:
        for axes, table in panels:
            axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle=":")
            for color, name in zip(COLORS * len(against), against, strict=False):
                for number, (_, repeat) in enumerate(table.groupby("repeat")):
                    if repeat["true"].eq(name).nunique() < 2:
                        continue
                    false, true, _ = roc_curve(repeat["true"].eq(name), repeat[f"probability_{name}"])
                    axes.plot(false, true, color=color, linewidth=1.4, alpha=0.8, label=None if number else name)
            axes.set(
                xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel="1 - specificity", ylabel="sensitivity", aspect="equal"
            )
            axes.legend(loc="lower right", fontsize=8, frameon=False, title="positive class", title_fontsize=8)


def draw_confusion(
    predictions: pd.DataFrame, classes: Sequence[str], path: Path, *, note: str = CONFUSION_NOTE
) -> None:
    """Draw the confusion matrix of every model: participants (mean over repeats) and percentage of the true class."""
    with _panels(predictions, path, note=note) as panels:
        for axes, table in panels:
            repeats = table["repeat"].nunique()
            counts = confusion_matrix(table["true"], table["predicted"], labels=list(classes)) / repeats
            rows = counts.sum(axis=1, keepdims=True)
            share = np.divide(counts, rows, out=np.zeros_like(counts), where=rows > 0)
            axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
            for (row, column), count in np.ndenumerate(counts):
                text = f"{count:.0f}" if repeats == 1 else f"{count:.1f}"
                ink = "white" if share[row, column] > 0.6 else "black"
                axes.text(
                    column, row, f"{text}\n({share[row, column]:.0%})", ha="center", va="center", color=ink, fontsize=9
                )
            names = [_shorten(name) for name in classes]
            axes.set_xticks(range(len(classes)), names, rotation=30 if max(map(len, names)) > 9 else 0)
            axes.set_yticks(range(len(classes)), names)
            axes.set(xlabel="predicted", ylabel="true")


def draw_overlap(table: pd.DataFrame, path: Path) -> None:
    """Draw AUPRC by smoothing, one panel per model and explained class, one line per method, from rows of overlap.tsv.

    Maps without a classifier (explained is n/a) are grey, in the panels of the same map; nulls are not drawn.
    """
    rows = table[table["smoothing_mm"].str.isdigit() & ~table["method"].str.contains("(", regex=False)]
    first = rows["cell"].str.split("/").str[-1].str.split("+").str[0]
    rows = rows.assign(smoothing_mm=rows["smoothing_mm"].astype(float), map=first)
    blind = rows[rows["explained"] == "n/a"]
    shown = rows[rows["explained"] != "n/a"]
    shown = shown.assign(cell=shown["cell"] + "\nclass " + shown["explained"])
    looks = dict(zip(shown["method"].unique(), itertools.cycle(itertools.product(MARKERS, COLORS)), strict=False))
    looks |= {"group mean": ("", "#777777"), "t-map": (".", "#777777"), "F-map": (".", "#777777")}
    with _panels(shown, path, note=OVERLAP_NOTE, legend=True) as panels:
        for axes, lines in panels:
            of_map = blind[blind["cell"] == lines["map"].iloc[0]]
            for (name, explained), line in pd.concat([of_map, lines]).groupby(["method", "explained"], sort=False):
                marker, color = looks[str(name)]
                style = "--" if explained == "n/a" else "-"
                look = axes.plot(line["smoothing_mm"], line["auprc"], label=name, linestyle=style, linewidth=1.2)[0]
                look.set(marker=marker, color=color, markersize=4)
            axes.axhline(float(lines["share"].iloc[0]), color="#999999", linewidth=1, linestyle=":", label="chance")
            axes.set(xlabel="smoothing (mm FWHM)", ylabel="AUPRC", ylim=(0, None))


def describe_curves(scores: pd.DataFrame, predictions: pd.DataFrame) -> dict[str, str]:
    """What the figures show, in words, for readers who do not see them; by name, as CAPTIONS."""
    models = set(predictions["cell"])
    first = scores[scores["cell"].isin(models) & (scores["repeat"] == scores["repeat"].min())]
    areas = [f"{row['cell']} {format_number(row['auroc'], 2)}" for row in first.to_dict("records")]
    shares = [
        f"{cell}, {name}: {rows['predicted'].eq(str(name)).mean():.0%} predicted correctly"
        for (cell, name), rows in predictions.groupby(["cell", "true"], sort=False)
    ]
    return {"roc": f"ROC curves; area under the curve: {', '.join(areas)}.", "confusion": f"{'; '.join(shares)}."}


@contextmanager
def _panels(
    predictions: pd.DataFrame, path: Path, *, note: str, legend: bool = False
) -> Iterator[list[tuple[Axes, pd.DataFrame]]]:
    """One panel per model; with `legend`, one legend for the lines of all panels."""
    groups = list(predictions.groupby("cell", sort=False))
    across = min(3, len(groups))
    down = math.ceil(len(groups) / across)
    figure = Figure(figsize=(max(3.3 * across, 6.6), 3.3 * down + 0.35), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(down, across, squeeze=False).ravel()
    for axes in grid[len(groups) :]:
        axes.set_visible(False)
    panels = []
    for axes, (cell, table) in zip(grid, groups, strict=False):
        axes.set_title("\n".join(_shorten(line, 34) for line in str(cell).splitlines()), fontsize=10)
        axes.tick_params(labelsize=8)
        panels.append((axes, table))
    yield panels
    if legend:
        lines = {name: line for axes, _ in panels for line, name in zip(*axes.get_legend_handles_labels(), strict=True)}
        figure.legend(lines.values(), lines.keys(), loc="outside right upper", fontsize=8, frameon=False)
    figure.supxlabel(note, fontsize=8, color="#555555")
    save_figure(figure, path, paper=True)


def _shorten(text: str, length: int = 16) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
