"""Scores of a model under permuted labels."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_app import catalogue
from bids_app.evaluation import permutation, sites
from bids_app.nodes.train import fold_arguments
from bids_app.planning.group_records import FoldRows, TrainingPlan
from bids_app.planning.work_dir import WorkDir
from bids_app.training.fold_files import FoldFiles


def score_linear(
    *, cell: str, classifier: str, plan: TrainingPlan, splits: list[FoldRows], most: int, **trained: str
) -> str:
    """Score a linear model under the true labels and `most` permutations; returns the file of scores (1 + most,).

    Beside it `sites.json`: how well the same model predicts the site, after ComBat and without it.
    """
    part, work_dir = catalogue.load("classifiers", classifier), WorkDir(Path(plan["work"]))
    kernels = {
        name: [
            permutation.FoldKernel(dict(np.load(path)), np.array(split["train"]), np.array(split["test"]))
            for split in splits
            if (path := FoldFiles(Path(trained[f"fold_{split['fold']}"])).gram_matrix(name)).exists()
        ]
        for name in ("gram_matrix", "gram_matrix_of_sites")
    }
    labels = np.load(work_dir.labellings)[: 1 + most]
    participants = pd.read_csv(work_dir.participants, sep="\t", dtype=str, keep_default_na=False)
    null_scores = permutation.score_labellings(
        kernels["gram_matrix"],
        labels,
        participants["participant_id"].tolist(),
        len(plan["classes"]),
        decide=part.decision_function,
    )
    site_scores = {
        name: sites.site_prediction_score(folds, participants["site"].tolist(), decide=part.decision_function)
        for name, folds in kernels.items()
    }
    file = _save_scores(work_dir.null_scores(cell), null_scores)
    work_dir.site_scores(cell).write_text(json.dumps(site_scores))
    return file


def score_network(
    *,
    cell: str,
    classifier: str,
    maps: list[str],
    plan: TrainingPlan,
    splits: list[FoldRows],
    number: int,
    **stacked: str,
) -> str:
    """Train a model under one labelling and score it; returns the file of the score (1,)."""
    from bids_app.training import fold, results, scores

    work_dir = WorkDir(Path(plan["work"]))
    labelling = np.load(work_dir.labellings)[number].tolist()
    folders = []
    for split in splits:
        folders.append(Path.cwd() / f"fold-{split['fold']}")
        arguments = fold_arguments(cell, classifier, maps, split, plan, stacked)
        fold.train_fold(**arguments, labelling=labelling, folder=folders[-1])
    score = permutation.balanced_accuracy(
        *scores.class_codes(results.read_predictions(folders), plan["classes"]), len(plan["classes"])
    )
    return _save_scores(work_dir.null_score(cell, number), np.array([score]))


def _save_scores(path: Path, values: NDArray[np.float64]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values)
    return str(path)
