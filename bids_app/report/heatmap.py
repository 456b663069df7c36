"""A mean heatmap as the group report shows it, and what is said under it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from nibabel.nifti1 import Nifti1Image

from bids_app.evaluation.checks import LIMITS
from bids_app.report.page import number
from bids_app.training.results import Mean


@dataclass(frozen=True, kw_only=True)
class Heatmap(Mean):
    """A mean heatmap with its image and its region table for each atlas, which have the columns of `regions/tables.py`.

    `stability`: how far the maps of folds agree on the regions of the first atlas (`stability.agreement`), None with
    one fold; `resolution_mm`: what the method, the voxels or the smoothing cannot tell apart.
    """

    image: Nifti1Image
    regions: Mapping[str, pd.DataFrame]
    resolution_mm: float
    stability: Mapping[str, float] | None = None


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


def shown_checks(table: pd.DataFrame) -> dict[str, Any] | None:
    """One row a map, one column a check: pass or FAIL with the value, the value alone where there is no limit.

    table: that of `evaluation.checks.table`, of one cell; None where it has no row.
    """
    if table.empty:
        return None
    columns = [name for name in LIMITS if name in set(table["check"])]
    rows = []
    for (method, explained), own in table.groupby(["method", "explained"], sort=False):
        told = {row["check"]: _outcome(row) for row in own.to_dict("records")}
        rows.append({"method": f"{method}, explaining {explained}", **{name: told.get(name, "-") for name in columns}})
    words = [{"check": name, "what": LIMITS[name].words, "passes": _limit(name)} for name in columns]
    failed = [row["method"] for row in rows if any("FAIL" in text for text in row.values())]
    return {"rows": rows, "words": words, "failed": failed}


def _outcome(row: Mapping[Any, Any]) -> str:
    value = number(row["value"], 2)
    if row["passed"] is None:
        return value
    word = "pass" if row["passed"] else "FAIL"
    return word if row["check"] in ("finite", "not_all_zero") else f"{word} {value}"


def _limit(name: str) -> str:
    limit = LIMITS[name]
    if name in ("finite", "not_all_zero"):
        return "in everybody"
    if limit.least is not None:
        return f"from {limit.least:g}"
    return "not judged" if limit.most is None else f"up to {limit.most:g}"


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
