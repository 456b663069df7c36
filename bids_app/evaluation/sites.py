"""Site effects in maps and scores: how well the site is predicted from maps, and the accuracy within each site."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bids_app.evaluation.permutation import Decide, FoldKernel
from bids_app.training.scores import balanced_accuracy_interval

MIN_PER_CLASS = 2  # participants per class required for a site's accuracy


def site_prediction_score(kernels: Sequence[FoldKernel], sites: Sequence[str], *, decide: Decide) -> dict[str, Any]:
    """Return the balanced accuracy of a linear model for the site of held-out participants, and its 95 % interval.

    kernels: of the folds of the classification; sites: of each row. Participants of a site that a fold does not train
    on are not scored in that fold. Empty with fewer than two scored sites.
    """
    names, codes = np.unique(np.asarray(sites), return_inverse=True)
    right, tested = np.zeros(len(names), int), np.zeros(len(names), int)
    for kernel in kernels:
        trained, y = np.unique(codes[kernel.train], return_inverse=True)
        if len(trained) < 2:
            continue
        predicted = trained[decide(kernel.gram_matrices, y[None])[0].argmax(axis=1)]
        true = codes[kernel.test]
        known = np.isin(true, trained)
        np.add.at(tested, true[known], 1)
        np.add.at(right, true[known], (predicted == true)[known].astype(int))
    counts = [(int(hits), int(n)) for hits, n in zip(right, tested, strict=True) if n]
    if len(counts) < 2:
        return {}
    mean, (low, high) = balanced_accuracy_interval(counts)
    return {"sites": len(counts), "balanced_accuracy": mean, "low": low, "high": high, "chance": 1 / len(counts)}


def accuracy_by_site(people: pd.DataFrame, sites: Mapping[str, str], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return the balanced accuracy within each site, a row per site; None with fewer than two participants in a class.

    people: one row per participant, `participant_id`, `true`, `predicted`; sites: by participant.
    """
    rows = []
    for site, part in people.groupby(people["participant_id"].map(sites)):
        counts = [
            (int((part["predicted"][part["true"] == name] == name).sum()), int((part["true"] == name).sum()))
            for name in classes
        ]
        row: dict[str, Any] = {"site": str(site), "people": len(part), "balanced_accuracy": None}
        if min(n for _, n in counts) >= MIN_PER_CLASS:
            mean, (low, high) = balanced_accuracy_interval(counts)
            row |= {"balanced_accuracy": mean, "low": low, "high": high}
        rows.append(row)
    return rows
