"""Scores under permuted labels."""

import json
from typing import Any

import numpy as np
import pandas as pd

from bids_app.evaluation import permutation
from bids_app.planning.group import GroupPlan, ModelSpec
from bids_app.planning.permutations import count_labellings, exchangeable_labels, is_linear
from bids_app.planning.work_dir import WorkDir
from bids_app.settings import Settings
from bids_app.training import scores


def permutation_table(
    analysis: GroupPlan, settings: Settings, predictions: pd.DataFrame, work_dir: WorkDir
) -> pd.DataFrame:
    """The observed scores of all cells with their permutation p values (`permutation.tabulate_p_values`)."""
    observed, null = {}, {}
    for cell in analysis.cells:
        most = count_labellings(cell, settings)
        if most and is_linear(cell):
            scored = np.load(work_dir.null_scores(cell.name))
            observed[cell.name], null[cell.name] = float(scored[0]), scored[1:]
        else:
            is_first = (predictions["cell"] == cell.name) & (predictions["repeat"] == 1)
            first = predictions[is_first]
            observed[cell.name] = permutation.balanced_accuracy(
                *scores.class_codes(first, analysis.classes), len(analysis.classes)
            )
            null[cell.name] = np.array(
                [np.load(work_dir.null_score(cell.name, number))[0] for number in range(1, most + 1)]
            )
    others = permutation.count_labellings(*exchangeable_labels(analysis, settings)) - 1
    if others < permutation.MIN_PERMUTATIONS:  # repeated draws of them would look like more permutations than exist
        null = {name: values[:others] for name, values in null.items()}
    return permutation.tabulate_p_values(observed, null, [cell.name for cell in analysis.cells if is_linear(cell)])


def site_prediction_scores(cell: ModelSpec, work_dir: WorkDir) -> dict[str, Any]:
    """How well maps predict the site: `gram_matrix` as the model sees them, `gram_matrix_of_sites` before ComBat."""
    file = work_dir.site_scores(cell.name)
    scores_by_input = json.loads(file.read_text()) if file.exists() else {}
    return {name: row for name, row in scores_by_input.items() if row}
