"""Applies a trained cell: the mean prediction of those of its models that were not trained on the participant."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_app.training import loop, models, tables
from bids_app.training.device import resolve_device


def apply_models(
    folders: Sequence[Path],
    *,
    arrays: Sequence[Mapping[str, Path]],
    people: Path,
    eligible: NDArray[np.bool_],
    device: str = "auto",
    threads: int = 1,
) -> pd.DataFrame:
    """Return one row per sample: participant_id, session_id, cell, `models` (how many predicted it), predicted,
    probability_<class> (their mean), and `distance`, the mean of `FeaturePipeline.distances`.

    folders: of the cell's models; arrays: for each model, map -> float32 (samples, voxels) in the row order of the
    table `people`; eligible (samples, models): which models may predict which sample, at least one each. A single model
    gives exactly the probabilities of training on the same machine. Raises DataError for samples that lack a covariate.
    """
    table = tables.read_table(people)
    # networks run on the device that training would have used, for identical numbers
    torch_device = resolve_device(device)
    total, distance = np.zeros(0), np.zeros(len(table))
    with loop.torch_threads(threads):
        for folder, model_eligible, model_arrays in zip(folders, eligible.T, arrays, strict=True):
            model = models.load(folder, device=torch_device)
            if hasattr(model.module, "fit"):
                model = models.load(folder)
            pipeline = model.pipeline
            everyone = tables.load_samples(
                table, {name: model_arrays[name] for name in pipeline.maps}, pipeline.columns, pipeline.keep
            )
            rows = np.flatnonzero(model_eligible)
            if not total.size:
                total = np.zeros((len(table), len(model.classes)))
            for row in rows:  # one at a time: selecting a list of rows would copy all maps
                sample = everyone.select(slice(row, row + 1))
                total[row] += model.predict(sample)[0]
                distance[row] += pipeline.distances(sample)[0]
    counts = eligible.sum(axis=1)
    probability = total / counts[:, None]
    columns = {
        "participant_id": table["participant_id"],
        "session_id": table["session_id"].fillna("n/a"),
        "cell": model.cell,
        "models": counts,
        "predicted": [model.classes[index] for index in probability.argmax(axis=1)],
    }
    probabilities = {f"probability_{name}": probability[:, index] for index, name in enumerate(model.classes)}
    return pd.DataFrame(columns | probabilities | {"distance": distance / counts})
