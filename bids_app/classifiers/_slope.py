"""From decision values to probabilities: one slope, estimated from out-of-fold decisions."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

LOWEST, HIGHEST = 1e-2, 1e2


def fit_slope(decisions: NDArray[np.float64], y: NDArray[np.int_]) -> float:
    """The slope a of softmax(a * decisions) for out-of-fold decisions (n, classes) and true classes y (n,).

    Every class has equal weight, so that the probability is that of a balanced population and 0.5 is where the decision
    is 0. The targets are Platt's, (n_c + 1) / (n_c + 2), which keep the slope finite if the classes are separable.

    The slope is never below a small positive number. Without an effect, out-of-fold decisions of a stratified split are
    negatively correlated with the truth (the training part lacks just the held-out samples, so its class means are
    shifted the other way), and an unbounded slope becomes negative: it would invert every prediction and look like a
    score below chance. With the bound, the most probable class is always the decision's, and a null fit gives
    probabilities near 1 / classes.

    Platt 1999, in Advances in Large Margin Classifiers, 61-74; Guo et al. 2017, ICML, 1321-1330.
    """
    counts = np.bincount(y, minlength=decisions.shape[1])
    target = slope_targets(y, counts)
    weight = 1 / counts[y]

    def loss(log_slope: float) -> float:
        return -float((weight[:, None] * target * log_softmax(np.exp(log_slope) * decisions, axis=1)).sum())

    best = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(best.x))


def slope_targets(y: NDArray[np.int_], counts: NDArray[np.int_]) -> NDArray[np.float64]:
    """The targets (n, classes) of `fit_slope` for classes y (n,), which have `counts` (classes,) in all."""
    hit = (counts[y] + 1) / (counts[y] + 2)
    target = np.repeat(((1 - hit) / (len(counts) - 1))[:, None], len(counts), axis=1)
    target[np.arange(len(y)), y] = hit
    return target
