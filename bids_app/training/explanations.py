"""Explanations of a fold's model: heatmaps of held-out samples and of the model, their checks, and region z scores."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_app.training import heatmaps
from bids_app.training.explainer_checks import HeldOutChecks, check_model_explainer, compute_null_maps
from bids_app.training.feature_pipeline import Samples
from bids_app.training.fold_files import FoldFiles
from bids_app.training.models import Model
from bids_app.training.region_zscores import compute_region_zscores

LabelledSamples = tuple[Samples, NDArray[np.int64]]


def write_explanations(
    model: Model,
    names: Sequence[str] | Mapping[str, Mapping[str, Any]],
    trained: LabelledSamples,
    held: LabelledSamples,
    folder: Path,
    parcels: heatmaps.Parcels,
    against: Mapping[str, Model] | None,
) -> None:
    """Write the maps of every applicable explainer, heatmaps.json, and regions.npz where there are parcels.

    trained, held: samples and their class codes; parcels: regions (voxels,); against: models to compare with.
    heatmap_<method>.npy: (held-out samples, classes, voxels in the mask); model_<method>.npy and, from `against`,
    null-<kind>-<method>.npy: (classes, voxels). heatmaps.json has for each method `person_sd` and `model_sd`, by which
    its maps are divided before folds are averaged, `checks` by sample and class, `measured` and `cascade`
    (`explainer_checks`), or why it was `refused`. regions.npz: `compute_region_zscores`, against the first class.
    """
    (training, y), (held_out, true) = trained, held
    if parcels is not None:
        index, z, controls = compute_region_zscores(model.pipeline, training, held_out, y == 0, parcels)
        np.savez(FoldFiles(folder).region_zscores, index=index, z=z, controls=controls)
    applicable, refused = heatmaps.select_explainers(names, model.module)
    metadata: dict[str, dict[str, Any]] = {name: {"refused": why} for name, why in refused.items()}
    x = model.pipeline.transform(training)
    held_out_checks = None if against is None else HeldOutChecks(model, held_out, true, parcels)
    for name, explainer in applicable.items():
        metadata[name] = {"sign": explainer.SIGN, "unit": explainer.UNIT, "scope": explainer.SCOPE}
        metadata[name]["options"] = getattr(explainer, "options", {})
        if explainer.SCOPE in ("model", "both"):
            described = heatmaps.describe(explainer, model, x)
            np.save(FoldFiles(folder).model_heatmap(name), described)
            metadata[name]["model_sd"] = float(described.std(dtype=np.float64))
            if against is not None and explainer.SCOPE == "model":
                metadata[name] |= check_model_explainer(explainer, model, x, against)
        if explainer.SCOPE in ("sample", "both"):
            file = FoldFiles(folder).heatmap(name)
            metadata[name]["unit_mm"] = heatmaps.unit_mm(explainer, model)
            metadata[name]["checks"] = heatmaps.write_heatmaps(explainer, model, held_out, path=file, parcels=parcels)
            metadata[name]["person_sd"] = heatmaps.heatmap_sd(explainer, model, training, parcels=parcels)
            if against is not None and held_out_checks is not None:
                metadata[name] |= held_out_checks.of_people(explainer, against)
        if against is not None:
            for kind, null in compute_null_maps(explainer, against, held_out, true, x, parcels):
                np.save(folder / f"null-{kind}-{name}.npy", null)
    text = json.dumps(metadata, indent=2, sort_keys=True) + "\n"
    FoldFiles(folder).heatmaps.write_text(text, encoding="utf-8")
