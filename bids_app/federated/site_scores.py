"""What a site sends of its held-out participants: counts, rank sums and sums by class, over all folds at once."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import log_softmax
from scipy.stats import rankdata

from bids_app.classifiers._slope import slope_targets
from bids_app.classifiers._voxel_grid import REGIONS, group_means
from bids_app.errors import DataError
from bids_app.federated.protocol import Arrays, Floats, Request
from bids_app.federated.questions import SEXES, VARIABLES
from bids_app.federated.site_sums import decisions, group_features

if TYPE_CHECKING:
    from bids_app.federated.site import Site


def predict(site: "Site", request: Request) -> Arrays:
    """Keep the decisions on the participants that the fold holds out; nothing leaves."""
    site.store("decisions", request, decision=decisions(site, request, site.held_out_rows(request.fold)))
    return {}


def predict_labellings(site: "Site", request: Request) -> Arrays:
    """Keep which held-out participants each labelling's model puts into the second class; nothing leaves.

    The models have `weights` (labellings, k) of the group features and `intercepts` (labellings,).
    """
    features = group_features(site, request, site.held_out_rows(request.fold))
    decided = request.arrays["weights"] @ features.T + np.asarray(request.arrays["intercepts"])[:, None]
    site.store("labellings", request, predicted=decided > 0)
    return {}


def score(site: "Site", request: Request) -> Arrays:
    """`confusion` (2, 2) by true and predicted class; `order` and `pairs` of the Mann-Whitney U within folds.

    The U of a fold has few participants at one site: only the sum over folds leaves.
    """
    confusion, order, pairs = np.zeros((2, 2), np.int64), 0.0, 0.0
    for fold, decision in _by_fold(site, request, "decisions", "decision"):
        y = site.data.y[site.held_out_rows(fold)]
        np.add.at(confusion, (y, (decision > 0).astype(int)), 1)
        positives, negatives = int(y.sum()), int((1 - y).sum())
        order += rankdata(decision)[y == 1].sum() - positives * (positives + 1) / 2
        pairs += positives * negatives
    return {"confusion": confusion, "order": np.asarray(order), "pairs": np.asarray(pairs)}


def score_labellings(site: "Site", request: Request) -> Arrays:
    """`confusion` (labellings, 2, 2) by the class that a labelling gives and the class that its model predicts."""
    confusion = np.zeros((site.data.permutations, 2, 2), np.int64)
    for fold, predicted in _by_fold(site, request, "labellings", "predicted"):
        true = site.labellings[:, site.held_out_rows(fold)]
        for label in (0, 1):
            for called in (0, 1):
                confusion[:, label, called] += ((true == label) & (predicted == called)).sum(axis=1)
    return {"confusion": confusion}


def calibration_loss(site: "Site", request: Request) -> Arrays:
    """`loss` (slopes,) of held-out probabilities under each of the `slopes`, as `fit_slope` defines it."""
    decision, y = np.zeros(0), np.zeros(0, np.int64)
    for fold, values in _by_fold(site, request, "decisions", "decision"):
        decision, y = np.append(decision, values), np.append(y, site.data.y[site.held_out_rows(fold)])
    logits = np.column_stack([-decision, decision]) / 2
    counts = request.arrays["counts"]
    weighted = slope_targets(y, counts) / counts[y][:, None]
    slopes = np.asarray(request.arrays["slopes"], float)
    return {"loss": np.array([-(weighted * log_softmax(slope * logits, axis=1)).sum() for slope in slopes])}


def sum_regions(site: "Site", request: Request) -> Arrays:
    """Sums and squares of region means (regions,), and sums over the second class, also under each labelling."""
    labels = site.data.groups[request.map_name].get(REGIONS)
    if labels is None:
        raise DataError("no region of the parcellation is within the mask of the maps")
    x = site.features(request)
    means = group_means(x, labels, np.zeros(x.shape[1]))
    return {
        "sum": means.sum(axis=0),
        "squares": np.square(means).sum(axis=0),
        "class_sum": site.data.y.astype(float) @ means,
        "permuted_sums": site.labellings.astype(float) @ means,
    }


def sum_confounds(site: "Site", request: Request) -> Arrays:
    """`people`, `sum` (variables, 2) by class, and `sex` (sexes, 2)."""
    del request
    values, y, sexes = _confounds(site), site.data.y, np.array(site.data.sex)
    known = [np.isfinite(values[:, y == label]) for label in (0, 1)]
    sums = [np.where(part, values[:, y == label], 0).sum(axis=1) for label, part in enumerate(known)]
    sex = [[int(np.sum((sexes == name) & (y == label))) for label in (0, 1)] for name in SEXES]
    return {
        "people": np.column_stack([part.sum(axis=1) for part in known]).astype(np.int64),
        "sum": np.column_stack(sums),
        "sex": np.array(sex, np.int64),
    }


def square_confounds(site: "Site", request: Request) -> Arrays:
    """`squares` (variables, 2) of deviations from the class `mean` (variables, 2) of the request."""
    values, y, mean = _confounds(site), site.data.y, np.asarray(request.arrays["mean"], float)
    deviations = (np.nan_to_num(values[:, y == label] - mean[:, label, None]) for label in (0, 1))
    return {"squares": np.column_stack([(part**2).sum(axis=1) for part in deviations])}


def _confounds(site: "Site") -> Floats:
    """Values (variables, n), NaN where unknown."""
    unknown = np.full(len(site.data.y), np.nan)
    return np.array([site.data.covariates.get(name, unknown) for name in VARIABLES], float)


def _by_fold(site: "Site", request: Request, kind: str, name: str) -> list[tuple[int, Floats]]:
    """What the site kept of each fold."""
    folds = np.unique(site.data.folds).tolist()
    kept = []
    for fold in folds:
        with np.load(site.stored(kind, Request("", request.map_name, request.classifier, fold))) as arrays:
            kept.append((fold, arrays[name]))
    return kept


ANSWERS: dict[str, Callable[["Site", Request], Arrays]] = {
    "predict": predict,
    "predict_labellings": predict_labellings,
    "scores": score,
    "permuted_scores": score_labellings,
    "calibration_loss": calibration_loss,
    "region_statistics": sum_regions,
    "audit_sums": sum_confounds,
    "audit_squares": square_confounds,
}
