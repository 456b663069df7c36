"""A mean heatmap as the group report shows it, and what is said under it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from nibabel.nifti1 import Nifti1Image

from bids_app.evaluation.checks import LIMITS, Limit
from bids_app.report.page import number
from bids_app.training.results import BINARY_CHECKS, MeanHeatmap


@dataclass(frozen=True, kw_only=True)
class Heatmap(MeanHeatmap):
    """A mean heatmap with its image and its region table for each atlas, which have the columns of `regions/tables.py`.

    `resolution_mm`: what the method, the voxels or the smoothing cannot tell apart.
    """

    image: Nifti1Image
    regions: Mapping[str, pd.DataFrame]
    resolution_mm: float


def caption(heatmap: Heatmap, threshold: float) -> str:
    """What a picture shows, where it is cut, and how its checks came out; threshold: the least value that is drawn."""
    if heatmap.people is None:
        whose = "The model's own map: one a fold, from its training people, then the mean over folds"
    else:
        whose = f"Mean over {heatmap.people} held-out {'person' if heatmap.people == 1 else 'people'}"
    value = "value" if heatmap.sign == "positive" else "absolute value"
    parts = [
        f"{whose}; method {heatmap.method}; the class explained is {heatmap.explained}; unit: {heatmap.unit}.",
        "This heatmap is zero everywhere in the brain."
        if threshold == 0.0
        else f"Drawn: the tenth of the brain's voxels with the largest {value} (at least {number(threshold)}); the "
        "grey part of the colour bar is below that. The scale ends at the 99.5th percentile.",
    ]
    parts.append(f"Places that are closer than about {heatmap.resolution_mm:.0f} mm cannot be told apart.")
    if heatmap.people is not None:
        right, wrong = heatmap.calls
        parts.append(f"Of its {right + wrong} maps {right} are of people who were called rightly, {wrong} wrongly.")
    return " ".join(parts)


def shown_checks(table: pd.DataFrame) -> dict[str, str | list[dict[str, str]]]:
    """The checks of one map in words: `rows`, what `failed` (empty: nothing did), how many of them `passed`.

    table: that of `evaluation.checks.table`, of one map.
    """
    rows, failed = [], []
    for row in table.to_dict("records"):
        limit = LIMITS.get(row["check"], Limit(row["check"]))
        told = {"check": limit.words, "value": _value(row), "passes": _passes(row["check"], limit)}
        rows.append(told | {"outcome": {True: "pass", False: "FAIL", None: "not judged"}[row["passed"]]})
        if row["passed"] is False:
            failed.append(f"{limit.words} {_value(row)}, where {_passes(row['check'], limit)} passes")
    judged = [row for row in rows if row["outcome"] != "not judged"]
    passed = f"{sum(row['outcome'] == 'pass' for row in judged)} of {len(judged)}"
    return {"rows": rows, "failed": "; ".join(failed), "passed": passed}


def _value(row: Mapping[Any, Any]) -> str:
    if row["check"] in BINARY_CHECKS:
        return "yes" if row["value"] else "no"
    return number(row["value"], 2)


def _passes(check: str, limit: Limit) -> str:
    if check in BINARY_CHECKS:
        return "yes"
    if limit.minimum is not None:
        return f"{limit.minimum:g} or more"
    return "-" if limit.maximum is None else f"{limit.maximum:g} or less"


def shown_overlap(table: pd.DataFrame) -> dict[str, Any]:
    """The overlap with a reference map: unsmoothed, and smoothed as was best on other folds."""
    first = table.iloc[0]
    shown = table[table["smoothing_mm"].isin(["0", "chosen on other folds"])]
    rows = [
        {
            "map": row["cell"],
            "method": row["method"] if row["explained"] == "n/a" else f"{row['method']}, explaining {row['explained']}",
            "smoothing (mm)": row["smoothing_mm"],
            "AUPRC": number(row["auprc"]),
            "p": number(row["p"]),
            "AUROC": number(row["auroc"]),
            "largest Dice": number(row["max_dice"]),
            "Dice at its volume": number(row["dice_at_volume"]),
            "enrichment": number(row["enrichment"]),
            "strongest voxel inside": number(row["pointing"]),
        }
        for row in shown.to_dict("records")
    ]
    return {
        "reference": first["reference"],
        "voxels": number(first["voxels"]),
        "chance": number(first["share"]),
        "rows": rows,
    }
