"""Linear support vector machine on all voxels, one class against the rest, solved on the people-by-people Gram matrix.

C = 1 once the mean diagonal of that matrix is 1; classes weigh the same.

Cortes & Vapnik 1995, Machine Learning 20:273-297; Mourao-Miranda et al. 2005, NeuroImage 28:980-995; solver: LIBSVM
through scikit-learn.
"""

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.svm import SVC

from bids_app.classifiers import _linear
from bids_app.classifiers._places import Places

TAKES = "vectors"


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
    """Coefficients of the people (n,) and the intercept of one class against the rest."""
    fitted = SVC(C=1.0, kernel="precomputed", class_weight="balanced", tol=1e-6).fit(kernel, positive)
    alpha = np.zeros(len(kernel))
    alpha[fitted.support_] = fitted.dual_coef_[0]
    return alpha, float(fitted.intercept_[0])


machine = _linear.one_by_one(solve)
