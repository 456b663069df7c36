"""Model selection within each fold (--inner-folds): the inner folds."""

from bids_app.dataset import folds
from bids_app.dataset.folds import Split
from bids_app.planning.group import GroupPlan
from bids_app.planning.ica import inner_prefix
from bids_app.settings import Settings

CHOSEN = "chosen"


def check_inner_folds(analysis: GroupPlan, settings: Settings) -> None:
    """Raise DataError where a fold has too few participants of a class to be split again."""
    inner_folds(analysis, settings)


def inner_folds(analysis: GroupPlan, settings: Settings) -> dict[str, list[Split]]:
    """The inner folds, by `planning.ica.inner_prefix` of their outer fold; empty without --inner-folds."""
    n_folds = settings.group.inner_folds
    if n_folds is None:
        return {}
    classes, seed = analysis.used["class"].tolist(), settings.compute.random_seed
    return {
        inner_prefix(split): folds.inner_folds(split, classes, folds=n_folds, seed=seed) for split in analysis.splits
    }
