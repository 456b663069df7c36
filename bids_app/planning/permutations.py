"""Which labels are exchanged in permutations, and how often."""

import numpy as np
from numpy.typing import NDArray

from bids_app import catalogue
from bids_app.dataset.folds import Split
from bids_app.evaluation import permutation
from bids_app.planning.group import Analysis, Cell
from bids_app.settings import Settings

LABELLINGS = "labellings.npy"


def is_linear(cell: Cell) -> bool:
    """Whether a cell decides by products of people, so that a thousand labellings take seconds."""
    return catalogue.has("classifiers", cell.classifier, "decision_function")


def count_labellings(cell: Cell, settings: Settings) -> int:
    """How many labellings a cell is trained on."""
    wanted = settings.group.permutations
    if not is_linear(cell):
        return wanted or 0
    return (
        permutation.LINEAR_PERMUTATIONS
        if wanted is None
        else max(wanted, permutation.LINEAR_PERMUTATIONS if wanted else 0)
    )


def exchangeable_labels(
    analysis: Analysis, settings: Settings
) -> tuple[NDArray[np.int64], list[int], tuple[str, ...], list[str]]:
    """Whose labels may be exchanged: classes, held-out folds, units and sites, as `shuffle_labels` takes them."""
    y = np.array([analysis.classes.index(name) for name in analysis.used["class"]])
    folds = np.zeros(len(y), int)
    for split in first_repeat(analysis):
        folds[list(split.test)] = split.fold
    # where sites are the label, all people of one are of one class
    apart = settings.group.site is not None and analysis.label_column != "site"
    places = analysis.used["site"].astype(str).tolist() if apart else ["-"] * len(y)
    return y, folds.tolist(), analysis.splits[0].groups, places


def first_repeat(analysis: Analysis) -> list[Split]:
    """The folds by which chance is judged: those of the first repeat."""
    return [split for split in analysis.splits if split.repeat == 1]
