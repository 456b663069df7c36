"""Differences between classifiers on the same participants, with intervals and tests."""

import itertools
import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

RESAMPLES = 2000
DIGITS = 12  # of proportions: differences beyond them are rounding errors

Bounds = tuple[float, float]


def bootstrap_difference(first: pd.DataFrame, second: pd.DataFrame, *, seed: int) -> tuple[float, Bounds]:
    """Return the difference in balanced accuracy, `first` minus `second`, and its 95 % bootstrap interval within class.

    Both have one row per participant of one repeat (`scores.average_sessions`): participant_id, true, predicted.
    Participants are paired.
    """
    whole = first.merge(second, on=["participant_id", "true"], suffixes=("_one", "_other"), validate="one_to_one")
    gain = (whole["predicted_one"] == whole["true"]).astype(float) - (whole["predicted_other"] == whole["true"])
    random = np.random.default_rng(seed)
    middle, resampled = 0.0, np.zeros(RESAMPLES)
    by_class = [rows.to_numpy() for _, rows in gain.groupby(whole["true"])]
    for rows in by_class:
        middle += rows.mean() / len(by_class)
        indices = random.integers(len(rows), size=(RESAMPLES, len(rows)))
        resampled += rows[indices].mean(axis=1) / len(by_class)
    low, high = np.percentile(resampled, [2.5, 97.5]).tolist()
    return float(middle), (low, high)


def compare_pairs(predictions: pd.DataFrame, *, train: float, test: float) -> pd.DataFrame:
    """Return one row per pair of cells: mean difference in balanced accuracy over folds of all repeats, its t and p.

    predictions: of all cells. Only folds that hold out every class count. train, test: as in
    `corrected_resampled_t`. p is not corrected for the number of pairs.
    """
    right = predictions.assign(right=(predictions["predicted"] == predictions["true"]).astype(float))
    shares = right.groupby(["cell", "repeat", "fold", "true"], sort=False)["right"].mean().unstack("true")
    by_fold = shares.dropna().mean(axis=1).unstack("cell").dropna()
    rows = []
    for first, second in itertools.combinations(dict.fromkeys(predictions["cell"]), 2):
        if first in by_fold and second in by_fold:
            differences = (by_fold[first] - by_fold[second]).to_numpy(float).round(DIGITS)
            t, p = corrected_resampled_t(differences, train=train, test=test)
            mean = round(float(differences.mean()), DIGITS) if len(differences) else math.nan
            rows.append({"cell": first, "other": second, "folds": len(differences), "difference": mean, "t": t, "p": p})
    return pd.DataFrame(rows, columns=["cell", "other", "folds", "difference", "t", "p"])


def corrected_resampled_t(differences: NDArray[np.float64], *, train: float, test: float) -> tuple[float, float]:
    """Return t and two-sided p of the mean difference (folds of all repeats,), corrected for shared training samples.

    train, test: the mean number of training and held-out participants of a fold. t has J - 1 degrees of freedom, and
    the variance is (1 / J + test / train) times that of the differences (Nadeau & Bengio 2003, Mach Learn 52:239). NaN
    for fewer than two folds; with constant differences p is 1 for a mean of 0, else 0.
    """
    folds = len(differences)
    if folds < 2:
        return math.nan, math.nan
    mean, spread = round(float(differences.mean()), DIGITS), float(differences.std(ddof=1))
    if spread == 0:
        return (0.0, 1.0) if mean == 0 else (math.copysign(math.inf, mean), 0.0)
    t = mean / (spread * math.sqrt(1 / folds + test / train))
    return t, float(2 * stats.t.sf(abs(t), folds - 1))
