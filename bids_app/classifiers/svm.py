"""Linear support vector machine on all voxels, one class against the rest, solved on the samples' Gram matrix.

C = 1 after scaling that matrix to a mean diagonal of 1; classes have equal weight.

Cortes & Vapnik 1995, Machine Learning 20:273-297; Mourao-Miranda et al. 2005, NeuroImage 28:980-995; solver: LIBSVM
through scikit-learn.
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.svm import SVC

from bids_app.classifiers._linear import linear_contract, solver_per_labelling

INPUT_FORMAT = "vectors"


def solve(kernel: NDArray[np.float64], positive: NDArray[np.bool_]) -> tuple[NDArray[np.float64], float]:
    """Coefficients of the samples (n,) and the intercept of one class against the rest."""
    fitted = SVC(C=1.0, kernel="precomputed", class_weight="balanced", tol=1e-6).fit(kernel, positive)
    alpha = np.zeros(len(kernel))
    alpha[fitted.support_] = fitted.dual_coef_[0]
    return alpha, float(fitted.intercept_[0])


build, gram_matrix, decision_function = linear_contract(solver_per_labelling(solve))
