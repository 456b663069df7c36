"""Scores under exchanged labels, from what the nodes left."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bids_app.evaluation import permutation
from bids_app.planning.group import Analysis, Cell
from bids_app.planning.permutations import count_labellings, exchangeable_labels, is_linear
from bids_app.settings import Settings
from bids_app.training import scores

Files = dict[str, Any]


def permutation_table(analysis: Analysis, settings: Settings, told: pd.DataFrame, work: Path) -> pd.DataFrame:
    """The observed scores of all cells with their permutation p values (`permutation.tabulate_p_values`)."""
    observed, null = {}, {}
    for cell in analysis.cells:
        folder, most = work / "nulls" / cell.name, count_labellings(cell, settings)
        if most and is_linear(cell):
            scored = np.load(folder / "all.npy")
            observed[cell.name], null[cell.name] = float(scored[0]), scored[1:]
        else:
            first = told[(told["cell"] == cell.name) & (told["repeat"] == 1)]
            observed[cell.name] = permutation.balanced_accuracy(
                *scores.class_codes(first, analysis.classes), len(analysis.classes)
            )
            null[cell.name] = np.array([np.load(folder / f"{number}.npy")[0] for number in range(1, most + 1)])
    others = permutation.count_labellings(*exchangeable_labels(analysis, settings)) - 1
    if others < permutation.MIN_PERMUTATIONS:  # drawn again and again they would pass for more than they are
        null = {name: its[:others] for name, its in null.items()}
    return permutation.tabulate_p_values(observed, null, [cell.name for cell in analysis.cells if is_linear(cell)])


def site_prediction_scores(cell: Cell, work: Path) -> Files:
    """How well the same model predicts the site: from `gram_matrix`, and without ComBat from `gram_matrix_of_sites`."""
    file = work / "nulls" / cell.name / "sites.json"
    found: Files = json.loads(file.read_text()) if file.exists() else {}
    return {name: its for name, its in found.items() if its}
