"""What a site sends for training: sums over its training participants of one fold."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from bids_app.classifiers._voxel_grid import CUBES, group_means
from bids_app.federated.protocol import Arrays, Floats, Request

FINISHED = "finished"  # in the site's folder, once the coordinator has no more questions

if TYPE_CHECKING:
    from bids_app.federated.site import Site


def count(site: "Site", request: Request) -> Arrays:
    """`people` (2,) by class."""
    return {"people": np.bincount(site.data.y[site.training_rows(request.fold)], minlength=2).astype(np.int64)}


def sum_covariates(site: "Site", request: Request) -> Arrays:
    """`sum` (k,) of the map's covariates, then ComBat's."""
    return {"sum": _covariates(site, request).sum(axis=0)}


def multiply_covariates(site: "Site", request: Request) -> Arrays:
    """`products` (k, k) of the covariates minus the `mean` (k,) of the request."""
    centred = _covariates(site, request) - request.arrays["mean"]
    return {"products": centred.T @ centred}


def sum_for_combat(site: "Site", request: Request) -> Arrays:
    """`sum` (voxels,) of the map, `products` (k, voxels) with ComBat's covariates, standardised as requested."""
    rows, standard = _standardised(site, request, site.data.keep or ())
    return {"sum": _sum(site.features(request)[rows]), "products": _products(standard, site.features(request)[rows])}


def square_combat_residuals(site: "Site", request: Request) -> Arrays:
    """`squares` (voxels,) of the residuals from `level` (voxels,) and `slope` (k, voxels) of the request."""
    rows, standard = _standardised(site, request, site.data.keep or ())
    squares = np.zeros(site.features(request).shape[1])
    for values, covariates in zip(site.features(request)[rows], standard, strict=True):
        squares += (values - request.arrays["level"] - covariates @ request.arrays["slope"]) ** 2
    return {"squares": squares}


def multiply_map_and_covariates(site: "Site", request: Request) -> Arrays:
    """`products` (k, voxels) of the map with its covariates, standardised as requested."""
    rows, standard = _standardised(site, request, site.data.adjust[request.map_name])
    return {"products": _products(standard, site.features(request)[rows])}


def sum_map(site: "Site", request: Request) -> Arrays:
    """`sum` (voxels,)."""
    return {"sum": _sum(site.features(request)[site.training_rows(request.fold)])}


def square_map(site: "Site", request: Request) -> Arrays:
    """`squares` (voxels,) of deviations from the `mean` (voxels,) of the request."""
    squares = np.zeros(site.features(request).shape[1])
    for values in site.features(request)[site.training_rows(request.fold)]:
        squares += (values - request.arrays["mean"]) ** 2
    return {"squares": squares}


def logistic_loss(site: "Site", request: Request) -> Arrays:
    """`loss`, `gradient` (voxels,) and `intercept_gradient` at `weight` (voxels,) and `intercept` of the request.

    Participants count by `class_weight` (2,), voxels are centred by `centre` and divided by `norm`.
    """
    rows, arrays = site.training_rows(request.fold), request.arrays
    x, y = site.features(request)[rows], site.data.y[rows]
    weight = np.asarray(arrays["weight"], float) / float(arrays["norm"])
    decision = _decisions(x, np.asarray(arrays["centre"], float), weight) + float(arrays["intercept"])
    share = np.asarray(arrays["class_weight"], float)[y]
    residual = share * (expit(decision) - y)
    gradient = _products(residual[:, None], x)[0] - residual.sum() * np.asarray(arrays["centre"], float)
    return {
        "loss": np.asarray((share * np.logaddexp(0, np.where(y == 1, -decision, decision))).sum()),
        "gradient": gradient / float(arrays["norm"]),
        "intercept_gradient": np.asarray(residual.sum()),
    }


def multiply_groups(site: "Site", request: Request) -> Arrays:
    """`products` of pairs of group features: the upper triangle (k (k + 1) / 2,) of a symmetric matrix."""
    features = group_features(site, request, site.training_rows(request.fold))
    return {"products": (features.T @ features)[np.triu_indices(features.shape[1])]}


def sum_class(site: "Site", request: Request) -> Arrays:
    """`sums` (k,) of the group features over the second class."""
    rows = site.training_rows(request.fold)
    return {"sums": site.data.y[rows].astype(float) @ group_features(site, request, rows)}


def sum_permuted_classes(site: "Site", request: Request) -> Arrays:
    """`sums` (labellings, k) of the group features over the second class of each labelling."""
    rows = site.training_rows(request.fold)
    return {"sums": site.labellings[:, rows].astype(float) @ group_features(site, request, rows)}


def sum_pattern(site: "Site", request: Request) -> Arrays:
    """`decision`, `squares` and `products` (voxels,) of the decisions of the final model with the centred map."""
    rows, centre = site.training_rows(request.fold), np.asarray(request.arrays["centre"], float)
    x = site.features(request)[rows]
    decision = _decisions(x, centre, np.asarray(request.arrays["weight"], float))
    products = _products(decision[:, None], x)[0] - decision.sum() * centre
    return {"decision": np.asarray(decision.sum()), "squares": np.asarray(decision @ decision), "products": products}


def group_features(site: "Site", request: Request, rows: NDArray[np.int64]) -> Floats:
    """Group features (rows, k): means over cubes, times the root of their sizes, then over regions, of centred maps.

    Inner products of the first part are those of maps whose cubes each have one value.
    """
    x, centre = site.features(request)[rows], np.asarray(request.arrays["centre"], float)
    parts = []
    for name, labels in site.data.groups[request.map_name].items():
        means = group_means(x, labels, centre)
        parts.append(means * np.sqrt(np.bincount(labels[labels >= 0])) if name == CUBES else means)
    return np.concatenate(parts, axis=1)


def decisions(site: "Site", request: Request, rows: NDArray[np.int64]) -> Floats:
    """Decisions (rows,) of the model in the request: `weight`, `centre` (voxels,) and `intercept`."""
    arrays = request.arrays
    weight, centre = np.asarray(arrays["weight"], float), np.asarray(arrays["centre"], float)
    return _decisions(site.features(request)[rows], centre, weight) + float(arrays["intercept"])


def _decisions(x: NDArray[np.float32], centre: Floats, weight: Floats) -> Floats:
    return np.array([(values - centre) @ weight for values in x], float).reshape(len(x))


def _covariates(site: "Site", request: Request) -> Floats:
    columns = (*site.data.adjust[request.map_name], *(site.data.keep or ()))
    return site.data.design(columns)[site.training_rows(request.fold)]


def _standardised(site: "Site", request: Request, columns: tuple[str, ...]) -> tuple[NDArray[np.int64], Floats]:
    """Training rows and their covariates (rows, k) by the `covariate_mean` and `covariate_sd` of the request."""
    rows = site.training_rows(request.fold)
    values = site.data.design(columns)[rows]
    return rows, (values - request.arrays["covariate_mean"]) / request.arrays["covariate_sd"]


def _sum(x: NDArray[np.float32]) -> Floats:
    return np.asarray(x.sum(axis=0, dtype=np.float64))


def _products(coefficients: Floats, x: NDArray[np.float32]) -> Floats:
    """Sums over rows (k, voxels) of coefficients (rows, k) times x (rows, voxels)."""
    total = np.zeros((coefficients.shape[1], x.shape[1]))
    for row, values in zip(coefficients, x, strict=True):
        total += row[:, None] * values
    return total


def finish(site: "Site", request: Request) -> Arrays:
    """Note that the coordinator has no more questions; nothing leaves."""
    del request
    (site.folder / FINISHED).touch()
    return {}


ANSWERS: dict[str, Callable[["Site", Request], Arrays]] = {
    "counts": count,
    "finish": finish,
    "covariate_sums": sum_covariates,
    "covariate_products": multiply_covariates,
    "combat_sums": sum_for_combat,
    "combat_squares": square_combat_residuals,
    "adjust_products": multiply_map_and_covariates,
    "sums": sum_map,
    "squares": square_map,
    "logistic_loss": logistic_loss,
    "group_products": multiply_groups,
    "class_sums": sum_class,
    "permuted_class_sums": sum_permuted_classes,
    "pattern_sums": sum_pattern,
}
