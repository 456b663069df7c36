"""Which models of a cell may be asked about whom: those that the person did not train."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_app.dataset import folds_file
from bids_app.errors import DataError

OPTION = "--training-list"


def asked(
    path: Path, people: Sequence[str], trained: Mapping[tuple[int, int], int]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """May each model be asked about each person (people, models); is the person on the list (people,).

    path: folds.tsv of the training, which names who trained in each repeat and fold; people: labels without "sub-";
    trained: by repeat and fold of each model, how many people it says that it was trained on. Somebody who is not on
    the list was in no training. Raises MissingInputError without the file, DataError for one of another training.
    """
    table = folds_file.lines(path, OPTION)
    train = table[table["role"] == "train"]
    may = np.ones((len(people), len(trained)), bool)
    for column, ((repeat, fold), count) in enumerate(trained.items()):
        members = set(train.loc[train["repeat"].eq(repeat) & train["fold"].eq(fold), "participant_id"])
        if len(members) != count:
            raise DataError(
                f"{OPTION} {path.name}: in repeat {repeat}, fold {fold} it has {len(members)} people who trained, and "
                f"the model says {count}; give the folds.tsv of the analysis that the model is from"
            )
        may[:, column] = [person not in members for person in people]
    return may, np.isin(np.asarray(people, dtype=str), sorted(set(table["participant_id"])))
