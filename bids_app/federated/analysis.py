"""The coordinator's analysis of one classifier on one map: folds, scores, permutations, final model and heatmaps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_app.federated import evaluation, heatmaps
from bids_app.federated.linear import (
    GroupModels,
    Groups,
    LinearModel,
    check_classifier,
    fit_centre,
    fit_groups,
    fit_logistic,
    to_voxels,
)
from bids_app.federated.pipeline import MapQuestions, Steps, fit_steps
from bids_app.federated.protocol import Arrays, Floats, Transport, sum_answers


@dataclass(frozen=True, eq=False)
class FederatedResult:
    """A classifier on a map: scores, the final model with its steps and slope, heatmaps (2, voxels), region test.

    `null`: balanced accuracy (labellings,) under permuted labels, empty where none were asked for.
    """

    scores: dict[str, Any]
    null: Floats
    model: LinearModel
    slope: float
    steps: Arrays
    heatmaps: dict[str, NDArray[np.float32]]
    regions: evaluation.RegionTest | None


def analyse(
    transport: Transport,
    map_name: str,
    classifier: str,
    *,
    steps: Steps,
    groups: Groups,
    folds: Sequence[int],
    permutations: int = 0,
) -> FederatedResult:
    """Cross-validate a classifier over all sites, fit it to all participants, and describe it.

    groups: the cube and region of each voxel; permutations: the number of labellings that sites draw (only classifiers
    that average hypotheses are permuted). Raises UsageError for a classifier that sums cannot train.
    """
    check_classifier(classifier)
    permuted = permutations > 0 and classifier != "logistic"
    for fold in folds:
        questions = MapQuestions(transport, map_name, fold, classifier)
        model, null_models, _ = _fit(questions, steps, groups, permuted=permuted)
        arrays = {"weight": model.weight, "intercept": np.asarray(model.intercept), "centre": model.centre}
        questions.ask("predict", "scale", arrays)
        if null_models is not None:
            fitted = {"weights": null_models.weights, "intercepts": null_models.intercepts, "centre": model.centre}
            questions.ask("predict_labellings", "scale", fitted)
    final = MapQuestions(transport, map_name, 0, classifier)
    scores = evaluation.score_sites(final)
    null = evaluation.score_labellings(final) if permuted else np.zeros(0)
    model, _, fitted_steps = _fit(final, steps, groups)
    counts = count_classes(final)
    answering = count_classes(final, without=scores["silent"])
    slope = evaluation.fit_slope(final, answering) if answering.min() > 0 else 1.0
    maps = {
        "weights": heatmaps.weights(model, slope),
        "pattern": heatmaps.pattern(final, model, slope, int(counts.sum())),
    }
    regions = evaluation.compare_regions(final, answering) if permutations and answering.min() > 0 else None
    return FederatedResult(scores, null, model, slope, fitted_steps, maps, regions)


def count_classes(questions: MapQuestions, *, without: Sequence[str] | dict[str, str] = ()) -> NDArray[np.int64]:
    """The number of training participants (2,) by class, at all sites but those in `without`."""
    answers = questions.ask("counts", "raw")
    counted = sum_answers(answers, "people", sites=[name for name in answers if name not in without])
    return np.zeros(2, np.int64) + counted.astype(np.int64)


def _fit(
    questions: MapQuestions, steps: Steps, groups: Groups, *, permuted: bool = False
) -> tuple[LinearModel, GroupModels | None, Arrays]:
    """The model of a fold, those of the labellings, and the arrays of its steps."""
    arrays = fit_steps(questions, steps)
    counts = count_classes(questions)
    scaling = {name: array for name, array in arrays.items() if name.startswith("scale.")}
    centre = fit_centre(questions, int(counts.sum()), scaling)
    if questions.classifier == "logistic":
        return fit_logistic(questions, counts, centre), None, arrays
    models = fit_groups(questions, counts, centre, groups, permuted=permuted)
    null = GroupModels(models.weights[1:], models.intercepts[1:]) if permuted else None
    return to_voxels(models, groups, centre), null, arrays
