"""Scores compared with slow loops and other packages, and verdicts that follow from the scores."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import fisher_exact, kruskal, ttest_1samp
from scipy.stats import t as student
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.tree import DecisionTreeClassifier
from statsmodels.stats.proportion import proportion_confint

from bids_app.classifiers import svm
from bids_app.dataset import folds
from bids_app.errors import DataError
from bids_app.evaluation import audit, baselines, compare, permutation, sites, verdict
from bids_app.planning import cohort
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


def drawn_people(true):
    return scores.bootstrap_weights(true, np.random.default_rng(0))


class TestAuroc:
    def test_auroc_is_the_proportion_of_concordant_pairs_within_folds(self):
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

    def test_auroc_matches_scikit_learn_in_a_single_fold(self):
        random = np.random.default_rng(1)
        positive, score = random.random(80) > 0.5, random.integers(0, 20, 80).astype(float)
        assert scores.auroc(positive, score, np.zeros(80)) == pytest.approx(roc_auc_score(positive, score), abs=1e-12)

    def test_auroc_ignores_score_offsets_between_folds(self):
        random = np.random.default_rng(2)
        positive, fold, score = random.random(60) > 0.5, np.arange(60) % 3, random.random(60)
        assert scores.auroc(positive, score + 10 * fold, fold) == scores.auroc(positive, score, fold)

    def test_multiclass_auroc_is_macro_averaged_one_vs_rest(self):
        classes = ("a", "b", "c")
        table = predictions(45, classes=classes, folds=1)
        columns = table[[f"probability_{name}" for name in classes]].to_numpy()
        expected = roc_auc_score(table["true"], columns, multi_class="ovr", average="macro", labels=list(classes))
        row = scores.score_table(table, classes).iloc[0]
        assert row["auroc"] == pytest.approx(expected, abs=1e-12)
        assert "sensitivity" not in row

    def test_bootstrap_resamples_within_each_class(self):
        true = np.array([0] * 12 + [1] * 7)
        probability = np.random.default_rng(3).random((19, 2))
        area, (low, high) = scores.auroc_interval(true, probability, np.zeros(19), weights=drawn_people(true))
        random = np.random.default_rng(9)
        drawn = []
        for _ in range(1000):
            rows = np.r_[random.choice(12, 12), 12 + random.choice(7, 7)]
            drawn.append(roc_auc_score(true[rows], probability[rows, 1]))
        np.testing.assert_allclose((low, high), np.percentile(drawn, [2.5, 97.5]), atol=0.03)
        assert low < area < high

    def test_interval_of_a_perfect_auroc_in_six_participants_is_wide(self):
        true = np.array([0, 0, 0, 1, 1, 1])
        area, (low, high) = scores.auroc_interval(
            true, np.column_stack([1 - true, true]).astype(float), np.zeros(6), weights=drawn_people(true)
        )
        assert area == high == 1.0
        assert 0.3 < low < 0.8

    def test_newcombe_bounds_solve_the_newcombe_equation(self):
        area, m, n = 0.8, 15, 25
        for theta in scores.newcombe_interval(area, m, n):
            spread = 1 + ((m + n) / 2 - 1) * ((1 - theta) / (2 - theta) + theta / (1 + theta))
            assert abs(area - theta) == pytest.approx(
                1.959964 * np.sqrt(theta * (1 - theta) * spread / (m * n)), abs=1e-6
            )


class TestBalancedAccuracy:
    @pytest.mark.parametrize(("right", "n"), [(0, 7), (3, 7), (7, 7), (50, 90)])
    def test_wilson_agrees_with_statsmodels(self, right, n):
        np.testing.assert_allclose(
            scores.wilson_interval(right, n), proportion_confint(right, n, method="wilson"), atol=1e-12
        )

    def test_balanced_accuracy_matches_scikit_learn_and_lies_within_the_interval(self):
        table = predictions(41, effect=0.6)
        row = scores.score_table(table, CLASSES).iloc[0]
        assert row["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(table["true"], table["predicted"]))
        assert row["balanced_accuracy"] == pytest.approx((row["sensitivity"] + row["specificity"]) / 2)
        assert row["balanced_accuracy_low"] < row["balanced_accuracy"] < row["balanced_accuracy_high"]

    def test_interval_of_a_perfect_score_in_few_participants_is_wide(self):
        mean, (low, high) = scores.balanced_accuracy_interval([(4, 4), (4, 4)])
        assert mean == high == 1.0
        # each Wilson bound is 4 / (4 + z^2) = 0.51; the mean of two falls short by 1 / sqrt(2) of that
        assert low == pytest.approx(1 - (1 - 4 / (4 + 1.959964**2)) / np.sqrt(2), abs=1e-6)

    def test_interval_has_about_nominal_coverage(self):
        random = np.random.default_rng(0)
        covered = 0
        for first, second in zip(random.binomial(20, 0.85, 2000), random.binomial(12, 0.65, 2000), strict=True):
            low, high = scores.balanced_accuracy_interval([(int(first), 20), (int(second), 12)])[1]
            covered += low <= 0.75 <= high
        assert 0.93 <= covered / 2000 <= 0.99


class TestTable:
    def test_every_model_and_repeat_has_a_reproducible_row(self):
        both = pd.concat([predictions(repeats=2), predictions(repeats=2, seed=1).assign(cell="cnn3d/gm")])
        table = scores.score_table(both, CLASSES, seed=3)
        assert table[["cell", "repeat"]].to_numpy().tolist() == [[c, r] for c in ("svm/gm", "cnn3d/gm") for r in (0, 1)]
        pd.testing.assert_frame_equal(table, scores.score_table(both, CLASSES, seed=3))
        # a cell's interval does not depend on which other cells there are
        alone = scores.score_table(both[both["cell"] == "cnn3d/gm"], CLASSES, seed=3)
        pd.testing.assert_frame_equal(alone, table.iloc[2:].reset_index(drop=True))

    def test_three_sessions_count_as_one_participant(self):
        once = predictions(20)
        thrice = pd.concat([once.assign(session_id=session) for session in "123"])
        pd.testing.assert_frame_equal(scores.score_table(thrice, CLASSES), scores.score_table(once, CLASSES))

    def test_sensitivity_refers_to_the_second_class(self):
        table = predictions(20).assign(predicted="patient")
        row = scores.score_table(table, CLASSES).iloc[0]
        assert (row["sensitivity"], row["specificity"], row["balanced_accuracy"]) == (1.0, 0.0, 0.5)

    def test_empty_class_is_refused_by_name(self):
        table = predictions(20)
        with pytest.raises(DataError, match="no participant of class patient"):
            scores.score_table(table[table["true"] == "control"], CLASSES)


CHANCE = {"permutations": 1000, "p": 0.004, "p_max": 0.004, "p_corrected": 0.004, "critical_score": 0.64}
BEATEN = {"age and sex": (0.3, (0.1, 0.5)), "brain size": (0.25, (0.02, 0.4))}


def judge(*, effect=3.0, chance=None, rivals=None, unknown=(), classes=CLASSES, repeats=1):
    table = scores.score_table(predictions(60, effect, classes=classes, repeats=repeats), classes)
    told = verdict.judge_model(
        table, classes, chance=CHANCE | (chance or {}), rivals=BEATEN if rivals is None else rivals, unknown=unknown
    )
    return told, table


@pytest.mark.parametrize(
    ("p", "text"), [(1 / 1001, "p = 0.001"), (0.32, "p = 0.32"), (1, "p = 1"), (4e-4, "p < 0.001")]
)
def test_p_values_have_three_decimals(p, text):
    assert verdict.format_p(p) == text


class TestVerdict:
    def test_model_above_chance_and_every_baseline_is_a_claim_with_numbers(self):
        judgement, table = judge()
        assert judgement.claim
        assert judgement.text.startswith(
            "svm on gm distinguished patient from control above chance and better than age and sex"
        )
        assert (
            f"{table['balanced_accuracy'][0]:.2f} (95 % interval {table['balanced_accuracy_low'][0]:.2f}"
            in judgement.text
        )
        assert "p = 0.004 (1000 permutations)" in judgement.text
        assert "In 60 participants, " in judgement.text

    @pytest.mark.parametrize(
        ("given", "kind", "says"),
        [
            (
                {"chance": {"permutations": 18, "p_corrected": np.nan}},
                "unjudged",
                "only 18 distinct permutations are available; at least 19 are required",
            ),
            (
                {"chance": {"p_corrected": 0.051}},
                "chance",
                "svm on gm did not distinguish patient from control above chance",
            ),
            ({"unknown": ["motion is unknown"]}, "unjudged", "cannot be judged, because motion is unknown"),
            ({"rivals": BEATEN | {"site": (0.1, (0.0, 0.2))}}, "no better", "better than site alone (difference"),
        ],
    )
    def test_each_rule_against_a_claim_states_the_reason(self, given, kind, says):
        judgement, _ = judge(**given)
        assert (judgement.kind, judgement.claim) == (kind, False)
        assert says in judgement.text
        assert judgement.text.endswith("Its heatmaps should not be interpreted.")

    def test_score_below_chance_is_not_a_claim_even_with_a_small_p_value(self):
        judgement, _ = judge(effect=-1.0, chance={"p_corrected": 0.01, "critical_score": 0.31})
        assert judgement.kind == "chance"

    def test_first_applicable_rule_determines_the_verdict(self):
        chance = {"p_corrected": 0.2}
        assert judge(chance=chance, unknown=["the site is unknown"])[0].kind == "chance"
        bad = {"site": (-0.1, (-0.2, 0.1))}
        assert judge(unknown=["the site is unknown"], rivals=bad)[0].kind == "unjudged"
        assert judge(chance=chance | {"permutations": 3}, rivals=bad)[0].kind == "unjudged"

    def test_first_repeat_is_judged_and_the_range_of_all_reported(self):
        judgement, table = judge(repeats=3)
        every = table["balanced_accuracy"]
        assert f"first of 3 repeats, which range from {every.min():.2f} to {every.max():.2f}" in judgement.text
        assert f"balanced accuracy was {every[0]:.2f}" in judgement.text

    def test_chance_level_is_one_over_the_number_of_classes(self):
        judgement, _ = judge(classes=("a", "b", "c"))
        assert "distinguished a, b and c above chance" in judgement.text
        assert "chance 0.33" in judgement.text

    def test_verdict_text_makes_no_clinical_claims(self):
        for given in ({}, {"chance": {"p_corrected": 0.5}}, {"unknown": ["age is unknown"]}):
            text = judge(**given)[0].text
            assert not any(word in text for word in ("disease", "diagnos", "significant", "affected", "damage"))


class TestCompare:
    def test_difference_in_balanced_accuracy_has_a_paired_bootstrap_interval(self):
        one, other = (scores.average_sessions(predictions(50, effect, seed=3), CLASSES) for effect in (2.0, 0.5))
        middle, (low, high) = compare.bootstrap_difference(one, other, seed=0)
        apart = [balanced_accuracy_score(each["true"], each["predicted"]) for each in (one, other)]
        assert middle == pytest.approx(apart[0] - apart[1])
        random, drawn = np.random.default_rng(5), []
        for _ in range(1000):
            rows = np.concatenate([random.choice(np.flatnonzero(one["true"] == name), 25) for name in CLASSES])
            each = [balanced_accuracy_score(x["true"].iloc[rows], x["predicted"].iloc[rows]) for x in (one, other)]
            drawn.append(each[0] - each[1])
        np.testing.assert_allclose((low, high), np.percentile(drawn, [2.5, 97.5]), atol=0.03)
        assert compare.bootstrap_difference(one, one, seed=0) == (0.0, (0.0, 0.0))

    def test_corrected_resampled_t_inflates_the_variance_of_the_plain_t(self):
        differences = np.random.default_rng(0).normal(0.1, 0.1, 30)
        plain = ttest_1samp(differences, 0).statistic
        t, p = compare.corrected_resampled_t(differences, train=90, test=10)
        assert t == pytest.approx(plain / np.sqrt(1 + 30 / 9))
        assert p == pytest.approx(2 * student.sf(t, 29))
        assert np.isnan(compare.corrected_resampled_t(differences[:1], train=9, test=1)[0])
        assert compare.corrected_resampled_t(np.zeros(5), train=9, test=1) == (0.0, 1.0)

    def test_models_are_compared_over_folds_that_hold_out_every_class(self):
        one, other = predictions(40, 2.0, repeats=2), predictions(40, 0.0, seed=9, repeats=2).assign(cell="cnn3d/gm")
        one.loc[(one["repeat"] == 1) & (one["fold"] == 2), "true"] = "patient"
        (row,) = compare.compare_pairs(pd.concat([one, other]), train=30, test=10).to_dict("records")
        differences = [
            balanced_accuracy_score(a["true"], a["predicted"]) - balanced_accuracy_score(b["true"], b["predicted"])
            for (_, a), (_, b) in zip(one.groupby(["repeat", "fold"]), other.groupby(["repeat", "fold"]), strict=True)
            if a["true"].nunique() == 2
        ]
        assert (row["cell"], row["other"], row["folds"]) == ("svm/gm", "cnn3d/gm", 7)
        assert row["difference"] == pytest.approx(np.mean(differences))
        assert (row["t"], row["p"]) == compare.corrected_resampled_t(np.array(differences).round(12), train=30, test=10)

    def test_rounding_error_is_not_a_difference(self):
        """0.7 - 0.4 and 0.1 - 0.4 are not quite 0.3 and -0.3."""
        assert compare.corrected_resampled_t(np.array([0.7 - 0.4, 0.1 - 0.4]), train=9, test=1) == (0.0, 1.0)


def people(n=60, seed=0):
    random = np.random.default_rng(seed)
    table = pd.DataFrame({"participant_id": [f"{row:02}" for row in range(n)], "session_id": "n/a"})
    table["class"] = [CLASSES[row % 2] for row in range(n)]
    patient = table["class"] == "patient"
    table["age"] = random.normal(40, 5, n) + 10 * patient
    table["sex"] = np.where(random.random(n) < 0.5, "F", "M")
    table["site"] = np.where(random.random(n) < 0.5, "A", "B")
    table["tiv"], table["mean_fd"], table["used"] = 1500.0, np.nan, True
    return table


class TestBaselines:
    def test_baselines_beat_chance_only_for_variables_that_differ_between_classes(self):
        table = people()
        splits = folds.stratified_folds(table["class"].tolist(), table["participant_id"].tolist(), folds=5)
        told = baselines.predict_baselines(table, splits, CLASSES)
        assert sorted(told["cell"].unique()) == ["age and sex", "brain size", "site"]
        rows = scores.score_table(told, CLASSES).set_index("cell")
        assert rows.loc["age and sex", "balanced_accuracy"] > 0.75
        assert abs(rows.loc["site", "balanced_accuracy"] - 0.5) < 0.2
        assert rows.loc["brain size", "balanced_accuracy"] == 0.5
        assert (told.groupby("cell")["participant_id"].nunique() == 60).all()

    def test_baseline_predictions_do_not_depend_on_other_held_out_participants(self):
        table = people()
        splits = folds.stratified_folds(table["class"].tolist(), table["participant_id"].tolist(), folds=5)[:1]
        first = baselines.predict_baselines(table, splits, CLASSES)
        table.loc[list(splits[0].test)[1:], ["age", "tiv"]] = 1e6
        second = baselines.predict_baselines(table, splits, CLASSES)
        assert first.groupby("cell").head(1).equals(second.groupby("cell").head(1))

    def test_missing_value_is_treated_as_a_category(self):
        table = people()
        table["age"] = np.where(table["class"] == "patient", np.nan, 40.0)
        splits = folds.stratified_folds(table["class"].tolist(), table["participant_id"].tolist(), folds=5)
        told = baselines.predict_baselines(table, splits, CLASSES)
        assert scores.score_table(told, CLASSES).set_index("cell").loc["age and sex", "balanced_accuracy"] == 1.0

    @pytest.mark.parametrize(
        ("label", "left", "sentences"),
        [
            ("sex", {"site", "brain size"}, ["The baseline 'age and sex' was excluded because sex is what"]),
            ("site", {"age and sex", "brain size"}, ["The baseline 'site' was excluded because site is what"]),
            (None, {"age and sex", "site", "brain size"}, []),
        ],
    )
    def test_baseline_containing_the_label_is_omitted(self, label, left, sentences):
        table = people()
        splits = folds.stratified_folds(table["class"].tolist(), table["participant_id"].tolist(), folds=2)
        assert set(baselines.predict_baselines(table, splits, CLASSES, label=label)["cell"]) == left
        assert set(baselines.available_baselines(table, label=label)) == left
        assert baselines.describe_omitted(label) == [f"{one} the classifiers predict." for one in sentences]


class TestAudit:
    def test_each_row_reports_the_named_statistical_test(self):
        table = people()
        rows = {row["what"]: row for row in audit.audit_classes(table, table, CLASSES)}
        assert set(rows) == {"site", "sex", "age", "brain size (TIV)"}
        counts = pd.crosstab(table["sex"], table["class"]).to_numpy()
        assert rows["sex"]["p"] == pytest.approx(fisher_exact(counts).pvalue)
        ages = [table.loc[table["class"] == name, "age"] for name in CLASSES]
        assert rows["age"]["p"] == pytest.approx(kruskal(*ages).pvalue)
        assert rows["age"]["uneven"]
        assert rows["age"]["by_class"]["patient"]["mean"] == pytest.approx(ages[1].mean())
        assert rows["brain size (TIV)"]["test"] == "none (one value)"
        assert not rows["brain size (TIV)"]["uneven"]

    def test_exclusions_are_compared_between_classes(self):
        everyone = people()
        everyone.loc[everyone["class"] == "patient", "used"] = np.arange(30) < 15
        used = everyone[everyone["used"]]
        (row,) = (row for row in audit.audit_classes(used, everyone, CLASSES) if row["what"] == "exclusion")
        assert row["uneven"]
        assert row["by_class"]["patient"] == {"excluded": 15, "included": 15}

    def test_class_confined_to_one_of_two_sites_is_named(self):
        table = people()
        assert audit.list_single_site_classes(table, CLASSES) == []
        table["site"] = np.where(table["class"] == "patient", "A", table["site"])
        assert audit.list_single_site_classes(table, CLASSES) == ["all participants of class patient are from site A"]
        assert audit.list_single_site_classes(table.assign(site="A"), CLASSES) == []

    def test_the_label_is_not_compared_with_itself(self):
        table = people().assign(**{"class": lambda own: own["site"]})
        assert len(audit.list_single_site_classes(table, ("A", "B"))) == 2
        assert audit.list_single_site_classes(table, ("A", "B"), label="site") == []
        without = [row["what"] for row in audit.audit_classes(table, table, ("A", "B"), label="site")]
        assert without == [
            row["what"] for row in audit.audit_classes(table, table, ("A", "B")) if row["what"] != "site"
        ]
        assert len(audit.list_single_site_classes(table, ("A", "B"), label="sex")) == 2


class TestSites:
    @staticmethod
    def study(shift):
        random = np.random.default_rng(0)
        site = np.array(["A", "B", "C"])[np.arange(60) % 3]
        place = np.array(["A", "B", "C"])[np.arange(40) % 3]  # every site shifts voxels of its own
        x = random.normal(size=(60, 40)).astype(np.float32) + shift * (site[:, None] == place)
        kernels = []
        for split in folds.stratified_folds([CLASSES[row % 2] for row in range(60)], folds=5):
            train, test = np.array(split.train), np.array(split.test)
            kernels.append(permutation.FoldKernel(svm.gram_matrix(x[train], x[test]), train, test))
        return kernels, site.tolist()

    def test_site_is_predictable_only_if_sites_shift_the_maps(self):
        result = [
            sites.site_prediction_score(*self.study(shift), decide=svm.decision_function)["balanced_accuracy"]
            for shift in (0.0, 2.0)
        ]
        assert abs(result[0] - 1 / 3) < 0.2
        assert result[1] > 0.9

    def test_site_absent_from_training_is_omitted(self):
        kernels, names = self.study(2.0)
        names = ["D" if row in kernels[0].test else name for row, name in enumerate(names)]
        result = sites.site_prediction_score(kernels, names, decide=svm.decision_function)
        assert result["sites"] == 3
        assert result["chance"] == pytest.approx(1 / 3)
        assert sites.site_prediction_score(kernels, ["A"] * 60, decide=svm.decision_function) == {}

    def test_accuracy_by_site_uses_the_participants_of_each_site(self):
        told = scores.average_sessions(predictions(40, 1.0), CLASSES)
        of = {person: "A" if row < 30 else "B" for row, person in enumerate(told["participant_id"])}
        told.loc[told["participant_id"].map(of) == "B", "true"] = "patient"
        first, second = sites.accuracy_by_site(told, of, CLASSES)
        part = told[told["participant_id"].map(of) == "A"]
        assert first["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(part["true"], part["predicted"]))
        assert (first["site"], first["people"]) == ("A", 30)
        assert (second["people"], second["balanced_accuracy"]) == (10, None)


@pytest.mark.parametrize("seed", range(5))
def test_a_covariate_predicts_the_class_as_a_decision_stump_of_scikit_learn_does(seed):
    random = np.random.default_rng(seed)
    classes = pd.Series(random.permutation(["a", "b"] * 15))
    numbers = pd.Series(random.normal(size=30) + 2 * classes.eq("a"))
    words = pd.Series(random.choice(["x", "y"], 30))
    for values, column in ((numbers, numbers), (words, words.eq("x").astype(float))):
        stump = DecisionTreeClassifier(max_depth=1, class_weight="balanced").fit(column.to_frame(), classes)
        best = max(
            balanced_accuracy_score(classes, stump.predict(column.to_frame())),
            *(  # the stump minimises impurity; every threshold is tried for the best accuracy
                max(score, 1 - score)
                for at in column
                for score in [balanced_accuracy_score(classes, np.where(column > at, "a", "b"))]
            ),
        )
        assert audit.predict_class_from_covariate(values, classes) == pytest.approx(best)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["MDD-1"] * 6 + ["HC-1"] * 6, "states the class"),
        (["7", "8", "9"] * 2 + ["1", "2", "3"] * 2, "states the class"),
        ([30 + number / 7 for number in range(6)] + [20 + number / 7 for number in range(6)], "states the class"),
        ([30.5, *range(31, 41), 20], ""),
        (["F", "M"] * 6, ""),
    ],
)
def test_a_covariate_that_states_the_class_is_refused(values, message):
    used = pd.DataFrame({"participant_id": range(12), "class": ["MDD"] * 6 + ["HC"] * 6, "score": values})
    if message:
        with pytest.raises(DataError, match=f"--covariates score {message}"):
            cohort.check_covariates(used, ("score",))
    else:
        cohort.check_covariates(used, ("score",))


def test_a_covariate_that_nearly_states_the_class_is_named(caplog):
    values = ["7"] * 19 + ["1"] * 21
    used = pd.DataFrame({"participant_id": range(40), "class": ["MDD"] * 20 + ["HC"] * 20, "score": values})
    cohort.check_covariates(used, ("score",))
    assert "score alone predicts the class with a balanced accuracy of 0.97" in caplog.text


def test_few_participants_may_be_separated_by_chance(caplog):
    used = pd.DataFrame({"participant_id": range(8), "class": ["a"] * 4 + ["b"] * 4, "age": range(8)})
    cohort.check_covariates(used, ("age",))
    assert "balanced accuracy of 1.00" in caplog.text
