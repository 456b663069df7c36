"""A mean heatmap as the group report shows it, and what is said under it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray

from bids_app.report.page import number
from bids_app.training.results import LARGEST_RANDOMISED

BASIC = ("finite", "not_all_zero")


@dataclass(frozen=True)
class Heatmap:
    """A mean heatmap of one cell, method and explained class, with its region table for each atlas.

    `folds`: the means of single folds, (voxels in the mask,). `randomised`: the rank correlation that is left with
    shuffled parameters, None where it was not looked at. `checks`: the worst over people of what every map has to be
    (1: it is) and of what its method measures.

    `people` is the number of held-out people that it is the mean of, or None for a model's own map (one a fold, from
    training people). `sign` is 'both' or 'positive'. `regions` have the columns of regions/tables.py.
    """

    cell: str
    method: str
    explained: str
    people: int | None
    unit: str
    sign: str
    image: Nifti1Image
    regions: dict[str, pd.DataFrame]
    effective_resolution_mm: float | None = None
    checks: Mapping[str, float] = field(default_factory=dict)
    randomised: float | None = None
    folds: tuple[NDArray[np.float32], ...] = ()


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
    if heatmap.effective_resolution_mm is not None:
        parts.append(
            f"The method cannot tell places apart that are closer than about {heatmap.effective_resolution_mm:.0f} mm."
        )
    if heatmap.checks:
        parts.append(_checks(heatmap.checks))
    if heatmap.randomised is not None:
        parts.append(_randomised(heatmap.randomised))
    return " ".join(parts)


def _randomised(left: float) -> str:
    """Whether the map depends on what was learnt."""
    passed = "passes" if left <= LARGEST_RANDOMISED else "FAILS: it shows more of the image than of what was learnt"
    return (
        f"With all parameters shuffled, maps keep a rank correlation of {left:.2f} with the true ones (absolute "
        f"values; {LARGEST_RANDOMISED} at most): {passed}."
    )


def _checks(checks: Mapping[str, float]) -> str:
    """Pass or fail of what every map has to be, and the worst of what a method measures of its own."""
    held = [
        "finite" if checks["finite"] else "NOT FINITE",
        "none all zero" if checks["not_all_zero"] else "SOME ALL ZERO",
    ]
    words = {
        "convergence_delta": "the sum misses the logit's way by {:.1%} at most",
        "conservation_error": "the sum misses the logit by {:.1%} at most (biases keep that much)",
        "relus_guided": "{:.0f} ReLUs guided",
    }
    own = [words.get(name, name + " {:.3g}").format(abs(value)) for name, value in checks.items() if name not in BASIC]
    return f"Checks of each person's map: {'; '.join([*held, *own])}."


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
