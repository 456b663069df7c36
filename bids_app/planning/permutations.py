"""Which labels are permuted, and how often."""

import numpy as np
from numpy.typing import NDArray

from bids_app import catalogue
from bids_app.dataset.folds import Split
from bids_app.evaluation import permutation
from bids_app.planning.group import GroupPlan, ModelSpec
from bids_app.settings import Settings


def is_linear(cell: ModelSpec) -> bool:
    """Whether a model needs only the Gram matrix of participants, so that a thousand permutations take seconds."""
    return catalogue.has("classifiers", cell.classifier, "decision_function")


def count_labellings(cell: ModelSpec, settings: Settings) -> int:
    """The number of permutations of a model."""
    wanted = settings.group.permutations
    if not is_linear(cell):
        return wanted or 0
    return (
        permutation.LINEAR_PERMUTATIONS
        if wanted is None
        else max(wanted, permutation.LINEAR_PERMUTATIONS if wanted else 0)
    )


def exchangeable_labels(
    analysis: GroupPlan, settings: Settings
) -> tuple[NDArray[np.int64], list[int], tuple[str, ...], list[str]]:
    """The exchangeable labels: class, test fold, unit and site of each sample, as `shuffle_labels` takes them."""
    y = np.array([analysis.classes.index(name) for name in analysis.used["class"]])
    folds = np.zeros(len(y), int)
    for split in first_repeat(analysis):
        folds[list(split.test)] = split.fold
    # if sites are the label, each site has a single class
    apart = (settings.group.site or settings.group.maps_from) and analysis.label_column != "site"
    places = analysis.used["site"].astype(str).tolist() if apart else ["-"] * len(y)
    return y, folds.tolist(), analysis.splits[0].groups, places


def first_repeat(analysis: GroupPlan) -> list[Split]:
    """The folds for the permutation test: those of the first repeat."""
    return [split for split in analysis.splits if split.repeat == 1]
