"""Classifiers with their own solver, other than the SVM: compared with scikit-learn, and refused where they
have no gradient.
"""

import time

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from scipy.special import expit
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from bids_app import catalogue
from bids_app.classifiers import logistic
from bids_app.classifiers._voxel_grid import VoxelGrid
from bids_app.errors import DataError

MM = (3.0, 3.0, 3.0)
PLACES = VoxelGrid(np.argwhere(np.ones((10, 6, 5), bool)), MM, np.repeat(np.arange(6), 50))


def people(n=24, voxels=300, classes=2, effect=0.6, seed=0):
    random = np.random.default_rng(seed)
    y = np.where(np.arange(n) < 4, 0, np.arange(n) % classes)  # classes of unequal size
    x = random.standard_normal((n, voxels)) + 2
    x[:, :10] += effect * y[:, None]
    return x.astype(np.float32), y


def built(name, voxels, classes=2):
    return catalogue.load("classifiers", name).build(1, classes, (voxels,), voxel_mm=MM, seed=0)


@pytest.mark.parametrize("effect", [0.0, 0.6, 5.0])
@pytest.mark.parametrize("classes", [2, 3])
def test_logistic_decisions_match_scikit_learn_on_voxels(classes, effect):
    x, y = people(classes=classes, effect=effect)
    new = people(classes=classes, effect=effect, seed=9)[0]
    machine = built("logistic", x.shape[1], classes)
    machine.fit(x, y, seed=0)
    size = ((x - x.mean(0)) ** 2).sum(1).mean()
    with torch.no_grad():
        decisions = (machine(torch.from_numpy(new)) / machine.slope).numpy()
    for one in range(classes):
        peer = LogisticRegression(C=1 / size, class_weight="balanced", tol=1e-10, max_iter=100_000)
        wanted = peer.fit(x - x.mean(0, dtype=np.float64), y == one).decision_function(new - x.mean(0))
        ours = decisions[:, one] * (2 if classes == 2 else 1)  # two classes have half of one machine each
        assert ours == pytest.approx(wanted, abs=1e-3)


def test_logistic_of_1500_samples_is_optimal_and_takes_less_time_than_an_eigendecomposition():
    random = np.random.default_rng(5)
    x = random.standard_normal((1500, 400)) + 2 * random.standard_normal((1500, 1))
    kernel = (x - x.mean(0)) @ (x - x.mean(0)).T  # of rank 400
    kernel /= np.diag(kernel).mean()
    positive = random.random(1500) < 0.3
    logistic.solve(kernel[:50, :50], positive[:50])  # imports
    with threadpool_limits(1):
        start = time.process_time()
        coefficients, intercept = logistic.solve(kernel, positive)
        fitted = time.process_time()
        np.linalg.eigh(kernel)
        assert fitted - start < time.process_time() - fitted
    weight = 750 / np.where(positive, positive.sum(), (~positive).sum())
    probability = expit(kernel @ coefficients + intercept)
    assert coefficients == pytest.approx(weight * (positive - probability), abs=1e-5)
    assert coefficients.sum() == pytest.approx(0, abs=1e-4)


LINEAR = [name for name in catalogue.names("classifiers") if catalogue.has("classifiers", name, "decision_function")]


@pytest.mark.parametrize("name", LINEAR)
def test_kernel_decisions_of_linear_models_equal_voxel_decisions(name):
    x, y = people(classes=3)
    new = people(n=7, classes=3, seed=4)[0]
    part, machine = catalogue.load("classifiers", name), built(name, x.shape[1], 3)
    machine.fit(x, y, seed=0, voxel_grid=PLACES)
    with torch.no_grad():
        decisions = (machine(torch.from_numpy(new)) / machine.slope).numpy()
    assert part.decision_function(part.gram_matrix(x, new, voxel_grid=PLACES), y[None])[0] == pytest.approx(
        decisions, abs=1e-4
    )


def test_logistic_fits_100000_voxels_in_under_10_seconds():
    x, y = people(n=40, voxels=100_000)
    machine = built("logistic", x.shape[1])
    start = time.perf_counter()
    machine.fit(x, y, seed=0)
    assert time.perf_counter() - start < 10  # no matrix of voxels by voxels, which would hold 80 GB


@pytest.mark.parametrize("classes", [2, 3])
def test_forest_probabilities_match_scikit_learn_before_and_after_saving(classes):
    x, y = people(classes=classes)
    new = people(classes=classes, seed=9)[0]
    forest, other = (built("forest", x.shape[1], classes) for _ in range(2))
    forest.fit(x, y, seed=5)
    peer = RandomForestClassifier(500, class_weight="balanced_subsample", random_state=5).fit(x, y)
    other.load_state_dict(load(save(forest.state_dict())))
    for one in (forest, other):
        probability = torch.softmax(one(torch.from_numpy(new)).double(), dim=1).numpy()
        assert probability == pytest.approx(peer.predict_proba(new), abs=1e-6)
    assert not hasattr(forest, "estimators_")


def test_forest_treats_values_at_the_threshold_like_scikit_learn():
    x = np.array([[0.0], [1.0], [2.0], [3.0]] * 3, np.float32)
    forest = built("forest", 1)
    forest.fit(x, (x[:, 0] > 1).astype(int), seed=0)
    peer = RandomForestClassifier(500, class_weight="balanced_subsample", random_state=0)
    peer.fit(x, (x[:, 0] > 1).astype(int))
    asked = np.array([[0.5], [1.0], [1.5], [2.0], [2.5]], np.float32)  # halves are where trees ask
    assert torch.softmax(forest(torch.from_numpy(asked)).double(), 1).numpy() == pytest.approx(
        peer.predict_proba(asked), abs=1e-6
    )


def test_forest_is_explained_only_by_occlusion():
    forest = built("forest", 60)
    for name in catalogue.names("explainers"):
        reason = catalogue.load("explainers", name).check(forest)
        assert (reason is None) == (name == "occlusion"), name
    for name in ("saliency", "integrated_gradients", "lrp0"):
        assert "trees have none" in catalogue.load("explainers", name).check(forest)


def test_untrained_forest_is_uninformative_and_permuting_votes_swaps_classes():
    x, y = people(effect=3.0)
    forest = built("forest", x.shape[1])
    assert torch.softmax(forest(torch.from_numpy(x)), 1).numpy() == pytest.approx(0.5)
    forest.fit(x, y, seed=0)
    assert [one for one, _ in forest.named_parameters()] == ["threshold", "votes"]  # what shuffling shuffles
    before = forest(torch.from_numpy(x))
    with torch.no_grad():
        forest.votes.copy_(forest.votes.flip(2))
    assert torch.allclose(forest(torch.from_numpy(x)), before.flip(1), atol=1e-6)


@pytest.mark.parametrize("name", ["forest", "logistic", "svm"])
def test_empty_training_class_is_refused_by_name(name):
    with pytest.raises(DataError, match="class 1 has no training participants"):
        built(name, 60).fit(np.ones((4, 60), np.float32), np.zeros(4, int), seed=0)
