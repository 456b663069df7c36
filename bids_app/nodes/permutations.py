"""Scores of a model under exchanged labels."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_app import catalogue
from bids_app.evaluation import permutation, sites
from bids_app.nodes.train import fold_arguments
from bids_app.planning.permutations import LABELLINGS
from bids_app.training import scores

Files = dict[str, Any]


def score_linear(*, cell: str, classifier: str, plan: Files, splits: list[Files], most: int, **trained: str) -> str:
    """Scores of a linear cell under the true labels and `most` others -> the file of them, (1 + most,).

    Beside it `sites.json`: how well the same model tells the site, after ComBat and without it.
    """
    part, work = catalogue.load("classifiers", classifier), Path(plan["work"])
    kernels = {
        file: [
            permutation.FoldKernel(dict(np.load(path)), np.array(split["train"]), np.array(split["test"]))
            for split in splits
            if (path := Path(trained[f"fold_{split['fold']}"]) / f"{file}.npz").exists()
        ]
        for file in ("gram_matrix", "gram_matrix_of_sites")
    }
    labels = np.load(work / LABELLINGS)[: 1 + most]
    people = pd.read_csv(work / "people.tsv", sep="\t", dtype=str, keep_default_na=False)
    found = permutation.score_labellings(
        kernels["gram_matrix"],
        labels,
        people["participant_id"].tolist(),
        len(plan["classes"]),
        decide=part.decision_function,
    )
    told = {
        file: sites.site_prediction_score(its, people["site"].tolist(), decide=part.decision_function)
        for file, its in kernels.items()
    }
    file = _save_scores(work / "nulls" / cell / "all.npy", found)
    Path(file).with_name("sites.json").write_text(json.dumps(told))
    return file


def score_network(
    *, cell: str, classifier: str, maps: list[str], plan: Files, splits: list[Files], number: int, **stacked: str
) -> str:
    """Score of a cell trained anew under one labelling -> its file, (1,)."""
    from bids_app.training import fold, results

    work = Path(plan["work"])
    labelling = np.load(work / LABELLINGS)[number].tolist()
    folders = []
    for split in splits:
        folders.append(Path.cwd() / f"fold-{split['fold']}")
        given = fold_arguments(cell, classifier, maps, split, plan, stacked)
        fold.train_fold(**given, labelling=labelling, folder=folders[-1])
    score = permutation.balanced_accuracy(
        *scores.class_codes(results.read_predictions(folders), plan["classes"]), len(plan["classes"])
    )
    return _save_scores(work / "nulls" / cell / f"{number}.npy", np.array([score]))


def _save_scores(path: Path, found: NDArray[np.float64]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, found)
    return str(path)
