"""Heatmaps of held-out samples and of models, as values in the mask."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bids_app import catalogue
from bids_app.explainers._activations import feature_grid
from bids_app.training.feature_pipeline import Samples
from bids_app.training.models import Model

Parcels = NDArray[np.integer] | None
Explainer = ModuleType | SimpleNamespace
MAX_SPREAD_SAMPLES = 24


def select_explainers(
    names: Sequence[str] | Mapping[str, Mapping[str, Any]], module: torch.nn.Module
) -> tuple[dict[str, Explainer], dict[str, str]]:
    """Return the explainers that apply to a classifier, with their options, and why the others do not apply."""
    applicable: dict[str, Explainer] = {}
    refused: dict[str, str] = {}
    for name in names:
        explainer = catalogue.load("explainers", name)
        reason = explainer.check(module)
        if reason:
            refused[name] = reason
        else:
            options = {**getattr(explainer, "OPTIONS", {}), **(names[name] if isinstance(names, Mapping) else {})}
            applicable[name] = SimpleNamespace(**vars(explainer) | {"options": options}) if options else explainer
    return applicable, refused


def explain(
    explainer: Explainer, model: Model, x: torch.Tensor, target: int, parcels: Parcels = None
) -> NDArray[np.float32]:
    """Return the map (voxels in the mask,) of class `target` for one sample's features x, never scaled per sample.

    parcels (voxels in the mask,): regions, for explainers that need them.
    """
    box = model.pipeline.grid.seen
    arguments: dict[str, Any] = {"mask": box.mask, **getattr(explainer, "options", {})}
    if "parcels" in inspect.signature(explainer.explain).parameters:
        arguments["parcels"] = box.volume(np.zeros(box.voxels, np.int32) if parcels is None else parcels)
    heatmap = explainer.explain(model.module, x, target, **arguments)
    return np.asarray(heatmap[box.mask] if heatmap.ndim == box.mask.ndim else heatmap, np.float32)


def explain_each(
    explainer: Explainer, model: Model, samples: Samples, parcels: Parcels = None
) -> Iterator[NDArray[np.float32]]:
    """Yield each sample's heatmaps (classes, voxels in the mask), one per explained class."""
    for row in range(len(samples)):
        x = model.tensor(samples, row)
        yield np.stack([explain(explainer, model, x, target, parcels) for target in range(len(model.classes))])


def write_heatmaps(
    explainer: Explainer, model: Model, samples: Samples, *, path: Path, parcels: Parcels = None
) -> list[list[dict[str, float]]]:
    """Write float32 (samples, classes, voxels) as .npy, one by one; return the checks by sample and class."""
    shape = (len(samples), len(model.classes), model.pipeline.grid.voxels)
    table = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    checks = []
    for row, heatmap in enumerate(explain_each(explainer, model, samples, parcels)):
        table[row] = heatmap
        x = model.tensor(samples, row)
        checks.append([_check_heatmap(explainer, model, x, target, values) for target, values in enumerate(heatmap)])
    table.flush()
    return checks


def _check_heatmap(
    explainer: Explainer, model: Model, x: torch.Tensor, target: int, values: NDArray[np.float32]
) -> dict[str, float]:
    """Return the checks that apply to every map (1: passed), and those of the explainer itself."""
    explainer_checks = explainer.checks(model.module, x, target, values) if hasattr(explainer, "checks") else {}
    return {"finite": float(np.isfinite(values).all()), "not_all_zero": float(values.any()), **explainer_checks}


def heatmap_sd(explainer: Explainer, model: Model, samples: Samples, *, parcels: Parcels = None) -> float:
    """Return the SD of a method's values over samples, classes and voxels, by which a model's maps are divided.

    Computed from training samples, it makes the models of several folds comparable without using held-out samples. At
    most MAX_SPREAD_SAMPLES evenly spaced samples are used, which suffice for a single number.
    """
    count, total, squares = 0, 0.0, 0.0
    rows = np.unique(
        np.linspace(0, len(samples) - 1, min(len(samples), MAX_SPREAD_SAMPLES)).round().astype(int)
    ).tolist()
    for heatmap in explain_each(explainer, model, samples.select(rows), parcels):
        count += heatmap.size
        total += float(heatmap.sum(dtype=np.float64))
        squares += float(np.square(heatmap, dtype=np.float64).sum())
    return float(np.sqrt(max(squares / count - (total / count) ** 2, 0.0)))


def describe(explainer: Explainer, model: Model, x_train: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a model's own map (classes, voxels), summed over channels, from the training features."""
    channels = explainer.describe(model.module, x_train)
    summed: NDArray[np.float32] = channels.reshape(len(channels), len(model.pipeline.maps), -1).sum(axis=1)
    return summed


def unit_mm(explainer: Explainer, model: Model) -> float | None:
    """Return the longest edge of a method's units in mm, or None where its units are voxels."""
    if not getattr(explainer, "COARSE", False):
        return None
    box = model.pipeline.grid.seen
    return float(max(np.multiply(feature_grid(model.module, box.mask.shape).step, box.voxel_mm)))
