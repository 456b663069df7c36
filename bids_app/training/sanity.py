"""Whether a heatmap depends on what a classifier has learnt: its parameters are made random, from the head downwards.

Adebayo et al. 2018, NeurIPS, doi:10.48550/arXiv.1810.03292, cascading randomisation. A parameter tensor is shuffled, so
that its values stay as large as training made them; there they are drawn anew.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from bids_app.training import heatmaps
from bids_app.training.models import Model
from bids_app.training.prepare import People


def cascade(
    explainer: heatmaps.Explainer,
    model: Model,
    people: People,
    targets: NDArray[np.integer],
    *,
    seed: int,
    parcels: heatmaps.Parcels = None,
) -> list[dict[str, Any]]:
    """Rank correlation of the maps with those of ever more shuffled layers, a row a stage, the head first.

    `layer`: what was shuffled last; `spearman` and `spearman_abs` as `alike` has them, of class `targets` (people,).
    """
    random = torch.Generator().manual_seed(seed)
    true = maps(explainer, model, people, targets, parcels)
    changed = replace(model, module=copy.deepcopy(model.module))
    layers = [(name, one) for name, one in changed.module.named_modules() if list(one.parameters(recurse=False))]
    rows = []
    for name, layer in reversed(layers):
        with torch.no_grad():
            for parameter in layer.parameters(recurse=False):
                order = torch.randperm(parameter.numel(), generator=random).to(parameter.device)
                parameter.copy_(parameter.flatten()[order].reshape(parameter.shape))
        rows.append({"layer": name, **alike(true, maps(explainer, changed, people, targets, parcels))})
    return rows


def maps(
    explainer: heatmaps.Explainer,
    model: Model,
    people: People,
    targets: NDArray[np.integer],
    parcels: heatmaps.Parcels = None,
) -> list[NDArray[np.float32]]:
    """Each person's map (voxels,) of class `targets` (people,)."""
    return [
        heatmaps.one(explainer, model, model.tensor(people, row), target, parcels)
        for row, target in enumerate(targets.tolist())
    ]


def alike(some: Sequence[NDArray[np.float32]], others: Sequence[NDArray[np.float32]]) -> dict[str, float]:
    """Mean rank correlation over voxels of two models' maps of the same people, `spearman`, and of their absolute
    values, `spearman_abs`. A map without any spread counts as 0.
    """
    pairs = list(zip(some, others, strict=True))
    return {
        "spearman": float(np.mean([spearman(one, other) for one, other in pairs])),
        "spearman_abs": float(np.mean([spearman(np.abs(one), np.abs(other)) for one, other in pairs])),
    }


def spearman(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Rank correlation, 0 where one has no spread."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(spearmanr(one, other).statistic)
