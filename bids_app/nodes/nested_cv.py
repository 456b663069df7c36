"""The score of a model over the inner folds of one fold."""

import json
from pathlib import Path
from typing import Any

from bids_app.evaluation import permutation
from bids_app.nodes.train import fold_arguments
from bids_app.planning.nested_cv import inner_score_file
from bids_app.training import scores

Files = dict[str, Any]


def score_inner_folds(
    *,
    cell: str,
    classifier: str,
    maps: list[str],
    splits: list[Files],
    seed: int,
    plan: Files,
    outer: list[int],
    **stacked: str,
) -> str:
    """Balanced accuracy of a cell over the inner folds of `outer`, a repeat and fold -> its file."""
    from bids_app.training import fold, results, tables

    classes = plan["classes"]
    codes = [classes.index(name) for name in tables.read_table(Path(plan["work"]) / "people.tsv")["class"]]
    folders = [Path.cwd() / f"inner-{split['fold']}" for split in splits]
    for folder, split in zip(folders, splits, strict=True):
        given = fold_arguments(cell, classifier, maps, split, {**plan, "seed": seed}, stacked)
        # with a labelling, only the predictions are saved
        fold.train_fold(**given, labelling=codes, folder=folder)
    true, predicted = scores.class_codes(results.read_predictions(folders), classes)
    file = inner_score_file(Path(plan["work"]), cell, *outer)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(permutation.balanced_accuracy(true, predicted, len(classes))))
    return str(file)
