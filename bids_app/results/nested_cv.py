"""The model selected in each fold, and the predictions of the selected models."""

import json

import pandas as pd

from bids_app.planning.group import GroupPlan
from bids_app.planning.nested_cv import CHOSEN
from bids_app.planning.work_dir import WorkDir
from bids_app.settings import Settings


def selection_table(analysis: GroupPlan, settings: Settings, work_dir: WorkDir) -> pd.DataFrame | None:
    """The inner balanced accuracy of every cell in each fold, and which is `chosen`: the first of the best."""
    if settings.group.inner_folds is None:
        return None
    rows = []
    for split in analysis.splits:
        names = [cell.name for cell in analysis.cells]
        scores = {name: json.loads(work_dir.inner_score(name, split.repeat, split.fold).read_text()) for name in names}
        best = max(scores, key=lambda name: scores[name])
        rows += [
            {
                "repeat": split.repeat,
                "fold": split.fold,
                "cell": name,
                "inner_balanced_accuracy": score,
                CHOSEN: name == best,
            }
            for name, score in scores.items()
        ]
    return pd.DataFrame(rows)


def selected_predictions(predictions: pd.DataFrame, selection: pd.DataFrame | None) -> pd.DataFrame:
    """The predictions of the cell that was selected in each fold, under the name `chosen`; none without a selection."""
    if selection is None:
        return predictions.iloc[:0]
    best = selection.loc[selection[CHOSEN], ["repeat", "fold", "cell"]]
    return predictions.merge(best, on=["repeat", "fold", "cell"])[predictions.columns].assign(cell=CHOSEN)
