"""Heatmaps of held-out people and of models, as values in the mask."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bids_app import catalogue
from bids_app.explainers._features import placed
from bids_app.training.feature_pipeline import Samples
from bids_app.training.models import Model

Parcels = NDArray[np.integer] | None
Explainer = ModuleType | SimpleNamespace
MAX_SPREAD_SAMPLES = 24


def select_explainers(
    names: Sequence[str] | Mapping[str, Mapping[str, Any]], module: torch.nn.Module
) -> tuple[dict[str, Explainer], dict[str, str]]:
    """The explainers that apply to a classifier, with their options where some are given; of the others why not."""
    chosen: dict[str, Explainer] = {}
    refused: dict[str, str] = {}
    for name in names:
        explainer = catalogue.load("explainers", name)
        why = explainer.check(module)
        if why:
            refused[name] = why
        else:
            options = {**getattr(explainer, "OPTIONS", {}), **(names[name] if isinstance(names, Mapping) else {})}
            chosen[name] = SimpleNamespace(**vars(explainer) | {"options": options}) if options else explainer
    return chosen, refused


def explain(
    explainer: Explainer, model: Model, x: torch.Tensor, target: int, parcels: Parcels = None
) -> NDArray[np.float32]:
    """The map (voxels in the mask,) of class `target` for a prepared x; never scaled per person.

    parcels (voxels in the mask,): regions, for explainers that ask for them.
    """
    box = model.preparation.grid.seen
    given: dict[str, Any] = {"mask": box.mask, **getattr(explainer, "options", {})}
    if "parcels" in inspect.signature(explainer.explain).parameters:
        given["parcels"] = box.volume(np.zeros(box.voxels, np.int32) if parcels is None else parcels)
    found = explainer.explain(model.module, x, target, **given)
    return np.asarray(found[box.mask] if found.ndim == box.mask.ndim else found, np.float32)


def explain_each(
    explainer: Explainer, model: Model, people: Samples, parcels: Parcels = None
) -> Iterator[NDArray[np.float32]]:
    """Each person's heatmaps (classes, voxels in the mask), one for every class explained."""
    for person in range(len(people)):
        x = model.tensor(people, person)
        yield np.stack([explain(explainer, model, x, target, parcels) for target in range(len(model.classes))])


def write_heatmaps(
    explainer: Explainer, model: Model, people: Samples, *, path: Path, parcels: Parcels = None
) -> list[list[dict[str, float]]]:
    """Write float32 (people, classes, voxels) as .npy, a person at a time; returns the checks by person and class."""
    shape = (len(people), len(model.classes), model.preparation.grid.voxels)
    table = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    told = []
    for row, heatmap in enumerate(explain_each(explainer, model, people, parcels)):
        table[row] = heatmap
        x = model.tensor(people, row)
        told.append([_check_heatmap(explainer, model, x, target, values) for target, values in enumerate(heatmap)])
    table.flush()
    return told


def _check_heatmap(
    explainer: Explainer, model: Model, x: torch.Tensor, target: int, values: NDArray[np.float32]
) -> dict[str, float]:
    """What every map has to be, 1 where it is so, and what the explainer measures of its own."""
    own = explainer.checks(model.module, x, target, values) if hasattr(explainer, "checks") else {}
    return {"finite": float(np.isfinite(values).all()), "not_all_zero": float(values.any()), **own}


def heatmap_sd(explainer: Explainer, model: Model, people: Samples, *, parcels: Parcels = None) -> float:
    """The SD of a method's values over people, classes and voxels: the number by which a model's maps are divided.

    Given the training people, it makes the models of several folds comparable without looking at anybody held out. Of
    more than ENOUGH people every so manieth is looked at: it is one number of a hundred thousand voxels each.
    """
    count, total, squares = 0, 0.0, 0.0
    rows = np.unique(np.linspace(0, len(people) - 1, min(len(people), MAX_SPREAD_SAMPLES)).round().astype(int)).tolist()
    for heatmap in explain_each(explainer, model, people.rows(rows), parcels):
        count += heatmap.size
        total += float(heatmap.sum(dtype=np.float64))
        squares += float(np.square(heatmap, dtype=np.float64).sum())
    return float(np.sqrt(max(squares / count - (total / count) ** 2, 0.0)))


def describe(explainer: Explainer, model: Model, x_train: NDArray[np.float32]) -> NDArray[np.float32]:
    """A model's own map (classes, voxels), summed over channels, from prepared training vectors."""
    channels = explainer.describe(model.module, x_train)
    summed: NDArray[np.float32] = channels.reshape(len(channels), len(model.preparation.maps), -1).sum(axis=1)
    return summed


def cell_mm(explainer: Explainer, model: Model) -> float | None:
    """The longest edge of a method's own cells, where it has cells that are larger than voxels."""
    if not getattr(explainer, "CELLS", False):
        return None
    box = model.preparation.grid.seen
    return float(max(np.multiply(placed(model.module, box.mask.shape).step, box.voxel_mm)))
