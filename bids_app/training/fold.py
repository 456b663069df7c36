"""One fold of a cell: fit on the training samples, predict and explain the held-out ones, and save the model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from bids_app import catalogue
from bids_app.dataset.folds import Split
from bids_app.dataset.grid import Grid
from bids_app.errors import DataError
from bids_app.training import checkpoint, loop, models, seeds, tables
from bids_app.training.device import resolve_device
from bids_app.training.explainer_checks import train_comparison_models
from bids_app.training.explanations import write_explanations
from bids_app.training.feature_pipeline import FeaturePipeline, Samples, fit_pipeline
from bids_app.training.fold_files import FoldFiles
from bids_app.training.training_config import config_from_module, select_model_options
from bids_app.training.volume_reader import VolumeReader


def train_fold(
    *,
    cell: str,
    classifier: str,
    maps: tuple[str, ...],
    arrays: Mapping[str, Path],
    grid_file: Path,
    people: Path,
    classes: tuple[str, ...],
    split: Split,
    explainers: Sequence[str] | Mapping[str, Mapping[str, Any]] = (),
    parcels: Path | None = None,
    explain_checks: bool = False,
    adjust: Mapping[str, tuple[str, ...]],
    keep: tuple[str, ...] | None = None,
    seed: int,
    device: str = "auto",
    threads: int = 1,
    options: Mapping[str, Any] | None = None,
    labelling: Sequence[int] | None = None,
    weights: Path | None = None,
    folder: Path,
    settings: Mapping[str, Any],
) -> None:
    """Write predictions, losses, distances.npy, model/ and explanations into `folder`.

    With a `labelling`, class codes (samples,) that replace the table's, only predictions are written. arrays: map ->
    float32 (samples, voxels) in the row order of `people`, a table of participant_id, session_id, class and the
    covariates in `adjust` (by map) and in `keep`, which ComBat preserves (None: no ComBat; otherwise the table has
    `site_number`). options: override those of the classifier and its training (`TRAINING_KEYS`). weights: a folder of
    pretrained weights. parcels: .npy of regions (X, Y, Z). Raises DataError when table and arrays disagree.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = _read_table(people, classes, labelling)
    with loop.torch_threads(threads):
        everyone = tables.load_samples(table, {name: arrays[name] for name in maps}, adjust, keep)
        training, held_out = everyone.select(split.train), everyone.select(split.test)
        pipeline = fit_pipeline(training, maps=maps, columns=adjust, grid=Grid.read(grid_file), keep=keep)
        groups = [split.groups[row] for row in split.train]

        def train_on(codes: NDArray[np.int64], model_seed: int) -> tuple[models.Model, dict[str, list[float]]]:
            built: dict[str, Any] = {"seed": model_seed, "options": select_model_options(options)}
            module, where = _build_module(classifier, pipeline, len(classes), device, weights, **built)
            fields = {**built, "repeat": split.repeat, "fold": split.fold, "settings": settings, "device": where}
            untrained = models.Model(cell, classifier, classes, pipeline, module, **fields)
            return untrained, _fit(untrained, training, codes, groups=groups, options=options, folder=folder)

        y = np.array([classes.index(name) for name in table["class"].iloc[list(split.train)]])
        model, losses = train_on(y, seeds.derive(seed, cell, split.repeat, split.fold))
        predictions = _write_predictions(model, table.iloc[list(split.test)], split, model.predict(held_out), folder)
        if labelling is None:
            _save_outputs(model, losses, held_out, folder)
            against = None
            if explain_checks:
                against = train_comparison_models(model, y, groups, lambda *arguments: train_on(*arguments)[0])
            held = (held_out, np.array([classes.index(name) for name in predictions["true"]]))
            regions = _load_parcels(parcels, pipeline)
            write_explanations(model, explainers, (training, y), held, folder, regions, against)
            _save_gram_matrices(model, training, held_out, folder)
    checkpoint.clear(folder)


def _build_module(
    classifier: str, pipeline: FeaturePipeline, classes: int, device: str, weights: Path | None, **build_arguments: Any
) -> tuple[torch.nn.Module, str]:
    """Build the untrained module, with pretrained weights if given; return it and its device."""
    module = models.build(classifier, pipeline, classes, **build_arguments)
    if weights is not None:
        catalogue.load("classifiers", classifier).load_weights(module, weights)
    return module, "cpu" if hasattr(module, "fit") else resolve_device(device)  # classifiers with a `fit` use numpy


def _load_parcels(parcels: Path | None, pipeline: FeaturePipeline) -> NDArray[np.integer] | None:
    return None if parcels is None else pipeline.grid.vector(np.load(parcels))


def _fit(
    model: models.Model,
    training: Samples,
    y: NDArray[np.int64],
    *,
    groups: list[str],
    options: Mapping[str, Any] | None,
    folder: Path,
) -> dict[str, list[float]]:
    """Train a network as its file declares, or call a classifier's own `fit` (without losses); return the losses."""
    x, pipeline = model.pipeline.transform(training), model.pipeline
    if hasattr(model.module, "fit"):
        fit: Any = model.module.fit
        fit(x, y, seed=model.seed, groups=groups, voxel_grid=models.places(pipeline.grid))
        return {"loss": []}
    config = config_from_module(catalogue.load("classifiers", model.classifier), options)
    start = [tensor.numpy() for tensor in model.module.state_dict().values()]
    context = {"classifier": model.classifier, "seed": model.seed, "device": model.device, "groups": groups}
    return loop.train(
        model.module,
        VolumeReader(pipeline, x, most=config.micro_batch_size),
        y,
        config,
        seed=model.seed,
        device=model.device,
        groups=groups,
        checkpoint=checkpoint.make_checkpoint(
            folder, config, [pipeline.grid.mask, x, y, *start], threads=torch.get_num_threads(), **context
        ),
    )


def _save_outputs(
    model: models.Model,
    losses: dict[str, list[float]],
    held_out: Samples,
    folder: Path,
) -> None:
    course = pd.DataFrame({"epoch": range(1, len(losses["loss"]) + 1), **losses})
    course.to_csv(FoldFiles(folder).losses, sep="\t", index=False)
    models.save(model, FoldFiles(folder).model)
    np.save(FoldFiles(folder).distances, model.pipeline.distances(held_out))


def _save_gram_matrices(model: models.Model, training: Samples, held_out: Samples, folder: Path) -> None:
    """Save the Gram matrices of the first repeat, with which permutations and site prediction need no retraining.

    `gram_matrix.npz`, for classifiers that decide by Gram matrices; with ComBat also those without it,
    `gram_matrix_of_sites.npz`.
    """
    part = catalogue.load("classifiers", model.classifier)
    if model.repeat > 1 or not hasattr(part, "decision_function"):
        return
    fitted = model.pipeline
    pipelines = {"gram_matrix": fitted}
    if fitted.keep is not None:
        pipelines["gram_matrix_of_sites"] = fit_pipeline(
            training, maps=fitted.maps, columns=fitted.columns, grid=fitted.grid
        )
    for name, pipeline in pipelines.items():
        both = (pipeline.transform(training), pipeline.transform(held_out))
        np.savez(
            FoldFiles(folder).gram_matrix(name), **part.gram_matrix(*both, voxel_grid=models.places(pipeline.grid))
        )


def _read_table(people: Path, classes: tuple[str, ...], labelling: Sequence[int] | None) -> pd.DataFrame:
    """Read the table of samples, with the classes of a labelling if there is one."""
    table = tables.read_table(people)
    if labelling is not None:
        return table.assign(**{"class": [classes[code] for code in labelling]})
    if unknown := sorted(set(table["class"].astype(str)) - set(classes)):
        raise DataError(f"participants have the class {', '.join(unknown)}, which is not among {', '.join(classes)}")
    return table


def _write_predictions(
    model: models.Model, table: pd.DataFrame, split: Split, probability: NDArray[np.float64], folder: Path
) -> pd.DataFrame:
    """Write predictions.tsv of the held-out samples and return the table."""
    session = table["session_id"] if "session_id" in table else pd.Series("n/a", table.index)
    columns = {
        "participant_id": table["participant_id"].to_numpy(),
        "session_id": session.fillna("n/a").to_numpy(),
        "cell": model.cell,
        "repeat": split.repeat,
        "fold": split.fold,
        "true": table["class"].to_numpy(),
        "predicted": [model.classes[index] for index in probability.argmax(axis=1)],
    }
    columns |= {f"probability_{name}": probability[:, index] for index, name in enumerate(model.classes)}
    predictions = pd.DataFrame(columns)
    predictions.to_csv(FoldFiles(folder).predictions, sep="\t", index=False)
    return predictions
