"""Training by sums over sites equals the pooled level's own functions on the same participants."""

from pathlib import Path

import numpy as np
import pytest
from small_sites import FOLD, MAP, STEPS, VOXEL_MM, Study, make_grid, make_study, questions

from bids_app import catalogue
from bids_app.classifiers._evidence import average_hypotheses
from bids_app.classifiers._linear import GRAM, Linear
from bids_app.classifiers._voxel_grid import CUBES, group_means
from bids_app.dataset import combat
from bids_app.errors import DataError, UsageError
from bids_app.federated.analysis import count_classes
from bids_app.federated.linear import (
    LinearModel,
    check_classifier,
    fit_centre,
    fit_groups,
    fit_logistic,
    rotate_samples,
    to_voxels,
)
from bids_app.federated.pipeline import Steps, fit_steps


def relative(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference, in units of the largest value."""
    return float(np.abs(np.asarray(a, float) - b).max(initial=0) / np.abs(b).max(initial=1e-300))


def fit_federated(study: Study, classifier: str, *, fold: int = FOLD, steps: Steps = STEPS) -> LinearModel:
    """The federated model of a fold."""
    asked = questions(study, classifier, fold=fold)
    arrays = fit_steps(asked, steps)
    counts = count_classes(asked)
    scaling = {name: array for name, array in arrays.items() if name.startswith("scale.")}
    centre = fit_centre(asked, int(counts.sum()), scaling)
    if classifier == "logistic":
        return fit_logistic(asked, counts, centre)
    return to_voxels(fit_groups(asked, counts, centre, study.groups), study.groups, centre)


def fit_pooled(study: Study, classifier: str, *, fold: int = FOLD, steps: Steps = STEPS) -> Linear:
    """The pooled level's own classifier on its own features."""
    rows = study.training(fold)
    x = study.features(fold, steps=steps)[rows]
    model = catalogue.load("classifiers", classifier).build(1, 2, (x.shape[1],), voxel_mm=VOXEL_MM, seed=0)
    model.fit(x, study.y[rows], seed=0, voxel_grid=make_grid()[1])
    return model


def pooled_weight(model: Linear) -> np.ndarray:
    """The weight of the decision, before its slope, in float64."""
    weight = model.linear.weight.detach().double().numpy()
    return (weight[1] - weight[0]) / float(model.slope)


@pytest.mark.parametrize("steps", [STEPS, Steps(("age",), None), Steps((), ("tiv",)), Steps((), ())])
def test_steps_equal_the_pooled_pipeline(tmp_path: Path, steps: Steps):
    study = make_study(tmp_path, steps=steps)
    arrays = fit_steps(questions(study), steps)
    pooled = study.pipeline(FOLD, steps=steps)
    names = {f"{step}.{name}" for step in ("combat", "adjust", "scale") for name in pooled.step_arrays(step, MAP)}
    assert set(arrays) == names
    for name in sorted(names):
        step, _, key = name.partition(".")
        assert relative(arrays[name], np.asarray(pooled.step_arrays(step, MAP)[key], float) + 0) < 1e-6, name


def test_combat_with_a_constant_covariate_and_a_constant_voxel_equals_the_pooled_fit(tmp_path: Path):
    study = make_study(tmp_path, steps=Steps((), ("age", "tiv")))
    for site in study.sites.values():
        site.data.covariates["tiv"][:] = 1500.0
        site.data.values[MAP][:, 7] = 3.0
    x = np.concatenate([site.data.values[MAP] for site in study.sites.values()])
    rows = study.training(FOLD)
    keep = np.column_stack([study.samples.covariates["age"], np.full(len(x), 1500.0)])[rows]
    pooled = combat.fit(x[rows], study.samples.sites[rows], keep)
    arrays = fit_steps(questions(study), Steps((), ("age", "tiv")))
    for name, array in pooled.items():
        assert np.allclose(arrays[f"combat.{name}"], array, rtol=1e-6, atol=1e-6), name
    assert (np.asarray(pooled["slope"])[1] == 0).all()


def test_logistic_equals_the_pooled_classifier(tmp_path: Path):
    study = make_study(tmp_path)
    model, pooled = fit_federated(study, "logistic"), fit_pooled(study, "logistic")
    assert relative(model.weight, pooled_weight(pooled)) < 1e-6
    held_out = study.features(FOLD)[study.folds == FOLD]
    decision = (held_out - model.centre) @ model.weight + model.intercept
    part = catalogue.load("classifiers", "logistic")
    kernels = part.gram_matrix(study.features(FOLD)[study.training(FOLD)], held_out)
    expected = part.decision_function(kernels, study.y[study.training(FOLD)][None])[0]
    assert relative(decision, expected[:, 1] - expected[:, 0]) < 1e-6


@pytest.mark.parametrize("classifier", ["model_averaging", "regional", "single_effect"])
@pytest.mark.parametrize("effect", [0.0, 1.0])
def test_averaged_hypotheses_equal_the_pooled_classifier_where_cubes_are_flat(
    tmp_path: Path, classifier: str, effect: float
):
    study = make_study(tmp_path, flat_cubes=True, effect=effect)
    model, pooled = fit_federated(study, classifier), fit_pooled(study, classifier)
    assert relative(model.weight, pooled_weight(pooled)) < 1e-6
    bias = pooled.linear.bias.detach().double().numpy()
    assert model.intercept == pytest.approx((bias[1] - bias[0]) / float(pooled.slope), abs=1e-6)


@pytest.mark.parametrize("classifier", ["model_averaging", "regional", "single_effect"])
def test_averaged_hypotheses_equal_those_with_the_gram_matrix_of_cubes(tmp_path: Path, classifier: str):
    study = make_study(tmp_path)
    model, module = fit_federated(study, classifier), catalogue.load("classifiers", classifier)
    x, rows = study.features(FOLD), study.training(FOLD)
    means = {name: group_means(x, labels, x[rows].mean(axis=0, dtype=float)) for name, labels in study.groups.items()}
    weighted = means[CUBES][rows] * np.sqrt(np.bincount(study.groups[CUBES]))
    gram = weighted @ weighted.T
    size = np.diag(gram).mean()
    statistics = {GRAM: gram / size} | {name: means[name][rows] for name in module.SETS}
    solution = average_hypotheses(statistics, (study.y[rows] == 1)[None], prior=module.PRIOR)
    every = means[CUBES] * np.sqrt(np.bincount(study.groups[CUBES])) @ weighted.T
    expected = solution.decisions({GRAM: every / size, **{name: means[name] for name in module.SETS}})[0]
    assert relative((x - model.centre) @ model.weight + model.intercept, expected) < 1e-6


def test_more_participants_than_features_are_rotated_without_loss():
    random = np.random.default_rng(3)
    features = random.normal(size=(40, 6))
    features -= features.mean(axis=0)
    target = np.where(np.arange(40) < 15, 25 / 40, -15 / 40)
    rotated, targets = rotate_samples(features.T @ features, target[None] @ features, 40, 15 * 25 / 40)
    assert np.allclose(rotated.T @ rotated, features.T @ features)
    assert np.allclose(targets @ rotated, target[None] @ features)
    assert np.allclose([(targets**2).sum(), targets.sum(), np.abs(rotated.sum(axis=0)).max()], [15 * 25 / 40, 0, 0])


def test_the_same_data_give_the_same_bits_in_whatever_order_sites_are_given(tmp_path: Path):
    one, other = make_study(tmp_path / "1"), make_study(tmp_path / "2")
    other.transport.sites = dict(reversed(other.transport.sites.items()))
    models = [fit_federated(study, "logistic") for study in (one, other)]
    assert models[0].weight.tobytes() == models[1].weight.tobytes()


def test_svm_and_networks_are_refused_with_the_classifiers_that_can_be_trained():
    with pytest.raises(UsageError, match=r"svm cannot be trained by sums .*; use logistic"):
        check_classifier("svm")
    with pytest.raises(UsageError, match=r"cnn3d .* not a linear model"):
        check_classifier("cnn3d")


def test_covariates_that_are_collinear_with_the_sites_are_refused(tmp_path: Path):
    study = make_study(tmp_path, steps=Steps((), ("age",)))
    for number, site in enumerate(study.sites.values()):
        site.data.covariates["age"][:] = number
    with pytest.raises(DataError, match="collinear"):
        fit_steps(questions(study), Steps((), ("age",)))
