"""Calibration measures compared with scikit-learn and statsmodels, and on known probabilities."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.special import expit, logit
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss

from bids_app.training import calibration, scores


def people(n=200, *, spread=1.5, sharper=1.0, seed=0):
    """Classes drawn with known probabilities, half in each class; predictions are `sharper` in log odds."""
    random = np.random.default_rng(seed)
    true, told = [], []
    for one in (0, 1):
        # rejection: who is of class 1 has the density of the log odds times expit of them
        odds = random.normal(0, spread, 40 * n)
        kept = odds[random.random(len(odds)) < (expit(odds) if one else expit(-odds))][: n // 2]
        true += [one] * len(kept)
        told += (sharper * kept).tolist()
    p = expit(np.array(told))
    return np.array(true), np.column_stack([1 - p, p])


def measured(true, probability):
    return calibration.score_probabilities(true, probability, scores.bootstrap_weights(true, np.random.default_rng(0)))


def test_each_measure_matches_scikit_learn_or_statsmodels():
    true, probability = people()
    result = {name: value for name, (value, _) in measured(true, probability).items()}
    odds, weights = logit(probability[:, 1]), np.where(true == 1, (true == 0).mean(), (true == 1).mean())
    fitted = sm.GLM(true, sm.add_constant(odds), sm.families.Binomial(), freq_weights=weights).fit()
    alone = sm.GLM(true, np.ones(len(true)), sm.families.Binomial(), freq_weights=weights, offset=odds).fit()
    expected = {
        "brier": brier_score_loss(true, probability[:, 1]),
        "log_loss": log_loss(true, probability),
        "auprc": average_precision_score(true, probability[:, 1]),
        "calibration_slope": fitted.params[1],
        "calibration_intercept": alone.params[0],
    }
    assert result == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("sharper", "slope"), [(1.0, 1.0), (2.0, 0.5), (0.5, 2.0)])
def test_calibration_slope_recovers_a_known_overconfidence(sharper, slope):
    inside = {"calibration_slope": 0, "calibration_intercept": 0}
    for seed in range(20):
        result = measured(*people(sharper=sharper, seed=seed))
        for name, true in (("calibration_slope", slope), ("calibration_intercept", 0.0)):
            _, (low, high) = result[name]
            inside[name] += low <= true <= high
    # a 95 % interval of 20 draws misses more than four times in 1 of 400
    assert min(inside.values()) >= 16, inside


def test_calibration_slope_is_zero_without_signal_and_infinite_for_separated_classes():
    true, probability = people()
    inside = 0
    for seed in range(20):
        shuffled = np.random.default_rng(seed).permutation(probability)
        low, high = measured(true, shuffled)["calibration_slope"][1]
        inside += low < 0 < high
    assert inside >= 16
    parted = measured(true, np.column_stack([1 - true, true]) * 0.8 + 0.1)
    assert parted["calibration_slope"][0] == np.inf
    assert np.isnan(parted["calibration_slope"][1]).all()


def test_multiclass_auprc_averages_one_vs_rest_and_no_slope_is_given():
    random = np.random.default_rng(0)
    true, probability = np.arange(90) % 3, random.dirichlet(np.ones(3), 90)
    result = measured(true, probability)
    assert result["auprc"][0] == pytest.approx(
        np.mean([average_precision_score(true == one, probability[:, one]) for one in range(3)])
    )
    assert result["log_loss"][0] == pytest.approx(log_loss(true, probability))
    assert result["brier"][0] == pytest.approx(((probability - np.eye(3)[true]) ** 2).sum(axis=1).mean() / 2)
    assert "calibration_slope" not in result


def test_inconsistent_scores_are_refused():
    row = {"n": 4, "balanced_accuracy": 0.75, "accuracy": 0.75, "sensitivity": 0.5, "specificity": 1.0}
    assert scores.check_consistency(row, [(2, 2), (1, 2)]) is row
    for name in row:
        with pytest.raises(AssertionError, match="contradict"):
            scores.check_consistency(row | {name: row[name] + 0.25}, [(2, 2), (1, 2)])
