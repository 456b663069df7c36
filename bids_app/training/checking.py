"""What --explain-checks measures of each method in one fold, beside the maps themselves.

Each is compared with models that learnt nothing, or the same anew: the tests of Adebayo et al. 2018, NeurIPS,
doi:10.48550/arXiv.1810.03292, and of Arun et al. 2021, Radiology: Artificial Intelligence 3:e200267.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_app.training import faithful, heatmaps, models, sanity
from bids_app.training.models import Model
from bids_app.training.prepare import People

MOST = 4  # people whose maps are looked at one by one
NULLS = ("untrained", "labels_shuffled")
Fit = Callable[[NDArray[np.int64], int], Model]


def others(model: Model, y: NDArray[np.int64], fit: Fit) -> dict[str, Model]:
    """Models of the same people that are to be told from `model`: of shuffled labels, and where it has a random start,
    untrained and from another start.

    y: the training people's codes (people,); fit: trains the classifier on such codes from a seed.
    """
    shuffled = fit(np.random.default_rng(model.seed).permutation(y), model.seed)
    if hasattr(model.module, "fit"):
        return {"labels_shuffled": shuffled}
    start = models.build(model.classifier, model.preparation, len(model.classes), seed=model.seed + 1)
    untrained = replace(model, module=start.to(model.device))
    return {"labels_shuffled": shuffled, "untrained": untrained, "other_seed": fit(y, model.seed + 1)}


def of_people(
    explainer: ModuleType, model: Model, held_out: People, against: Mapping[str, Model], parcels: heatmaps.Parcels
) -> dict[str, Any]:
    """`measured` and the `cascade` of a method that explains people.

    measured: the rank correlation of absolute values of the true maps and those with all parameters shuffled, with
    shuffled labels, and from another start; and what `faithful.measure` measures; all of the class that is called.
    """
    some = held_out.rows(slice(0, MOST))
    called = model.predict(some).argmax(axis=1)
    cascade = sanity.cascade(explainer, model, some, called, seed=model.seed, parcels=parcels)
    measured = {"parameters_shuffled": cascade[-1]["spearman_abs"]}
    for kind, other in against.items():
        if kind != "untrained":
            measured[kind] = sanity.alike(explainer, model, other, some, called, parcels)["spearman_abs"]
    return {"cascade": cascade, "measured": measured | faithful.measure(explainer, model, some, called, parcels)}


def of_models(
    explainer: ModuleType, model: Model, training: NDArray[np.float32], against: Mapping[str, Model]
) -> dict[str, Any]:
    """`measured` of a method that describes models, from the prepared training people; of the last class."""
    own = heatmaps.describe(explainer, model, training)[-1]
    found = {
        kind: sanity.spearman(np.abs(own), np.abs(heatmaps.describe(explainer, other, training)[-1]))
        for kind, other in against.items()
        if kind != "untrained"
    }
    return {"measured": found}


def nulls(
    explainer: ModuleType,
    against: Mapping[str, Model],
    held_out: People,
    true: NDArray[np.integer],
    training: NDArray[np.float32],
    parcels: heatmaps.Parcels,
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """What a method shows of models that learnt nothing: their kind, and maps (classes, voxels).

    Of people: the mean over the held-out people of each class, whose codes are `true`, that class explained; zero where
    nobody is of it.
    """
    for kind in NULLS:
        if kind in against and explainer.OF == "model":
            yield kind, heatmaps.describe(explainer, against[kind], training)
        elif kind in against:
            other = against[kind]
            found = np.zeros((len(other.classes), other.preparation.grid.voxels), np.float32)
            for row, target in enumerate(true.tolist()):
                x = other.tensor(held_out, row)
                found[target] += heatmaps.one(explainer, other, x, target, parcels) / np.sum(true == target)
            yield kind, found
