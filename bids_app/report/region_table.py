"""The regions of a mean heatmap, as the group report shows them."""

from typing import Any

import pandas as pd

from bids_app.regions.tables import OUTSIDE
from bids_app.report.page import format_number

TOP_REGIONS = 15
REGION_HEADINGS = {
    "rank": "rank",
    "region": "region",
    "volume_ml": "volume (mL)",
    "coverage": "coverage",
    "mean": "mean",
    "mean_right": "mean, correct",
    "mean_wrong": "mean, incorrect",
    "p95": "p95",
    "maximum": "maximum",
    "share": "share of mass",
    "p_size": "p (size)",
    "person_rank": "rank, participants",
    "person_maximum": "maximum, participants",
    "rank_by_person_maximum": "rank by maximum",
    "fold_ranks": "rank, folds",
}
FIRST_COLUMNS = ("rank", "region", "volume (mL)", "mean", "share of mass", "p (size)")


def tabulate_regions(atlas: str, table: pd.DataFrame, note: str) -> dict[str, Any]:
    """The rows of an atlas as text: the strongest regions, the rest, and the area outside the atlas.

    table: that of `regions/tables.py`; `further` are the columns that are shown on demand.
    """
    table = table.assign(region=_flag_small_regions(table))
    if "fold_rank_best" in table:
        both = zip(table["fold_rank_best"], table["fold_rank_worst"], strict=True)
        table["fold_ranks"] = ["-" if pd.isna(best) else f"{best:.0f} to {worst:.0f}" for best, worst in both]
    outside = table["region"].eq(OUTSIDE)
    ranked = table[~outside].sort_values("rank", kind="stable")
    columns = [c for c in REGION_HEADINGS if c in table]

    def rows(part: pd.DataFrame) -> list[list[str]]:
        return [[_region_value(column, row[column]) for column in columns] for row in part.to_dict("records")]

    headings = [REGION_HEADINGS[column] for column in columns]
    return {
        "atlas": atlas,
        "note": note,
        "columns": headings,
        "further": [heading for heading in headings if heading not in FIRST_COLUMNS],
        "top": rows(ranked.head(TOP_REGIONS)),
        "rest": rows(ranked.iloc[TOP_REGIONS:]),
        "outside": rows(table[outside]),
    }


def _flag_small_regions(table: pd.DataFrame) -> list[str]:
    """Names of regions, with a dagger after those below the resolution of the map."""
    small = table.get("below_resolution", pd.Series(False, table.index)).eq(True)
    return [f"{name} \N{DAGGER}" if flag else str(name) for name, flag in zip(table["region"], small, strict=True)]


def _region_value(column: str, value: object) -> str:
    text = format_number(value)
    if text == "n/a" and column != "share":
        return "-"
    if text != "n/a" and column in ("share", "coverage"):
        return f"{float(str(value)):.1%}"
    return text
