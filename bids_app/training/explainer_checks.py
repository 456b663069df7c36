"""The measures that --explainer-checks computes for each method in one fold.

Maps are compared with those of models that learnt nothing, and of a retrained model: the tests of Adebayo et al. 2018,
NeurIPS, doi:10.48550/arXiv.1810.03292, and of Arun et al. 2021, Radiology: Artificial Intelligence 3:e200267.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_app.training import heatmaps, models
from bids_app.training.faithfulness import make_occluded_samples, measure_faithfulness
from bids_app.training.feature_pipeline import Samples
from bids_app.training.models import Model
from bids_app.training.parameter_randomization import explain_targets, mean_map_correlation, randomize_cascade

MAX_SAMPLES = 4  # samples whose maps are examined individually, at least one per class
NULL_MODELS = ("untrained", "labels_shuffled")
Fit = Callable[[NDArray[np.int64], int], Model]


def train_comparison_models(model: Model, y: NDArray[np.int64], groups: Sequence[str], fit: Fit) -> dict[str, Model]:
    """Return models of the same samples to compare `model` with: trained on shuffled labels and, where initialisation
    is random, untrained and trained from another seed.

    y: class codes of the training samples (samples,); groups: of each; fit: trains the classifier on codes with a seed.
    """
    comparison = {"labels_shuffled": fit(shuffle_labels(y, groups, model.seed), model.seed)}
    if hasattr(model.module, "fit"):
        return comparison
    start = models.build(model.classifier, model.pipeline, len(model.classes), seed=model.seed + 1)
    comparison["untrained"] = replace(model, module=start.to(model.device).eval())
    return comparison | {"other_seed": fit(y, model.seed + 1)}


def shuffle_labels(y: NDArray[np.int64], groups: Sequence[str], seed: int) -> NDArray[np.int64]:
    """Shuffle class codes among groups, so that sessions of a participant keep one code; among rows where groups have
    several codes.
    """
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    random = np.random.default_rng(seed)
    first = np.array([y[group == index][0] for index in range(len(names))])
    return np.asarray(random.permutation(first)[group] if (first[group] == y).all() else random.permutation(y))


class HeldOutChecks:
    """Checks of explainers on a few held-out samples of every class."""

    def __init__(self, model: Model, held_out: Samples, true: NDArray[np.integer], parcels: heatmaps.Parcels) -> None:
        each = max(MAX_SAMPLES // len(model.classes), 1)
        rows = sorted(
            row for label in range(len(model.classes)) for row in np.flatnonzero(true == label)[:each].tolist()
        )
        self.model, self.people, self.parcels = model, held_out.select(rows), parcels
        self.called = model.predict(self.people).argmax(axis=1)
        self.persons = make_occluded_samples(model, self.people, self.called, parcels)

    def of_people(self, explainer: heatmaps.Explainer, against: Mapping[str, Model]) -> dict[str, Any]:
        """Return `measured` and the `cascade` of a method that explains samples, for the predicted class.

        measured: the rank correlation of absolute values of the maps with those after shuffling the head, all
        parameters, or the labels, and from another seed; and the measures of `measure_faithfulness`.
        """
        samples_and_targets = (self.people, self.called)
        cascade = randomize_cascade(
            explainer, self.model, *samples_and_targets, seed=self.model.seed, parcels=self.parcels
        )
        measured = {"head_shuffled": cascade[0]["spearman_abs"], "parameters_shuffled": cascade[-1]["spearman_abs"]}
        true = explain_targets(explainer, self.model, *samples_and_targets, self.parcels)
        for kind, other in against.items():
            if kind != "untrained":
                other_maps = explain_targets(explainer, other, *samples_and_targets, self.parcels)
                measured[kind] = mean_map_correlation(true, other_maps)["spearman_abs"]
        return {"cascade": cascade, "measured": measured | measure_faithfulness(explainer, self.persons, self.parcels)}


def check_model_explainer(
    explainer: heatmaps.Explainer, model: Model, training: NDArray[np.float32], against: Mapping[str, Model]
) -> dict[str, Any]:
    """Return `measured` of a method that describes models, from the training features: means over classes."""
    heatmaps_of_model = heatmaps.describe(explainer, model, training)
    return {
        "measured": {
            kind: mean_map_correlation(list(heatmaps_of_model), list(heatmaps.describe(explainer, other, training)))[
                "spearman_abs"
            ]
            for kind, other in against.items()
            if kind != "untrained"
        }
    }


def compute_null_maps(
    explainer: heatmaps.Explainer,
    against: Mapping[str, Model],
    held_out: Samples,
    true: NDArray[np.integer],
    training: NDArray[np.float32],
    parcels: heatmaps.Parcels,
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield the kind of each model that learnt nothing, and a method's maps of it (classes, voxels).

    Methods that explain samples: the mean over the held-out samples of each class, with codes `true`, of the map of
    that class; zero for a class without samples.
    """
    for kind in NULL_MODELS:
        if kind in against and explainer.SCOPE == "model":
            yield kind, heatmaps.describe(explainer, against[kind], training)
        elif kind in against:
            other = against[kind]
            means = np.zeros((len(other.classes), other.pipeline.grid.voxels), np.float32)
            for row, target in enumerate(true.tolist()):
                x = other.tensor(held_out, row)
                means[target] += heatmaps.explain(explainer, other, x, target, parcels) / np.sum(true == target)
            yield kind, means
