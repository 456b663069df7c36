"""What a fold's model used: maps of those held out and of the model, with their checks, and the people's regions."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_app.training import checking, deviations, heatmaps
from bids_app.training.models import Model
from bids_app.training.prepare import People

Coded = tuple[People, NDArray[np.int64]]


def write(
    model: Model,
    names: Sequence[str] | Mapping[str, Mapping[str, Any]],
    trained: Coded,
    held: Coded,
    folder: Path,
    parcels: heatmaps.Parcels,
    against: Mapping[str, Model] | None,
) -> None:
    """Write the maps of every explainer that suits the classifier, heatmaps.json, and regions.npz where there are any.

    trained, held: people and the codes of their classes; parcels: regions (voxels,); against: models to check by.
    heatmap_<method>.npy: (held-out people, classes, voxels in the mask); model_<method>.npy and, from `against`,
    null-<kind>-<method>.npy: (classes, voxels). heatmaps.json: of a method `person_sd` and `model_sd`, by which its
    maps are divided before folds are averaged, `checks` by person and class, `measured` and `cascade` (`checking`), or
    why it was `refused`. regions.npz: `deviations.of_regions`, from the first class.
    """
    (training, y), (held_out, true) = trained, held
    if parcels is not None:
        index, z, controls = deviations.of_regions(model.preparation, training, held_out, y == 0, parcels)
        np.savez(folder / deviations.FILE, index=index, z=z, controls=controls)
    chosen, refused = heatmaps.suitable(names, model.module)
    told: dict[str, dict[str, Any]] = {name: {"refused": why} for name, why in refused.items()}
    x = model.preparation.vectors(training)
    examined = None if against is None else checking.Examined(model, held_out, true, parcels)
    for name, explainer in chosen.items():
        told[name] = {"sign": explainer.SIGN, "unit": explainer.UNIT, "of": explainer.OF}
        told[name]["options"] = getattr(explainer, "options", {})
        if explainer.OF in ("model", "both"):
            described = heatmaps.describe(explainer, model, x)
            np.save(folder / f"model_{name}.npy", described)
            told[name]["model_sd"] = float(described.std(dtype=np.float64))
            if against is not None and explainer.OF == "model":
                told[name] |= checking.of_models(explainer, model, x, against)
        if explainer.OF in ("person", "both"):
            file = folder / f"heatmap_{name}.npy"
            told[name]["cell_mm"] = heatmaps.cell_mm(explainer, model)
            told[name]["checks"] = heatmaps.write_people(explainer, model, held_out, path=file, parcels=parcels)
            told[name]["person_sd"] = heatmaps.spread(explainer, model, training, parcels=parcels)
            if against is not None and examined is not None:
                told[name] |= examined.of_people(explainer, against)
        if against is not None:
            for kind, null in checking.nulls(explainer, against, held_out, true, x, parcels):
                np.save(folder / f"null-{kind}-{name}.npy", null)
    (folder / "heatmaps.json").write_text(json.dumps(told, indent=2, sort_keys=True) + "\n", encoding="utf-8")
