"""From decision values to probabilities: one slope, learnt from people whom the decision had not seen."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

LOWEST, HIGHEST = 1e-2, 1e2


def fit_slope(decisions: NDArray[np.float64], y: NDArray[np.int_]) -> float:
    """The slope a of softmax(a * decisions) for out-of-fold decisions (n, classes) and true classes y (n,).

    Every class weighs the same, so that the probability is that of a balanced population and 0.5 is where the
    decision is 0. The targets are Platt's, (n_c + 1) / (n_c + 2), which keep the slope finite when the classes are
    parted without an error.

    The slope is never below a small positive number. Out-of-fold decisions of a stratified split lean away from the
    truth when there is nothing to be learnt (the training part lacks just the people who are asked about, so its
    class means are shifted the other way), and a free slope comes out negative: it would turn every prediction round
    and pass for a finding below chance. So bounded, the likeliest class is always the decision's, and a null fit
    gives probabilities near 1 / classes.

    Platt 1999, in Advances in Large Margin Classifiers, 61-74; Guo et al. 2017, ICML, 1321-1330.
    """
    people = np.bincount(y, minlength=decisions.shape[1])
    hit = (people[y] + 1) / (people[y] + 2)
    others = decisions.shape[1] - 1
    target = np.repeat(((1 - hit) / others)[:, None], decisions.shape[1], axis=1)
    target[np.arange(len(y)), y] = hit
    weight = 1 / people[y]

    def loss(log_slope: float) -> float:
        return -float((weight[:, None] * target * log_softmax(np.exp(log_slope) * decisions, axis=1)).sum())

    best = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(best.x))
