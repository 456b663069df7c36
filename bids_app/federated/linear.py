"""Linear models of scaled maps from sums: logistic regression on voxels, and the classifiers that average hypotheses.

`logistic` has the objective of classifiers/logistic.py, in voxels instead of samples: half the squared norm of the
weights plus the class-weighted loss of maps that are centred and divided by their root mean squared norm, minimised by
L-BFGS on summed gradients. It agrees with the pooled classifier to the tolerance of both solvers; only the 1e-8 that
the pooled solver adds to the diagonal of the Gram matrix is left out.

`model_averaging`, `single_effect` and `regional` (classifiers/_evidence.py) take inner products of participants, which
no sum over sites gives: two participants of different sites have one, too. What sums give is the matrix of products of
features, and the samples up to a rotation, on which these classifiers do not depend. It has as many rows as features:
for 6 mm cubes some 3,000, for voxels ten times as many, a hundred times the bytes. Exact are therefore the hypotheses
about cubes and about regions; variance shared with the whole image, and the hypothesis that all voxels differ a little,
are computed from the map's mean in each cube instead of its voxels. That is the pooled classifier of maps whose cubes
have one value each.

`svm` depends on single participants: its weights are the sum of a few, the support vectors, and no sum over all of them
yields it. (A squared hinge loss would be another model.)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from bids_app import catalogue
from bids_app.classifiers import logistic
from bids_app.classifiers._evidence import solve_targets
from bids_app.classifiers._linear import GRAM
from bids_app.classifiers._voxel_grid import CUBES, spread_over_voxels
from bids_app.errors import DataError, UsageError
from bids_app.federated.pipeline import MapQuestions
from bids_app.federated.protocol import Arrays, Floats, sum_answers

Groups = Mapping[str, NDArray[np.int_]]  # the group of each voxel (voxels,) by set, -1 for none
EXACT = ("logistic", "model_averaging", "regional", "single_effect")
GRADIENT_TOLERANCE = 1e-9
MAX_ITER = 500
SPARE = 8  # random combinations beyond the rank
RANK_TOLERANCE = 1e-13  # eigenvalues below this share of the largest are rounding


@dataclass(frozen=True, eq=False)
class LinearModel:
    """The decision (x - centre) @ weight + intercept on scaled values x (voxels,), for the second class."""

    weight: Floats
    centre: Floats
    intercept: float


@dataclass(frozen=True, eq=False)
class GroupModels:
    """Models of group features: weights (labellings, k), intercepts (labellings,)."""

    weights: Floats
    intercepts: Floats


def check_classifier(name: str) -> None:
    """Raise UsageError, with why and what to use, for a classifier that sums over sites cannot train."""
    if name in EXACT:
        return
    if name == "svm":
        why = "its weights are a sum of a few single participants, which no sum over a site gives"
    else:
        why = "it is not a linear model"
    raise UsageError(f"--classifiers {name} cannot be trained by sums over sites: {why}; use {', '.join(EXACT)}")


def fit_centre(questions: MapQuestions, people: int, scaling: Arrays) -> Floats:
    """The mean (voxels,) of the training maps, which sites scale by the arrays "scale.mean" and "scale.sd"."""
    return sum_answers(questions.ask("sums", "scale", scaling), "sum") / people


def fit_logistic(questions: MapQuestions, counts: NDArray[np.int64], centre: Floats) -> LinearModel:
    """Fit `logistic` to the training participants of a fold, of whom `counts` (2,) are in each class.

    Raises DataError if all have the same values, or without convergence.
    """
    people = int(counts.sum())
    norm = float(np.sqrt(sum_answers(questions.ask("squares", "scale", {"mean": centre}), "squares").sum() / people))
    if norm == 0:
        raise DataError("all training participants have the same values in every voxel; check the maps")
    fixed: dict[str, NDArray[np.generic]] = {
        "centre": centre,
        "norm": np.asarray(norm),
        "class_weight": logistic.C * people / 2 / counts,
    }

    def objective(parameters: Floats) -> tuple[float, Floats]:
        weight, intercept = parameters[:-1], parameters[-1]
        point = {"weight": weight, "intercept": np.asarray(intercept)}
        answers = questions.ask("logistic_loss", "scale", {**fixed, **point})
        loss, gradient, last = (sum_answers(answers, name) for name in ("loss", "gradient", "intercept_gradient"))
        return float(weight @ weight / 2 + loss), np.append(weight + gradient, last)

    options: Any = {"gtol": GRADIENT_TOLERANCE, "ftol": 0.0, "maxiter": MAX_ITER, "maxcor": 30}
    start = np.zeros(len(centre) + 1)
    optimum: Any = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    if np.abs(optimum.jac).max() > 1e3 * GRADIENT_TOLERANCE:
        raise DataError(f"logistic regression did not converge: {optimum.message}; check the maps for outliers")
    return LinearModel(optimum.x[:-1] / norm, centre, float(optimum.x[-1]))


def fit_groups(
    questions: MapQuestions, counts: NDArray[np.int64], centre: Floats, groups: Groups, *, permuted: bool = False
) -> GroupModels:
    """Fit a classifier of `_evidence` to means over cubes and regions: the true labels first, then each labelling.

    counts (2,) by class; groups: the group of each voxel by set, in the order of the group features.
    """
    arrays = {"centre": centre}
    packed = sum_answers(questions.ask("group_products", "scale", arrays), "products")
    sums = [np.atleast_2d(sum_answers(questions.ask("class_sums", "scale", arrays), "sums"))]
    if permuted:
        sums.append(sum_answers(questions.ask("permuted_class_sums", "scale", arrays), "sums"))
    size = sums[0].shape[1]
    products = np.zeros((size, size))
    products[np.triu_indices(size)] = packed
    products += np.triu(products, 1).T
    return solve_groups(questions.classifier, products, np.concatenate(sums), counts, groups)


def solve_groups(
    classifier: str, products: Floats, sums: Floats, counts: NDArray[np.int64], groups: Groups
) -> GroupModels:
    """The models of products (k, k) of the centred features and their sums (labellings, k) over the second class.

    Features come in the order of `groups`, cubes times the root of their sizes. Raises DataError where the classifier's
    groups are missing.
    """
    people, positives = int(counts.sum()), int(counts[1])
    features, targets = rotate_samples(products, sums, people, positives * int(counts[0]) / people)
    sizes = {name: np.bincount(labels[labels >= 0]) for name, labels in groups.items()}
    ends = np.cumsum([len(voxels) for voxels in sizes.values()])
    parts = dict(zip(groups, np.split(features, ends[:-1], axis=1), strict=True))
    cubes, root = parts[CUBES], np.sqrt(sizes[CUBES])
    parts[CUBES] = cubes / root
    size = float(np.square(cubes).sum() / people)
    if size == 0:
        raise DataError("all training participants have the same values in every voxel; check the maps")
    module = catalogue.load("classifiers", classifier)
    used = {name: parts[name] for name in module.SETS if name in parts and parts[name].shape[1] > 1}
    if not used:
        raise DataError("fewer than two regions of the parcellation are within the mask; choose another classifier")
    solution = solve_targets({GRAM: cubes @ cubes.T / size, **used}, targets, prior=module.PRIOR)
    weights = {name: np.zeros((len(sums), len(voxels))) for name, voxels in sizes.items()} | dict(solution.means)
    weights[CUBES] = weights[CUBES] / root + solution.coefficients @ cubes / size
    joined = np.concatenate([weights[name] for name in groups], axis=1)
    decision = np.sum(sums * joined, axis=1)  # summed over the second class; over the first it is the negative
    return GroupModels(joined, (decision / int(counts[0]) - decision / positives) / 2)


def rotate_samples(products: Floats, sums: Floats, people: int, target_square: float) -> tuple[Floats, Floats]:
    """Features (people, k) and targets (labellings, people), the sites' own up to a rotation that keeps their sum.

    products (k, k) of the centred features; sums (labellings, k) of targets times features, the squared norm of each
    target being `target_square`. Targets and features sum to 0 over people.
    """
    values, vectors = _eigen(products, people - 1)
    used = values > RANK_TOLERANCE * values[-1]
    roots, vectors = np.sqrt(values[used]), vectors[:, used]
    basis = np.linalg.qr(np.column_stack([np.ones(people), np.eye(people)[:, : people - 1]]))[0][:, 1:]
    along = sums @ vectors / roots
    targets = along @ basis[:, : len(roots)].T
    if len(roots) < people - 1:
        rest = np.sqrt(np.maximum(target_square - np.square(along).sum(axis=1), 0))
        targets += rest[:, None] * basis[:, len(roots)]
    return (basis[:, : len(roots)] * roots) @ vectors.T, targets


def _eigen(products: Floats, rank: int) -> tuple[Floats, Floats]:
    """Eigenvalues, ascending, and eigenvectors of a positive matrix of at most this rank."""
    size = len(products)
    if size <= rank + SPARE:
        values, vectors = np.linalg.eigh(products)
        return values[max(size - rank, 0) :], vectors[:, max(size - rank, 0) :]
    # as many random combinations as the rank span the columns, and save the cube of the number of features
    random = np.random.default_rng(0).normal(size=(size, rank + SPARE))
    span = np.linalg.qr(products @ np.linalg.qr(products @ random)[0])[0]
    values, vectors = np.linalg.eigh(span.T @ products @ span)
    return values[-rank:], span @ vectors[:, -rank:]


def to_voxels(models: GroupModels, groups: Groups, centre: Floats) -> LinearModel:
    """The first of the models as a model of voxels; groups: the labels (voxels,) of each set."""
    sizes = {name: int(labels.max(initial=-1)) + 1 for name, labels in groups.items()}
    parts = np.split(models.weights[:1], np.cumsum(list(sizes.values()))[:-1], axis=1)
    weight = np.zeros(len(centre))
    for (name, labels), part in zip(groups.items(), parts, strict=True):
        if name == CUBES:
            part = part * np.sqrt(np.bincount(labels[labels >= 0]))
        weight += spread_over_voxels(part, labels)[0]
    return LinearModel(weight, centre, float(models.intercepts[0]))
