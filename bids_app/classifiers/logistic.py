"""Logistic regression on all voxels, one class against the rest, with a penalty on the squared norm of the weights,
solved on the samples' Gram matrix.

C = 1 after scaling that matrix to a mean diagonal of 1; classes have equal weight. Probabilities are calibrated in
inner folds, as for the support vector machine: with more voxels than samples any two classes are separable, and the
probabilities of training samples are uninformative.

Hoerl & Kennard 1970, Technometrics 12:55-67 (the penalty); le Cessie & van Houwelingen 1992, Applied Statistics
41:191-201 (in logistic regression); Zhu & Hastie 2005, Journal of Computational and Graphical Statistics 14:185-205
(kernel form); solver: scikit-learn.
"""

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from bids_app.classifiers._linear import linear_contract, solver_per_labelling

INPUT_FORMAT = "vectors"

C = 1.0
TOLERANCE = 1e-8
ROUNDING = 1e-8  # added to the diagonal, of mean 1: the Gram matrix of centred samples is singular


def solve(kernel: NDArray[np.float64], positive: NDArray[np.bool_]) -> tuple[NDArray[np.float64], float]:
    """Coefficients of the samples (n,) and the intercept of one class against the rest.

    The samples are represented by n features with the same Gram matrix as their voxels, its Cholesky factor. At the
    optimum, a sample's coefficient is C times its class weight times its residual probability.
    """
    features = scipy.linalg.cholesky(kernel + ROUNDING * np.eye(len(kernel)), lower=True)
    fitted = LogisticRegression(C=C, class_weight="balanced", solver="newton-cg", tol=TOLERANCE, max_iter=1000)
    fitted.fit(features, positive)
    weight = len(positive) / 2 / np.where(positive, positive.sum(), (~positive).sum())
    return C * weight * (positive - fitted.predict_proba(features)[:, 1]), float(fitted.intercept_[0])


build, gram_matrix, decision_function = linear_contract(solver_per_labelling(solve))
