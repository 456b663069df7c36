"""Model selection within each fold (--inner-folds): the inner folds."""

from bids_app.dataset import folds
from bids_app.dataset.folds import Split
from bids_app.planning.group import GroupPlan
from bids_app.planning.ica import inner_prefix
from bids_app.settings import Settings

CHOSEN = "chosen"


def check_inner_folds(analysis: GroupPlan, settings: Settings) -> None:
    """Raise DataError where a fold has too few people of a class to be split again."""
    if settings.group.inner_folds is not None:
        for split in analysis.splits:
            _split_training(split, analysis, settings)


def inner_folds(analysis: GroupPlan, settings: Settings) -> dict[str, list[Split]]:
    """The inner folds by `planning.ica.within` of the fold that they are in; nothing without --inner-folds."""
    if settings.group.inner_folds is None:
        return {}
    return {inner_prefix(split): _split_training(split, analysis, settings) for split in analysis.splits}


def _split_training(split: Split, analysis: GroupPlan, settings: Settings) -> list[Split]:
    classes = analysis.used["class"].tolist()
    return folds.inner(split, classes, folds=settings.group.inner_folds, seed=settings.compute.random_seed)
