"""Detectable differences, as reports show them: a sentence, a figure and a table."""

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bids_app.dataset.effect_patterns import PATTERNS
from bids_app.evaluation.power import POWER
from bids_app.report.curves import COLORS, MARKERS
from bids_app.report.page import format_number
from bids_app.report.paper import save_figure

ANY_MODEL = "any"
PERCENT = f"{POWER * 100:.0f} %"
PANEL = (6.2, 4.2)  # inches


def power_sentences(table: pd.DataFrame, counts: Sequence[int]) -> list[str]:
    """One per map: the differences that would have been detected; counts: participants in each class."""
    study = f"In {PERCENT} of studies like this one ({sum(counts)} participants, {counts[0]} and {counts[1]})"
    return [
        f"{study}, the linear classifiers on {name} would distinguish the classes above chance if they differed in "
        f"{_join_patterns([_detectable_size(rows) for _, rows in part.groupby('pattern', sort=False)])}."
        for name, part in table[table["cell"] == ANY_MODEL].groupby("map", sort=False)
    ]


def _detectable_size(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    where = PATTERNS[str(first["pattern"])]
    if pd.isna(first["size_80"]):
        return f"{where} by more than d = {rows['d'].max():.1f}, the largest difference that was simulated"
    each = " each" if first["pattern"] == "diffuse" else ""
    percent = "" if pd.isna(first["percent_80"]) else f", about {first['percent_80']:.0f} % of the mean there"
    return f"{where} by d = {first['size_80']:.2f}{each} ({_format_interval(first)}{percent})"


def _format_interval(row: "pd.Series[float]") -> str:
    high = "more" if pd.isna(row["size_80_high"]) else f"{row['size_80_high']:.2f}"
    return (
        f"95 % interval {row['size_80_low']:.2f} to {high}"
        if pd.notna(row["size_80_low"])
        else "interval not available"
    )


def _join_patterns(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', in '.join(parts[:-1])}, or in {parts[-1]}"


def draw_power(table: pd.DataFrame, path: Path) -> None:
    """One panel per map: proportion of studies that detected the difference, by size; one line per pattern."""
    maps = table["map"].drop_duplicates().tolist()
    figure = Figure(figsize=(PANEL[0] * len(maps), PANEL[1]), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, name in zip(figure.subplots(1, len(maps), squeeze=False)[0], maps, strict=True):
        detected = table[(table["map"] == name) & (table["cell"] == ANY_MODEL)]
        axes.axhline(POWER, color="#999999", linewidth=1, linestyle=":")
        for color, marker, (pattern, rows) in zip(
            COLORS, MARKERS, detected.groupby("pattern", sort=False), strict=False
        ):
            axes.plot(rows["d"], rows["share"], color=color, marker=marker, markersize=4, label=PATTERNS[str(pattern)])
        axes.set(ylim=(-0.02, 1.02), title=name, xlabel="difference between classes (Cohen's d)")
        axes.set_ylabel("proportion of simulated studies\nthat detected it")
        axes.set_xlim(left=0)
        axes.legend(loc="lower right", fontsize=8, frameon=False, title="location of the difference", title_fontsize=8)
    save_figure(figure, path, paper=True)


def power_rows(table: pd.DataFrame) -> list[dict[Hashable, str]]:
    """The size detected in 80 % of the studies, by map, location and model."""
    first = table.drop_duplicates(["map", "pattern", "cell"])
    return [
        {
            "map": str(row["map"]),
            "location of the difference": PATTERNS[str(row["pattern"])],
            "detected by": "any linear model" if row["cell"] == ANY_MODEL else str(row["cell"]),
            f"d detected in {PERCENT}": f"> {_largest_size(table, row):.1f}"
            if pd.isna(row["size_80"])
            else format_number(row["size_80"], 2),
            "95 % interval": "-" if pd.isna(row["size_80"]) else _format_interval(row).removeprefix("95 % interval "),
            "% of the mean there": "-" if pd.isna(row["percent_80"]) else format_number(row["percent_80"], 2),
        }
        for _, row in first.iterrows()
    ]


def _largest_size(table: pd.DataFrame, row: "pd.Series[Any]") -> float:
    return float(table.loc[(table["map"] == row["map"]) & (table["pattern"] == row["pattern"]), "d"].max())


def power_section(table: pd.DataFrame, counts: Sequence[int], folder: Path) -> dict[str, Any]:
    """The content of the page's section; the figure is written into `figures` of `folder`, where the page is."""
    draw_power(table, folder / "figures" / "power.png")
    first = table.iloc[0]
    return {
        "sentences": power_sentences(table, counts),
        "rows": power_rows(table),
        "studies": int(first["studies"]),
        "critical": format_number(first["critical_score"], 2),
    }
