"""A trained cell on people: the mean of what those of its models say that did not train on them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_app.training import fold, loop, models, tables


def apply_models(
    folders: Sequence[Path],
    *,
    arrays: Sequence[Mapping[str, Path]],
    people: Path,
    asked: NDArray[np.bool_],
    device: str = "auto",
    threads: int = 1,
) -> pd.DataFrame:
    """One row a sample: participant_id, session_id, cell, `models` (how many were asked), predicted,
    probability_<class> (their mean), and `distance`, the mean of `FeaturePipeline.distances`.

    folders: of the cell's models; arrays: of each model, map -> float32 (people, voxels) in the row order of `people`;
    asked (people, models): each person has at least one. One person and one model give the very numbers of training on
    the same machine. Raises DataError for people without a covariate that the models adjust for.
    """
    table = tables.read_table(people)
    # networks run where training would have run them, for the same numbers
    where = fold.resolve_device(device)
    total, apart = np.zeros(0), np.zeros(len(table))
    with loop.torch_threads(threads):
        for folder, may, its in zip(folders, asked.T, arrays, strict=True):
            model = models.load(folder, device=where)
            if hasattr(model.module, "fit"):
                model = models.load(folder)
            own = model.preparation
            everyone = tables.load_samples(table, {one: its[one] for one in own.maps}, own.columns, own.keep)
            rows = np.flatnonzero(may)
            if not total.size:
                total = np.zeros((len(table), len(model.classes)))
            for row in rows:  # one at a time: a list of rows would be a copy of everybody's maps
                one = everyone.rows(slice(row, row + 1))
                total[row] += model.predict(one)[0]
                apart[row] += own.distances(one)[0]
    counts = asked.sum(axis=1)
    probability = total / counts[:, None]
    columns = {
        "participant_id": table["participant_id"],
        "session_id": table["session_id"].fillna("n/a"),
        "cell": model.cell,
        "models": counts,
        "predicted": [model.classes[index] for index in probability.argmax(axis=1)],
    }
    told = {f"probability_{name}": probability[:, index] for index, name in enumerate(model.classes)}
    return pd.DataFrame(columns | told | {"distance": apart / counts})
