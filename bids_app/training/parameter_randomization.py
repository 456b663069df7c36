"""Whether a heatmap depends on the learnt parameters: cascading randomisation, from the head downwards.

Adebayo et al. 2018, NeurIPS, doi:10.48550/arXiv.1810.03292. Here each parameter tensor is shuffled, which preserves its
distribution; there it is redrawn.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bids_app.regions.stability import rank_correlation
from bids_app.training import heatmaps
from bids_app.training.feature_pipeline import Samples
from bids_app.training.models import Model


def randomize_cascade(
    explainer: heatmaps.Explainer,
    model: Model,
    samples: Samples,
    targets: NDArray[np.integer],
    *,
    seed: int,
    parcels: heatmaps.Parcels = None,
) -> list[dict[str, Any]]:
    """Correlate the maps with those after successively more layers are shuffled, from the head down; a row per stage.

    `layer`: the layer shuffled last; `spearman` and `spearman_abs` as in `mean_map_correlation`, of class `targets`
    (samples,).
    """
    random = torch.Generator().manual_seed(seed)
    true = explain_targets(explainer, model, samples, targets, parcels)
    changed = replace(model, module=copy.deepcopy(model.module))
    layers = [
        (name, module) for name, module in changed.module.named_modules() if list(module.parameters(recurse=False))
    ]
    rows = []
    for name, layer in reversed(layers):
        with torch.no_grad():
            for parameter in layer.parameters(recurse=False):
                order = torch.randperm(parameter.numel(), generator=random).to(parameter.device)
                parameter.copy_(parameter.flatten()[order].reshape(parameter.shape))
        rows.append(
            {
                "layer": name,
                **mean_map_correlation(true, explain_targets(explainer, changed, samples, targets, parcels)),
            }
        )
    return rows


def explain_targets(
    explainer: heatmaps.Explainer,
    model: Model,
    samples: Samples,
    targets: NDArray[np.integer],
    parcels: heatmaps.Parcels = None,
) -> list[NDArray[np.float32]]:
    """Return the map (voxels,) of each sample for its class `targets` (samples,)."""
    return [
        heatmaps.explain(explainer, model, model.tensor(samples, row), target, parcels)
        for row, target in enumerate(targets.tolist())
    ]


def mean_map_correlation(
    heatmaps: Sequence[NDArray[np.float32]], other_heatmaps: Sequence[NDArray[np.float32]]
) -> dict[str, float]:
    """Return the mean rank correlation over voxels of two models' maps of the same samples, `spearman`, and of their
    absolute values, `spearman_abs`. Constant maps count as 0.
    """
    pairs = list(zip(heatmaps, other_heatmaps, strict=True))
    return {
        "spearman": float(np.mean([rank_correlation(first, second) for first, second in pairs])),
        "spearman_abs": float(np.mean([rank_correlation(np.abs(first), np.abs(second)) for first, second in pairs])),
    }
