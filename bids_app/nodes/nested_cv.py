"""The score of a model over the inner folds of one fold."""

import json
from pathlib import Path

from bids_app.evaluation import permutation
from bids_app.nodes.train import fold_arguments
from bids_app.planning.group_records import FoldRows, TrainingPlan
from bids_app.planning.work_dir import WorkDir


def score_inner_folds(
    *,
    cell: str,
    classifier: str,
    maps: list[str],
    splits: list[FoldRows],
    seed: int,
    plan: TrainingPlan,
    outer: list[int],
    **stacked: str,
) -> str:
    """Write the balanced accuracy over the inner folds of `outer`, a repeat and fold; returns the file."""
    from bids_app.training import fold, results, scores, tables

    work_dir, classes = WorkDir(Path(plan["work"])), plan["classes"]
    codes = [classes.index(name) for name in tables.read_table(work_dir.participants)["class"]]
    folders = [Path.cwd() / f"inner-{split['fold']}" for split in splits]
    for folder, split in zip(folders, splits, strict=True):
        arguments = fold_arguments(cell, classifier, maps, split, {**plan, "seed": seed}, stacked)
        # with a labelling, only the predictions are saved
        fold.train_fold(**arguments, labelling=codes, folder=folder)
    true, predicted = scores.class_codes(results.read_predictions(folders), classes)
    file = work_dir.inner_score(cell, *outer)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(permutation.balanced_accuracy(true, predicted, len(classes))))
    return str(file)
