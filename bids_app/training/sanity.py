"""Whether a heatmap depends on what a classifier has learnt: its parameters are made random, from the head downwards.

Adebayo et al. 2018, NeurIPS, doi:10.48550/arXiv.1810.03292, cascading randomisation. A parameter tensor is shuffled, so
that its values stay as large as training made them; there they are drawn anew.
"""

import copy
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from bids_app.training import heatmaps
from bids_app.training.models import Model
from bids_app.training.prepare import People

MOST = 4  # people whose maps are made again at every stage


def cascade(
    explainer: ModuleType, model: Model, people: People, *, seed: int, parcels: heatmaps.Parcels = None
) -> list[dict[str, Any]]:
    """Rank correlation of the maps with those of ever more shuffled layers, a row a stage, the head first.

    `layer`: what was shuffled last; `spearman`, and `spearman_abs` of absolute values: means over the first people, of
    the class that the true model calls, over voxels of the mask. A map without any spread counts as 0.
    """
    some = people.rows(slice(0, MOST))
    called = model.predict(some).argmax(axis=1)
    true = _maps(explainer, model, some, called, parcels)
    random = torch.Generator().manual_seed(seed)
    module = copy.deepcopy(model.module)
    changed = Model(**{**vars(model), "module": module})
    layers = [(name, one) for name, one in module.named_modules() if list(one.parameters(recurse=False))]
    rows = []
    for name, layer in reversed(layers):
        with torch.no_grad():
            for parameter in layer.parameters(recurse=False):
                order = torch.randperm(parameter.numel(), generator=random).to(parameter.device)
                parameter.copy_(parameter.flatten()[order].reshape(parameter.shape))
        found = _maps(explainer, changed, some, called, parcels)
        alike = [_spearman(a, b) for a, b in zip(true, found, strict=True)]
        alike_abs = [_spearman(np.abs(a), np.abs(b)) for a, b in zip(true, found, strict=True)]
        rows.append({"layer": name, "spearman": float(np.mean(alike)), "spearman_abs": float(np.mean(alike_abs))})
    return rows


def _maps(
    explainer: ModuleType, model: Model, people: People, called: NDArray[np.integer], parcels: heatmaps.Parcels
) -> list[NDArray[np.float32]]:
    each = heatmaps.each(explainer, model, people, parcels)
    return [maps[target] for maps, target in zip(each, called, strict=True)]


def _spearman(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(spearmanr(one, other).statistic)
