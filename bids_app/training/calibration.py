"""Quality of probabilities: Brier score, log loss, precision, calibration; bootstrap intervals over participants."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

Floats = NDArray[np.float64]
Bounds = tuple[float, float]

MIN_PROBABILITY = 1e-6  # a probability of 0 would make a single participant's log loss infinite
MAX_ITER, TOLERANCE = 50, 1e-9
MAX_SLOPE = 20.0  # of a slope: beyond it the log odds separate the classes, and the slope diverges


def score_probabilities(
    true: NDArray[np.int64], probability: Floats, weights: Floats
) -> dict[str, tuple[float, Bounds]]:
    """Return each measure and its 95 % interval; true (n,), probability (n, classes), weights (resamples, n).

    brier: mean squared distance of the probability of the second class from 0 or 1; of several classes the sum over
    classes, halved, so that the two agree. log_loss: in nats. auprc: average precision of the second class, or the mean
    over classes of one against the rest; its chance level is the class's share of participants. calibration_slope and
    calibration_intercept (two classes; Cox 1958, Biometrika 45:562): the slope of a logistic regression of the class on
    the log odds, and the intercept of one with slope 1, with balanced classes, as in training; 1 and 0 are ideal, a
    slope below 1 is overconfidence; infinite where the log odds separate the classes.
    """
    clipped = probability.clip(MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    squares = ((probability - np.eye(probability.shape[1])[true]) ** 2).sum(axis=1) / 2
    losses = -np.log(clipped[np.arange(len(true)), true])
    scores = {"brier": _mean_with_interval(squares, weights), "log_loss": _mean_with_interval(losses, weights)}
    wanted = [1] if probability.shape[1] == 2 else list(range(probability.shape[1]))
    every = np.vstack([np.ones(len(true)), weights])
    areas = np.mean([_average_precision(true == label, probability[:, label], every) for label in wanted], axis=0)
    scores["auprc"] = (float(areas[0]), _interval(areas[1:]))
    if len(wanted) == 1:
        odds = logit(clipped[:, 1])
        equal = every * np.where(true == 1, (true == 0).mean(), (true == 1).mean())
        for name, values in zip(
            ("calibration_slope", "calibration_intercept"), _calibration(true, odds, equal), strict=True
        ):
            scores[name] = (float(values[0]), _interval(values[1:]))
    return scores


def _mean_with_interval(values: Floats, weights: Floats) -> tuple[float, Bounds]:
    return float(values.mean()), _interval(weights @ values / weights.sum(axis=1))


def _interval(resampled: Floats) -> Bounds:
    low, high = np.percentile(resampled, [2.5, 97.5], method="nearest").tolist()
    return (low, high) if math.isfinite(low) and math.isfinite(high) else (math.nan, math.nan)


def _average_precision(positive: NDArray[np.bool_], score: Floats, weights: Floats) -> Floats:
    """Return the average precision for each row of weights: the sum over thresholds of precision times recall gain."""
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))  # tied scores share a threshold
    hits = (weights * positive)[:, order].cumsum(axis=1)[:, last]
    predicted_positive = weights[:, order].cumsum(axis=1)[:, last]
    precision = np.divide(hits, predicted_positive, out=np.zeros_like(hits), where=predicted_positive > 0)
    areas: Floats = (np.diff(hits, axis=1, prepend=0) * precision).sum(axis=1) / hits[:, -1]
    return areas


def _calibration(true: NDArray[np.int64], odds: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Return slopes, and intercepts at slope 1, for each row of weights, by Newton's method on all rows at once."""
    both, alone = np.zeros((len(weights), 2)), np.zeros(len(weights))
    with np.errstate(all="ignore"):
        for _ in range(MAX_ITER):
            p = expit(both[:, :1] + both[:, 1:] * odds)
            wrong, sure = weights * (true - p), weights * p * (1 - p)
            a, b, c = sure.sum(axis=1), sure @ odds, sure @ odds**2
            g, h, determinant = wrong.sum(axis=1), wrong @ odds, a * c - b * b
            step = np.stack([(c * g - b * h) / determinant, (a * h - b * g) / determinant], axis=1).clip(-5, 5)
            p = expit(alone[:, None] + odds)
            shift = ((weights * (true - p)).sum(axis=1) / (weights * p * (1 - p)).sum(axis=1)).clip(-5, 5)
            both, alone = both + step, alone + shift
            if max(np.abs(step).max(), np.abs(shift).max()) < TOLERANCE:
                break
    slope = np.where(np.abs(both[:, 1]) < MAX_SLOPE, both[:, 1], math.inf)
    return slope, alone
