"""A mean heatmap as the group report shows it: its caption, its checks and its overlap with a reference map."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from nibabel.nifti1 import Nifti1Image

from bids_app.evaluation.checks import LIMITS, Limit
from bids_app.regions.tables import OUTSIDE
from bids_app.report.page import format_number
from bids_app.training.results import BINARY_CHECKS, MeanHeatmap

NAMED_REGIONS = 3


@dataclass(frozen=True, kw_only=True)
class Heatmap(MeanHeatmap):
    """A mean heatmap with its image and its region table for each atlas, which have the columns of `regions/tables.py`.

    `resolution_mm`: the distance that the method, the voxels or the smoothing cannot resolve.
    """

    image: Nifti1Image
    regions: Mapping[str, pd.DataFrame]
    resolution_mm: float


def heatmap_caption(heatmap: Heatmap, threshold: float) -> str:
    """What the figure shows and its threshold, the smallest value that is drawn."""
    if heatmap.people is None:
        average = "Map of the model itself: one per fold, from its training participants, averaged over folds"
    else:
        average = f"Mean over {heatmap.people} held-out participant{'' if heatmap.people == 1 else 's'}"
    values = "values" if heatmap.sign == "positive" else "absolute values"
    parts = [
        f"{average}; method: {heatmap.method}; explained class: {heatmap.explained}; unit: {heatmap.unit}.",
        "This heatmap is zero throughout the brain."
        if threshold == 0.0
        else f"Shown: the 10 % of brain voxels with the largest {values} (at least {format_number(threshold)}; smaller "
        "values are grey in the colour bar). The scale ends at the 99.5th percentile.",
    ]
    parts.append(f"Locations less than about {heatmap.resolution_mm:.0f} mm apart cannot be resolved.")
    if heatmap.people is not None:
        correct, incorrect = heatmap.calls
        parts.append(
            f"Of the {correct + incorrect} individual heatmaps, {correct} are of participants predicted correctly and "
            f"{incorrect} of participants predicted incorrectly."
        )
    return " ".join(parts)


def heatmap_alternative(heatmap: Heatmap) -> str:
    """What the figure shows, in words, for readers who do not see it: its strongest regions in the first atlas."""
    text = f"Heatmap of {heatmap.cell} ({heatmap.method}, class {heatmap.explained}) on cuts of the template brain"
    for atlas, table in heatmap.regions.items():
        ranked = table[table["region"] != OUTSIDE].sort_values("rank", kind="stable")["region"]
        return f"{text}; strongest regions ({atlas}): {', '.join(ranked.head(NAMED_REGIONS).astype(str))}"
    return text


def format_checks(table: pd.DataFrame) -> dict[str, str | list[dict[str, str]]]:
    """The checks of one heatmap as text: `rows`, what `failed` (empty if nothing did), how many `passed`.

    table: that of `evaluation.checks.tabulate_checks`, for one heatmap.
    """
    rows, failed = [], []
    for row in table.to_dict("records"):
        limit = LIMITS.get(row["check"], Limit(row["check"]))
        outcome = {True: "pass", False: "FAIL", None: "not judged"}[row["passed"]]
        criterion = _pass_criterion(row["check"], limit)
        rows.append({"check": limit.words, "value": _check_value(row), "criterion": criterion, "outcome": outcome})
        if row["passed"] is False:
            failed.append(f"{limit.words}: {_check_value(row)} (criterion: {criterion})")
    judged = [row for row in rows if row["outcome"] != "not judged"]
    passed = f"{sum(row['outcome'] == 'pass' for row in judged)} of {len(judged)}"
    return {"rows": rows, "failed": "; ".join(failed), "passed": passed}


def _check_value(row: Mapping[Any, Any]) -> str:
    if row["check"] in BINARY_CHECKS:
        return "yes" if row["value"] else "no"
    return format_number(row["value"], 2)


def _pass_criterion(check: str, limit: Limit) -> str:
    if check in BINARY_CHECKS:
        return "yes"
    if limit.minimum is not None:
        return f"{limit.minimum:g} or more"
    return "-" if limit.maximum is None else f"{limit.maximum:g} or less"


def format_overlap(table: pd.DataFrame) -> dict[str, Any]:
    """The overlap with a reference map: unsmoothed, and with the smoothing that was best on the other folds."""
    first = table.iloc[0]
    compared = table[table["smoothing_mm"].isin(["0", "chosen on other folds"])]
    rows = [
        {
            "map": row["cell"],
            "method": row["method"] if row["explained"] == "n/a" else f"{row['method']}, class {row['explained']}",
            "smoothing (mm)": row["smoothing_mm"],
            "AUPRC": format_number(row["auprc"]),
            "p": format_number(row["p"]),
            "AUROC": format_number(row["auroc"]),
            "maximum Dice": format_number(row["max_dice"]),
            "Dice at equal volume": format_number(row["dice_at_volume"]),
            "enrichment": format_number(row["enrichment"]),
            "strongest voxel inside": format_number(row["pointing"]),
        }
        for row in compared.to_dict("records")
    ]
    return {
        "reference": first["reference"],
        "voxels": format_number(first["voxels"]),
        "chance": format_number(first["share"]),
        "rows": rows,
    }
