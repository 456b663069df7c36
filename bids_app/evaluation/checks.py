"""Which checks a method's maps pass, by fixed limits: docs/explaining.md."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from bids_app.training.results import MeanHeatmap


class Limit(NamedTuple):
    """What a check is called, and the least or the most that passes; neither: it is told and not judged."""

    words: str
    minimum: float | None = None
    maximum: float | None = None


LIMITS = {
    "finite": Limit("finite", minimum=1),
    "not_all_zero": Limit("none all zero", minimum=1),
    "convergence_delta": Limit("sum less the logit's way, median", maximum=0.05),
    "conservation_error": Limit("sum less the logit, median"),
    "relus_guided": Limit("ReLUs guided", minimum=1),
    "folds_icc": Limit("agreement of folds on regions (ICC)", minimum=0.5),
    "folds_spearman": Limit("rank correlation of folds on regions"),
    "folds_top_dice": Limit("Dice of the folds' ten strongest regions"),
    "head_shuffled": Limit("likeness to maps of a shuffled head"),
    "parameters_shuffled": Limit("likeness to maps of shuffled parameters", maximum=0.7),
    "labels_shuffled": Limit("likeness to maps after shuffled labels", maximum=0.7),
    "other_seed": Limit("likeness to maps from another start", minimum=0.5),
    "deletion": Limit("random orders that deletion beats", minimum=0.95),
    "insertion": Limit("random orders that insertion beats", minimum=0.95),
    "infidelity": Limit("infidelity (0 best, 1 none foretold)"),
    "max_sensitivity": Limit("change of the map with noise of 0.1 SD"),
}


def tabulate_checks(maps: Sequence[MeanHeatmap]) -> pd.DataFrame:
    """A row a map and check: cell, method, explained, check, value, least, most, passed (None: not judged)."""
    rows = []
    for heatmap in maps:
        identity = {"cell": heatmap.cell, "method": heatmap.method, "explained": heatmap.explained}
        for check, value in {**heatmap.checks, **heatmap.measured}.items():
            limit = LIMITS.get(check, Limit(check))
            rows.append({**identity, "check": check, "value": value, "least": limit.minimum, "most": limit.maximum})
            rows[-1]["passed"] = is_within(limit, value)
    return pd.DataFrame(rows, columns=["cell", "method", "explained", "check", "value", "least", "most", "passed"])


def is_within(limit: Limit, value: float) -> bool | None:
    """Whether a value is within a limit, as it is or by its size; NaN is not. None where there is no limit."""
    if limit.minimum is None and limit.maximum is None:
        return None
    return bool(
        (limit.minimum is None or value >= limit.minimum) and (limit.maximum is None or abs(value) <= limit.maximum)
    )
