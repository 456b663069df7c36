"""Which model was selected in each fold, and what the selected models predicted."""

import json

import pandas as pd

from bids_app.planning.group import GroupPlan
from bids_app.planning.nested_cv import CHOSEN
from bids_app.planning.work_dir import WorkDir
from bids_app.settings import Settings


def selection_table(analysis: GroupPlan, settings: Settings, work: WorkDir) -> pd.DataFrame | None:
    """The inner balanced accuracy of every cell in each fold, and which is `chosen`: the best, the first of equals."""
    if settings.group.inner_folds is None:
        return None
    rows = []
    for split in analysis.splits:
        names = [cell.name for cell in analysis.cells]
        told = {name: json.loads(work.inner_score(name, split.repeat, split.fold).read_text()) for name in names}
        best = max(told, key=lambda name: told[name])
        rows += [
            {
                "repeat": split.repeat,
                "fold": split.fold,
                "cell": name,
                "inner_balanced_accuracy": its,
                CHOSEN: name == best,
            }
            for name, its in told.items()
        ]
    return pd.DataFrame(rows)


def selected_predictions(told: pd.DataFrame, chosen: pd.DataFrame | None) -> pd.DataFrame:
    """What the chosen cell of each fold said of those held out, under the name `chosen`; nothing without choices."""
    if chosen is None:
        return told.iloc[:0]
    best = chosen.loc[chosen[CHOSEN], ["repeat", "fold", "cell"]]
    return told.merge(best, on=["repeat", "fold", "cell"])[told.columns].assign(cell=CHOSEN)
