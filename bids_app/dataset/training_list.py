"""Which models of a cell may predict a participant: those that were not trained on the participant."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_app.bids.matching import near_misses
from bids_app.dataset import folds, folds_file
from bids_app.errors import DataError

OPTION = "--training-list"


def eligible_models(
    path: Path, people: Sequence[str], models: Sequence[tuple[int, int]], *, digest: str
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which models may predict each participant (participants, models), and who is listed (participants,).

    path: folds.tsv of the training, with the role of each participant in each repeat and fold; people: labels without
    "sub-"; models: repeat and fold of each; digest: `folds.digest` of the training table. Participants who are not
    listed were in no training. Raises MissingInputError without the file, DataError for the list of another training.
    """
    table = folds_file.read_table(path, OPTION)
    rows = table[["participant_id", "repeat", "fold", "role"]].itertuples(index=False, name=None)
    if folds.digest(rows) != digest:
        raise DataError(
            f"{OPTION} {path.name} is not the list of the training participants of this model; provide the "
            "unchanged folds.tsv of the analysis that trained it"
        )
    listed = set(table["participant_id"])
    if near := near_misses(people, listed):
        pairs = ", ".join(f"{label} ({other}?)" for label, other in near.items())
        raise DataError(
            f"{OPTION} {path.name} lists participants in another spelling, and their models could have been trained on "
            f"them: {pairs}. Name the folders of the data set as in the list, or exclude these participants"
        )
    train = table[table["role"] == "train"]
    members = {place: set(rows["participant_id"]) for place, rows in train.groupby(["repeat", "fold"])}
    may = np.array([[person not in members[place] for place in models] for person in people], bool)
    return may.reshape(len(people), len(models)), np.isin(people, sorted(listed))
