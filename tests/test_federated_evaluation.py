"""Scores, permutations, heatmaps and the audit from sums over sites equal the pooled level's own functions."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from small_sites import FOLDS, MAP, PEOPLE, STEPS, Study, make_study

from bids_app.classifiers import logistic
from bids_app.classifiers._slope import fit_slope
from bids_app.classifiers._voxel_grid import REGIONS, group_means
from bids_app.evaluation import audit
from bids_app.evaluation.permutation import balanced_accuracy
from bids_app.explainers import pattern, weights
from bids_app.federated.analysis import FederatedResult, analyse
from bids_app.federated.evaluation import audit_confounds
from bids_app.training import scores

SMALL = {**PEOPLE, "small": (9, 30)}  # too few controls to send scores


def run(study: Study, classifier: str, *, permutations: int = 0) -> FederatedResult:
    return analyse(
        study.transport,
        MAP,
        classifier,
        steps=STEPS,
        groups=study.groups,
        folds=range(1, FOLDS + 1),
        permutations=permutations,
    )


def pooled_decisions(study: Study) -> np.ndarray:
    """Out-of-fold decisions of the pooled level's logistic regression."""
    decision = np.empty(len(study.y))
    for fold in range(1, FOLDS + 1):
        x, rows, held_out = study.features(fold), study.training(fold), study.folds == fold
        kernels = logistic.gram_matrix(x[rows], x[held_out])
        decisions = logistic.decision_function(kernels, study.y[rows][None])[0]
        decision[held_out] = decisions[:, 1] - decisions[:, 0]
    return decision


def test_scores_calibration_and_heatmaps_equal_the_pooled_ones(tmp_path: Path):
    study = make_study(tmp_path)
    result, decision = run(study, "logistic"), pooled_decisions(study)
    assert result.scores["n"] == len(study.y)
    expected = balanced_accuracy(study.y, (decision > 0).astype(int), 2)
    assert result.scores["balanced_accuracy"] == pytest.approx(expected, abs=1e-12)
    site_and_fold = study.samples.sites * 100 + study.folds
    assert result.scores["auroc"] == pytest.approx(scores.auroc(study.y == 1, decision, site_and_fold), abs=1e-12)
    slope = fit_slope(np.column_stack([-decision, decision]) / 2, study.y)
    assert result.slope == pytest.approx(slope, rel=1e-3)

    x = study.features(0)
    model = logistic.build(1, 2, (x.shape[1],), voxel_mm=(3.0, 3.0, 3.0), seed=0)
    model.fit(x, study.y, seed=0)
    with torch.no_grad():  # the pooled slope is of other inner folds
        for tensor in (model.linear.weight, model.linear.bias):
            tensor *= result.slope / float(model.slope)
    for name, module in (("weights", weights), ("pattern", pattern)):
        expected_map = module.describe(model, x)
        assert np.abs(result.heatmaps[name] - expected_map).max() / np.abs(expected_map).max() < 1e-6, name


def test_scores_come_from_sites_with_ten_of_each_class(tmp_path: Path):
    study, without = make_study(tmp_path / "1", people=SMALL), make_study(tmp_path / "2")
    result = run(study, "logistic", permutations=0)
    assert set(result.scores["silent"]) == {"small"}
    assert result.scores["n"] == len(without.y)
    small = pd.read_csv(study.sites["small"].filter.file, sep="\t")
    answered = small[small["bytes"] > 0]["question"]
    assert "logistic_loss" in set(answered)
    assert not {"scores", "calibration_loss"} & set(answered)


def test_permuted_scores_are_those_of_models_trained_on_the_permuted_labels(tmp_path: Path):
    study = make_study(tmp_path, permutations=3)
    result = run(study, "regional", permutations=3)
    labellings = np.concatenate([site.labellings for site in study.sites.values()], axis=1)
    assert result.null.shape == (3,)
    for labelling, permuted in zip(labellings, result.null, strict=True):
        assert labelling.sum() == study.y.sum()
        relabelled = make_study(tmp_path / "again")
        start = 0
        for site in relabelled.sites.values():
            end = start + len(site.data.y)
            site.data.y[:] = labelling[start:end]
            start = end
        assert run(relabelled, "regional").scores["balanced_accuracy"] == pytest.approx(permuted, abs=1e-12)


def test_region_statistics_equal_t_tests_of_the_pooled_participants(tmp_path: Path):
    study = make_study(tmp_path, permutations=50)
    result = run(study, "regional", permutations=50)
    x = study.features(0)
    means = group_means(x, study.groups[REGIONS], np.zeros(x.shape[1]))
    labellings = np.concatenate([site.labellings for site in study.sites.values()], axis=1)
    t = [stats.ttest_ind(means[y == 1], means[y == 0]).statistic for y in (study.y, *labellings)]
    assert result.regions is not None
    assert np.allclose(result.regions.t, t[0], rtol=1e-6)
    assert np.allclose(result.regions.null, np.abs(t[1:]).max(axis=1), rtol=1e-6)
    assert np.allclose(result.regions.p, [(1 + (result.regions.null >= abs(value)).sum()) / 51 for value in t[0]])


def test_labellings_of_two_sites_with_the_same_data_differ(tmp_path: Path):
    sites = [make_study(tmp_path / name, permutations=20).sites["ams"] for name in ("1", "2")]
    assert (sites[0].data.y == sites[1].data.y).all()
    assert (sites[0].labellings != sites[1].labellings).any()


def test_the_audit_has_the_pooled_counts_means_and_tests(tmp_path: Path):
    study, classes = make_study(tmp_path), ("control", "patient")
    data = [site.data for site in study.sites.values()]
    people = pd.DataFrame(
        {
            "participant_id": [str(row) for row in range(len(study.y))],
            "class": [classes[label] for label in study.y],
            "site": [name for name, site in study.sites.items() for _ in site.data.y],
            "sex": [sex for part in data for sex in part.sex],
            "used": True,
            **{name: study.samples.covariates[name] for name in ("age", "mean_fd", "tiv")},
        }
    )
    pooled = {row["what"]: row for row in audit.audit_classes(people, people, classes)}
    rows = {row["what"]: row for row in audit_confounds(study.transport, classes, PEOPLE)}
    assert rows.keys() == pooled.keys()
    assert {name: rows[name] for name in ("site", "sex")} == {name: pooled[name] for name in ("site", "sex")}
    for column, what in audit.NUMBERS.items():
        if what not in rows:
            continue
        assert rows[what]["people"] == pooled[what]["people"]
        for name in classes:
            assert rows[what]["by_class"][name] == pytest.approx(pooled[what]["by_class"][name], rel=1e-9)
        groups = [people.loc[people["class"] == name, column].dropna() for name in classes]
        assert rows[what]["p"] == pytest.approx(stats.f_oneway(*groups).pvalue, rel=1e-9)
