"""Model selection within each fold (--inner-folds): the inner folds, and where their scores are kept."""

from pathlib import Path

from bids_app.dataset import folds
from bids_app.dataset.folds import Split
from bids_app.planning.group import Analysis
from bids_app.planning.ica import within
from bids_app.settings import Settings

CHOSEN = "chosen"


def check_inner_folds(analysis: Analysis, settings: Settings) -> None:
    """Raise DataError where a fold has too few people of a class to be split again."""
    if settings.group.inner_folds is not None:
        for split in analysis.splits:
            _split_training(split, analysis, settings)


def inner_folds(analysis: Analysis, settings: Settings) -> dict[str, list[Split]]:
    """The inner folds by `planning.ica.within` of the fold that they are in; nothing without --inner-folds."""
    if settings.group.inner_folds is None:
        return {}
    return {within(split): _split_training(split, analysis, settings) for split in analysis.splits}


def _split_training(split: Split, analysis: Analysis, settings: Settings) -> list[Split]:
    classes = analysis.used["class"].tolist()
    return folds.inner_folds(split, classes, folds=settings.group.inner_folds, seed=settings.compute.random_seed)


def inner_score_file(work: Path, cell: str, repeat: int, fold: int) -> Path:
    return work / "inner" / cell / f"repeat-{repeat}_fold-{fold}.json"
