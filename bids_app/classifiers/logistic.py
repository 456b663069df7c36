"""Logistic regression on all voxels, one class against the rest, with a penalty on the squared length of the weights,
solved on the people-by-people Gram matrix.

C = 1 once the mean diagonal of that matrix is 1; classes weigh the same. How sure it is of people comes from inner
folds, as of the support vector machine: with more voxels than people it can part any two classes, and its own
probabilities of those it has seen say little.

Hoerl & Kennard 1970, Technometrics 12:55-67 (the penalty); le Cessie & van Houwelingen 1992, Applied Statistics
41:191-201 (in logistic regression); Zhu & Hastie 2005, Journal of Computational and Graphical Statistics 14:185-205 (on
products of people); solver: scikit-learn.
"""

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from bids_app.classifiers import _linear
from bids_app.classifiers._places import Places

TAKES = "vectors"

C = 1.0
TOLERANCE = 1e-8


def build(
    channels: int, classes: int, shape: tuple[int, ...], *, voxel_mm: tuple[float, float, float], seed: int
) -> _linear.Linear:
    """A machine for vectors of channels * voxels values, `shape` being (voxels,); it knows nothing of space and has
    no random start.
    """
    del voxel_mm, seed
    return _linear.Linear(channels * prod(shape), classes, machine)


def products(
    training: NDArray[Any], held_out: NDArray[Any], *, places: Places | None = None
) -> dict[str, NDArray[np.float64]]:
    """As `_linear.products`."""
    return _linear.products(training, held_out, places=places)


def decide(inner: _linear.Inner, labellings: NDArray[np.int_]) -> NDArray[np.float64]:
    """As `_linear.decide`."""
    return _linear.decide(machine, inner, labellings)


def solve(kernel: NDArray[np.float64], positive: NDArray[np.bool_]) -> tuple[NDArray[np.float64], float]:
    """Coefficients of the people (n,) and the intercept of one class against the rest.

    The matrix is that of people who have n values in place of their voxels, and the same inner products. At the
    optimum a person's coefficient is C times their weight times what their probability misses.
    """
    values, vectors = np.linalg.eigh(kernel)
    features = vectors * np.sqrt(np.clip(values, 0, None))
    fitted = LogisticRegression(C=C, class_weight="balanced", solver="newton-cholesky", tol=TOLERANCE)
    fitted.fit(features, positive)
    weight = len(positive) / 2 / np.where(positive, positive.sum(), (~positive).sum())
    return C * weight * (positive - fitted.predict_proba(features)[:, 1]), float(fitted.intercept_[0])


machine = _linear.one_by_one(solve)
