"""Scores of out-of-fold predictions per participant, with intervals."""

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import binomtest, norm

from bids_app.errors import DataError
from bids_app.training import calibration

Z = float(norm.ppf(0.975))
RESAMPLES = 1000

Bounds = tuple[float, float]


def score_table(predictions: pd.DataFrame, classes: Sequence[str], *, seed: int = 0) -> pd.DataFrame:
    """Return one row per cell and repeat: n, and with _low and _high: balanced_accuracy, accuracy, auroc, the measures
    of `calibration.score_probabilities`, and for two classes sensitivity and specificity.

    predictions: participant_id, cell, repeat, fold, true, predicted, probability_<class>; several rows of a participant
    (sessions) count as one, by their mean probability. Sensitivity is of the second class, specificity of the first,
    the reference. Intervals are of 95 %. Raises DataError when a class has no predictions.
    """
    rows = []
    for (cell, repeat), part in predictions.groupby(["cell", "repeat"], sort=False):
        participants = average_sessions(part, classes)
        true = np.array([list(classes).index(name) for name in participants["true"]])
        predicted = np.array([list(classes).index(name) for name in participants["predicted"]])
        missing = [name for index, name in enumerate(classes) if not (true == index).any()]
        if missing:
            raise DataError(
                f"{cell}: no participant of class {', '.join(missing)} was held out, so no score can be computed"
            )
        probability = participants[[f"probability_{name}" for name in classes]].to_numpy(float)
        counts = [
            (int((predicted[true == index] == index).sum()), int((true == index).sum()))
            for index in range(len(classes))
        ]
        row: dict[str, Any] = {"cell": cell, "repeat": repeat, "n": len(participants)} | _with_bounds(
            "balanced_accuracy", *balanced_accuracy_interval(counts)
        )
        hits = sum(right for right, _ in counts)
        row |= _with_bounds("accuracy", hits / len(participants), wilson_interval(hits, len(participants)))
        if len(classes) == 2:
            for name, (right, n) in zip(("specificity", "sensitivity"), counts, strict=True):
                row |= _with_bounds(name, right / n, wilson_interval(right, n))
        weights = bootstrap_weights(true, np.random.default_rng(_seed(seed, str(cell), str(repeat))))
        row |= _with_bounds(
            "auroc", *auroc_interval(true, probability, participants["fold"].to_numpy(), weights=weights)
        )
        for name, (value, bounds) in calibration.score_probabilities(true, probability, weights).items():
            row |= _with_bounds(name, value, bounds)
        rows.append(check_consistency(row, counts))
    return pd.DataFrame(rows)


def average_sessions(part: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Return one row per participant (and true class): fold, mean probabilities over sessions, and predicted class."""
    columns = [f"probability_{name}" for name in classes]
    whole = part.groupby(["participant_id", "true"], as_index=False, sort=True).agg(
        {"fold": "first", "predicted": "first"} | dict.fromkeys(columns, "mean")
    )
    if len(whole) < len(part):
        whole["predicted"] = [classes[index] for index in whole[columns].to_numpy(float).argmax(axis=1)]
    return whole


def wilson_interval(right: int, n: int) -> Bounds:
    """Return the 95 % interval of a proportion (Wilson 1927, J Am Stat Assoc 22:209)."""
    low, high = binomtest(right, n).proportion_ci(method="wilson")
    return float(low), float(high)


def balanced_accuracy_interval(counts: Sequence[tuple[int, int]]) -> tuple[float, Bounds]:
    """Return the mean of the per-class recalls (right, n) and its interval, from their Wilson intervals by MOVER.

    The bootstrap interval of a perfect score is [1, 1] whatever the sample size; the method of variance estimates
    recovery (Zou & Donner 2008, Stat Med 27:1693) combines the intervals of the proportions instead.
    """
    shares = [right / n for right, n in counts]
    bounds = [wilson_interval(right, n) for right, n in counts]
    mean = sum(shares) / len(shares)
    below = math.hypot(*(share - low for share, (low, _) in zip(shares, bounds, strict=True))) / len(shares)
    above = math.hypot(*(high - share for share, (_, high) in zip(shares, bounds, strict=True))) / len(shares)
    return mean, (max(mean - below, 0.0), min(mean + above, 1.0))


def auroc(positive: NDArray[np.bool_], score: NDArray[np.float64], fold: NDArray[np.generic]) -> float:
    """Return the share of correctly ordered pairs (one participant in the class, one not, same fold); ties count half.

    Scores of different models have no common scale, so pairs across folds are not compared. NaN without any pair.
    """
    order, valid = _ordered_pairs(positive, score, fold)
    return float(order.sum() / valid.sum()) if valid.any() else math.nan


def auroc_interval(
    true: NDArray[np.int64],
    probability: NDArray[np.float64],
    fold: NDArray[np.generic],
    *,
    weights: NDArray[np.float64],
) -> tuple[float, Bounds]:
    """Return the AUROC (above two classes: the mean of one against the rest) and its bootstrap interval within class.

    true (n,), probability (n, classes), fold (n,); weights (resamples, n): how often each is drawn. Where all pairs are
    ordered alike the bootstrap has no spread, and Newcombe's score interval is returned (2006, Stat Med 25:559, method
    5).
    """
    wanted = [1] if probability.shape[1] == 2 else list(range(probability.shape[1]))
    areas, resampled, score_bounds = [], [], []
    for index in wanted:
        positive = true == index
        order, valid = _ordered_pairs(positive, probability[:, index], fold)
        if not valid.any():
            return math.nan, (math.nan, math.nan)
        areas.append(float(order.sum() / valid.sum()))
        ours, others = weights[:, positive], weights[:, ~positive]
        pairs = ((ours @ valid) * others).sum(axis=1)
        in_order = ((ours @ order) * others).sum(axis=1)
        resampled.append(np.divide(in_order, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0))
        score_bounds.append(newcombe_interval(areas[-1], int(positive.sum()), int((~positive).sum())))
    mean = sum(areas) / len(areas)
    if mean in (0.0, 1.0):
        return mean, (min(low for low, _ in score_bounds), max(high for _, high in score_bounds))
    low, high = np.nanpercentile(np.mean(resampled, axis=0), [2.5, 97.5]).tolist()
    return mean, (low, high)


def newcombe_interval(area: float, positives: int, negatives: int) -> Bounds:
    """Return the score interval of an AUROC: Hanley & McNeil's variance, N = (m + n) / 2 (Newcombe 2006, method 5)."""
    mean_n = (positives + negatives) / 2

    def distance(theta: float) -> float:
        spread = 1 + (mean_n - 1) * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return float((area - theta) ** 2 - Z**2 * theta * (1 - theta) * spread / (positives * negatives))

    inside = min(max(area, 1e-9), 1 - 1e-9)
    low = 0.0 if area == 0.0 else float(brentq(distance, 1e-12, inside))
    high = 1.0 if area == 1.0 else float(brentq(distance, inside, 1 - 1e-12))
    return low, high


def _ordered_pairs(
    positive: NDArray[np.bool_], score: NDArray[np.float64], fold: NDArray[np.generic]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the order of each pair (positives, negatives), 1, 0.5 or 0, and which pairs count."""
    difference = score[positive][:, None] - score[~positive][None, :]
    valid = (fold[positive][:, None] == fold[~positive][None, :]).astype(float)
    return (0.5 * (np.sign(difference) + 1)) * valid, valid


def bootstrap_weights(true: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.float64]:
    """Draw bootstrap resamples within class: how often each participant is drawn, (resamples, n)."""
    weights = np.zeros((RESAMPLES, len(true)))
    for index in np.unique(true):
        rows = np.flatnonzero(true == index)
        weights[:, rows] = random.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), RESAMPLES)
    return weights


def check_consistency(row: dict[str, Any], counts: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """Return the row after checking that its scores are consistent with the counts."""
    n = sum(members for _, members in counts)
    shares = [right / members for right, members in counts]
    fits = row["n"] == n and math.isclose(row["balanced_accuracy"], sum(shares) / len(shares))
    fits &= math.isclose(row["accuracy"] * n, sum(right for right, _ in counts), abs_tol=1e-9)
    if len(counts) == 2:
        fits &= math.isclose(row["balanced_accuracy"], (row["sensitivity"] + row["specificity"]) / 2)
        weighted = row["specificity"] * counts[0][1] + row["sensitivity"] * counts[1][1]
        fits &= math.isclose(row["accuracy"] * n, weighted, abs_tol=1e-9)
    if not fits:
        raise AssertionError(f"scores contradict each other: {row}, counts {counts}")
    return row


def class_codes(predictions: pd.DataFrame, classes: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the codes of the true and predicted classes, (participants,) each, of one cell and repeat."""
    participants = average_sessions(predictions, classes)
    true, predicted = (
        np.array([list(classes).index(name) for name in participants[column]]) for column in ("true", "predicted")
    )
    return true, predicted


def _with_bounds(name: str, value: float, bounds: Bounds) -> dict[str, float]:
    return {name: value, f"{name}_low": bounds[0], f"{name}_high": bounds[1]}


def _seed(seed: int, cell: str, repeat: str) -> int:
    return int.from_bytes(hashlib.sha256(f"scores {seed} {cell} {repeat}".encode()).digest()[:8], "little")
