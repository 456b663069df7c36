"""Which checks a method's maps pass, with fixed limits: docs/explaining.md."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from bids_app.training.results import MeanHeatmap


class Limit(NamedTuple):
    """The name of a check and its smallest or largest passing value; with neither it is reported but not judged."""

    words: str
    minimum: float | None = None
    maximum: float | None = None


LIMITS = {
    "finite": Limit("all values finite", minimum=1),
    "not_all_zero": Limit("no heatmap all zero", minimum=1),
    "convergence_delta": Limit("difference of the sum from the logit change, median", maximum=0.05),
    "conservation_error": Limit("difference of the sum from the logit, median"),
    "relus_guided": Limit("number of ReLUs guided", minimum=1),
    "folds_icc": Limit("agreement of folds on regions (ICC)", minimum=0.5),
    "folds_spearman": Limit("rank correlation of folds on regions"),
    "folds_top_dice": Limit("Dice of the ten strongest regions of the folds"),
    "head_shuffled": Limit("similarity to heatmaps after shuffling the head"),
    "parameters_shuffled": Limit("similarity to heatmaps after shuffling all parameters", maximum=0.7),
    "labels_shuffled": Limit("similarity to heatmaps trained on shuffled labels", maximum=0.7),
    "other_seed": Limit("similarity to heatmaps trained from another seed", minimum=0.5),
    "deletion": Limit("proportion of random orders that deletion outperforms", minimum=0.95),
    "insertion": Limit("proportion of random orders that insertion outperforms", minimum=0.95),
    "infidelity": Limit("infidelity (0: best, 1: nothing explained)"),
    "max_sensitivity": Limit("relative change of the map under noise of 0.1 SD"),
}


def tabulate_checks(maps: Sequence[MeanHeatmap]) -> pd.DataFrame:
    """Return a row per map and check: cell, method, explained, check, value, least, most, passed (None: not judged)."""
    rows = []
    for heatmap in maps:
        identity = {"cell": heatmap.cell, "method": heatmap.method, "explained": heatmap.explained}
        for check, value in {**heatmap.checks, **heatmap.measured}.items():
            limit = LIMITS.get(check, Limit(check))
            rows.append({**identity, "check": check, "value": value, "least": limit.minimum, "most": limit.maximum})
            rows[-1]["passed"] = is_within(limit, value)
    return pd.DataFrame(rows, columns=["cell", "method", "explained", "check", "value", "least", "most", "passed"])


def is_within(limit: Limit, value: float) -> bool | None:
    """Whether a value reaches the minimum, or its magnitude is within the maximum; NaN is not. None without limits."""
    if limit.minimum is None and limit.maximum is None:
        return None
    return bool(
        (limit.minimum is None or value >= limit.minimum) and (limit.maximum is None or abs(value) <= limit.maximum)
    )
