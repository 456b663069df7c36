"""Scores against slow loops and peers, and verdicts that follow from their numbers."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from bids_app.errors import DataError
from bids_app.evaluation import verdict
from bids_app.training import scores

CLASSES = ("control", "patient")


def predictions(people=40, effect=1.0, *, folds=4, seed=0, classes=CLASSES, repeats=1):
    random = np.random.default_rng(seed)
    parts = []
    for repeat in range(repeats):
        true = np.arange(people) % len(classes)
        logits = random.normal(size=(people, len(classes))) + effect * np.eye(len(classes))[true]
        probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        part = pd.DataFrame(
            {"participant_id": [f"p{row}" for row in range(people)], "session_id": "n/a", "cell": "svm/gm"}
        )
        part["repeat"], part["fold"] = repeat, np.arange(people) // len(classes) % folds
        part["true"], part["predicted"] = np.array(classes)[true], np.array(classes)[probability.argmax(axis=1)]
        parts.append(part.assign(**{f"probability_{name}": probability[:, i] for i, name in enumerate(classes)}))
    return pd.concat(parts, ignore_index=True)


class TestAuroc:
    def test_it_is_the_share_of_ordered_pairs_within_folds(self):
        random = np.random.default_rng(0)
        positive, fold = random.random(60) > 0.6, random.integers(0, 5, 60)
        score = random.integers(0, 6, 60) / 5  # with ties
        right, pairs = 0.0, 0
        for i in range(60):
            for j in range(60):
                if positive[i] and not positive[j] and fold[i] == fold[j]:
                    pairs += 1
                    right += 1.0 if score[i] > score[j] else 0.5 if score[i] == score[j] else 0.0
        assert scores.auroc(positive, score, fold) == pytest.approx(right / pairs, abs=1e-12)

    def test_it_equals_scikit_learn_in_a_single_fold(self):
        random = np.random.default_rng(1)
        positive, score = random.random(80) > 0.5, random.integers(0, 20, 80).astype(float)
        assert scores.auroc(positive, score, np.zeros(80)) == pytest.approx(roc_auc_score(positive, score), abs=1e-12)

    def test_a_model_that_scores_everybody_higher_does_not_matter(self):
        random = np.random.default_rng(2)
        positive, fold, score = random.random(60) > 0.5, np.arange(60) % 3, random.random(60)
        assert scores.auroc(positive, score + 10 * fold, fold) == scores.auroc(positive, score, fold)

    def test_several_classes_are_each_told_from_the_rest(self):
        classes = ("a", "b", "c")
        table = predictions(45, classes=classes, folds=1)
        columns = table[[f"probability_{name}" for name in classes]].to_numpy()
        expected = roc_auc_score(table["true"], columns, multi_class="ovr", average="macro", labels=list(classes))
        row = scores.table(table, classes).iloc[0]
        assert row["auroc"] == pytest.approx(expected, abs=1e-12)
        assert "sensitivity" not in row

    def test_the_bootstrap_draws_each_class_at_its_own_size(self):
        true = np.array([0] * 12 + [1] * 7)
        probability = np.random.default_rng(3).random((19, 2))
        area, (low, high) = scores.auroc_interval(true, probability, np.zeros(19), seed=5)
        random = np.random.default_rng(9)
        drawn = []
        for _ in range(1000):
            rows = np.r_[random.choice(12, 12), 12 + random.choice(7, 7)]
            drawn.append(roc_auc_score(true[rows], probability[rows, 1]))
        np.testing.assert_allclose((low, high), np.percentile(drawn, [2.5, 97.5]), atol=0.03)
        assert low < area < high

    def test_six_people_ranked_right_do_not_make_it_certain(self):
        true = np.array([0, 0, 0, 1, 1, 1])
        area, (low, high) = scores.auroc_interval(
            true, np.column_stack([1 - true, true]).astype(float), np.zeros(6), seed=0
        )
        assert area == high == 1.0
        assert 0.3 < low < 0.8

    def test_newcombes_bounds_solve_his_equation(self):
        area, m, n = 0.8, 15, 25
        for theta in scores.newcombe(area, m, n):
            spread = 1 + ((m + n) / 2 - 1) * ((1 - theta) / (2 - theta) + theta / (1 + theta))
            assert abs(area - theta) == pytest.approx(
                1.959964 * np.sqrt(theta * (1 - theta) * spread / (m * n)), abs=1e-6
            )


class TestBalancedAccuracy:
    @pytest.mark.parametrize(("right", "n"), [(0, 7), (3, 7), (7, 7), (50, 90)])
    def test_wilson_agrees_with_statsmodels(self, right, n):
        np.testing.assert_allclose(scores.wilson(right, n), proportion_confint(right, n, method="wilson"), atol=1e-12)

    def test_it_agrees_with_scikit_learn_and_lies_in_its_interval(self):
        table = predictions(41, effect=0.6)
        row = scores.table(table, CLASSES).iloc[0]
        assert row["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(table["true"], table["predicted"]))
        assert row["balanced_accuracy"] == pytest.approx((row["sensitivity"] + row["specificity"]) / 2)
        assert row["balanced_accuracy_low"] < row["balanced_accuracy"] < row["balanced_accuracy_high"]

    def test_a_perfect_score_of_few_people_is_not_certain(self):
        mean, (low, high) = scores.balanced([(4, 4), (4, 4)])
        assert mean == high == 1.0
        # each Wilson bound is 4 / (4 + z^2) = 0.51; the mean of two falls short by 1 / sqrt(2) of that
        assert low == pytest.approx(1 - (1 - 4 / (4 + 1.959964**2)) / np.sqrt(2), abs=1e-6)

    def test_the_interval_covers_the_truth_about_as_often_as_it_says(self):
        random = np.random.default_rng(0)
        covered = 0
        for first, second in zip(random.binomial(20, 0.85, 2000), random.binomial(12, 0.65, 2000), strict=True):
            low, high = scores.balanced([(int(first), 20), (int(second), 12)])[1]
            covered += low <= 0.75 <= high
        assert 0.93 <= covered / 2000 <= 0.99


class TestTable:
    def test_every_cell_and_repeat_has_a_row_that_the_seed_decides(self):
        both = pd.concat([predictions(repeats=2), predictions(repeats=2, seed=1).assign(cell="cnn3d/gm")])
        table = scores.table(both, CLASSES, seed=3)
        assert table[["cell", "repeat"]].to_numpy().tolist() == [[c, r] for c in ("svm/gm", "cnn3d/gm") for r in (0, 1)]
        pd.testing.assert_frame_equal(table, scores.table(both, CLASSES, seed=3))
        # a cell's interval does not depend on which other cells there are
        alone = scores.table(both[both["cell"] == "cnn3d/gm"], CLASSES, seed=3)
        pd.testing.assert_frame_equal(alone, table.iloc[2:].reset_index(drop=True))

    def test_a_person_with_three_sessions_is_one_person(self):
        once = predictions(20)
        thrice = pd.concat([once.assign(session_id=session) for session in "123"])
        pd.testing.assert_frame_equal(scores.table(thrice, CLASSES), scores.table(once, CLASSES))

    def test_sensitivity_is_of_the_second_class(self):
        table = predictions(20).assign(predicted="patient")
        row = scores.table(table, CLASSES).iloc[0]
        assert (row["sensitivity"], row["specificity"], row["balanced_accuracy"]) == (1.0, 0.0, 0.5)

    def test_a_class_that_nobody_has_is_told(self):
        table = predictions(20)
        with pytest.raises(DataError, match="nobody of class patient"):
            scores.table(table[table["true"] == "control"], CLASSES)


class TestVerdict:
    def test_a_strong_effect_is_claimed_with_its_numbers_and_what_was_not_tested(self):
        table = scores.table(predictions(60, effect=3), CLASSES)
        claim, text = verdict.sentence(table, CLASSES)
        assert claim
        assert text.startswith("svm on gm told patient from control better than chance")
        assert f"{table['balanced_accuracy'][0]:.2f} (95 % interval {table['balanced_accuracy_low'][0]:.2f}" in text
        assert "60 people" in text
        assert "was not tested" in text

    def test_no_effect_is_not_claimed(self):
        claims = [
            verdict.sentence(scores.table(predictions(40, 0, seed=seed), CLASSES), CLASSES) for seed in range(100)
        ]
        # both intervals must lie above chance: one side of 5 %, and less for demanding two
        assert sum(claim for claim, _ in claims) <= 6
        assert all("not distinguishable from chance" in text for claim, text in claims if not claim)

    def test_a_perfect_score_of_six_people_is_not_claimed_where_its_interval_meets_chance(self):
        row = {"cell": "svm/gm", "repeat": 0, "n": 4} | scores._named(
            "balanced_accuracy", *scores.balanced([(2, 2), (2, 2)])
        )
        table = pd.DataFrame([row | scores._named("auroc", 1.0, scores.newcombe(1.0, 2, 2))])
        assert not verdict.sentence(table, CLASSES)[0]

    def test_every_repeat_must_hold(self):
        table = scores.table(predictions(60, effect=3, repeats=3), CLASSES)
        assert verdict.sentence(table, CLASSES)[0]
        table.loc[1, "balanced_accuracy_low"] = 0.45
        claim, text = verdict.sentence(table, CLASSES)
        assert not claim
        assert "lowest of 3 repeats, of which 2 lie above chance" in text

    def test_chance_is_one_in_the_number_of_classes(self):
        classes = ("a", "b", "c")
        claim, text = verdict.sentence(scores.table(predictions(90, 2, classes=classes), classes), classes)
        assert claim
        assert "told a, b and c apart better than chance" in text
        assert "chance 0.33" in text

    def test_the_words_say_what_was_measured(self):
        for effect in (0, 3):
            text = verdict.sentence(scores.table(predictions(60, effect), CLASSES), CLASSES)[1]
            assert not any(word in text for word in ("disease", "diagnos", "significant", "affected", "damage"))
