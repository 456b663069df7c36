"""Classifiers that weight locations by evidence, compared with a re-implementation with voxel-by-voxel matrices,
and on planted effects.
"""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from sklearn.model_selection import StratifiedKFold

from bids_app import catalogue
from bids_app.classifiers import model_averaging, regional, single_effect, svm
from bids_app.classifiers._evidence import LABELLINGS_AT_ONCE, RATIOS, SHARED, Single
from bids_app.classifiers._voxel_grid import CUBES, VoxelGrid, group_means
from bids_app.errors import DataError

SHAPE, MM = (10, 8, 6), (3.0, 3.0, 3.0)
MASK = np.ones(SHAPE, bool)
MASK[0, 0] = False
INDEX = np.argwhere(MASK)
PARCELS = (INDEX[:, 0] // 4 * 2 + INDEX[:, 1] // 5) * (INDEX[:, 2] > 0)  # some voxels are of none
PLACES = VoxelGrid(INDEX, MM, PARCELS)
WITH_PRIOR = (single_effect, regional, model_averaging)


def people(n=26, seed=0, effect=0.0, where=slice(0, 8)):
    """Smooth noise with a component that all voxels share, and the classes of unequal size."""
    random = np.random.default_rng(seed)
    x = np.stack([gaussian_filter(random.normal(size=SHAPE), 1.0)[MASK] for _ in range(n)])
    x = x / x.std() + 0.5 * random.normal(size=(n, 1))
    y = random.permutation(np.arange(n) % 5 < 2).astype(int)
    x[:, where] += effect * y[:, None]
    return x.astype(np.float32), y


def log_evidence(covariance, y):
    """Log density of centred labels ~ N(0, s^2 (I + covariance)), s unknown, against that without covariance."""
    whole = np.eye(len(y)) + covariance
    left = y @ np.linalg.solve(whole, y) / (y @ y)
    return -0.5 * np.linalg.slogdet(whole)[1] - (len(y) - 1) / 2 * np.log(left)


def slow_decision(x, y, new, prior):
    """Decisions of `model_averaging` and related classifiers on new participants, by the definition."""
    n = len(x)
    centre = x.mean(axis=0)
    x, new = x - centre, new - centre
    _, singular, v = np.linalg.svd(x, full_matrices=False)
    v, w = v[:-1], singular[:-1] ** 2
    w = w / w.mean()
    unshared = np.eye(x.shape[1]) - v.T @ np.diag(1 - SHARED / (SHARED + w)) @ v
    t = np.where(y == 1, np.mean(y == 0), -np.mean(y == 1))
    models = []  # (log prior, log evidence, decisions on those who trained, on new participants)
    for hypothesis, mass in prior.items():
        if hypothesis.groups == "gram":
            old_features, new_features = x, new
        else:
            labels = PLACES.labels(hypothesis.groups, x.shape[1])
            mean_over = np.array([(labels == one) / (labels == one).sum() for one in range(labels.max() + 1)])
            sd = (x @ mean_over.T).std(axis=0)
            mean_over /= np.maximum(sd, 0.1 * np.percentile(sd, 95))[:, None]
            old_features, new_features = x @ unshared @ mean_over.T, new @ unshared @ mean_over.T
        if isinstance(hypothesis, Single):
            pairs = [(old_features[:, [k]], new_features[:, [k]]) for k in range(old_features.shape[1])]
            kernels = [(n * f @ f.T / (f.T @ f), n * g @ f.T / (f.T @ f)) for f, g in pairs]
        else:
            size = np.trace(old_features @ old_features.T) / n
            kernels = [
                (ratio / size * old_features @ old_features.T, ratio / size * new_features @ old_features.T)
                for ratio in RATIOS
            ]
        for own, of_new in kernels:
            solved = np.linalg.solve(np.eye(n) + own, t)
            models.append((np.log(mass / len(kernels)) + log_evidence(own, t), own @ solved, of_new @ solved))
    weight = np.exp([log for log, _, _ in models] - max(log for log, _, _ in models))
    weight /= weight.sum()
    own, of_new = (sum(a * one[part] for a, one in zip(weight, models, strict=True)) for part in (1, 2))
    return of_new - (own[y == 1].mean() + own[y == 0].mean()) / 2


@pytest.mark.parametrize("part", WITH_PRIOR, ids=lambda part: part.__name__.rpartition(".")[2])
@pytest.mark.parametrize("effect", [0.0, 1.5])
def test_decisions_match_the_definition_with_voxel_by_voxel_matrices(part, effect):
    x, y = people(effect=effect)
    new, _ = people(n=7, seed=1)
    shuffled = np.random.default_rng(2).permutation(y)
    result = part.decision_function(part.gram_matrix(x, new, voxel_grid=PLACES), np.stack([y, shuffled]))
    for labels, decisions in zip((y, shuffled), result, strict=True):
        wanted = slow_decision(x.astype(float), labels, new.astype(float), part.PRIOR)
        assert decisions[:, 1] - decisions[:, 0] == pytest.approx(wanted, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("part", WITH_PRIOR, ids=lambda part: part.__name__.rpartition(".")[2])
def test_voxel_weights_reproduce_kernel_decisions_with_two_channels(part):
    x, y = people(effect=1.0)
    both, new = np.concatenate([x, x[::-1] ** 2], axis=1), np.concatenate([people(n=5, seed=3)[0]] * 2, axis=1)
    machine = part.build(2, 2, (x.shape[1],), voxel_mm=MM, seed=0)
    machine.fit(both, y, seed=0, voxel_grid=PLACES)
    with torch.no_grad():
        logits = machine(torch.from_numpy(new)).numpy() / machine.slope.item()
    decisions = part.decision_function(part.gram_matrix(both, new, voxel_grid=PLACES), y[None])[0]
    assert logits == pytest.approx(decisions, rel=1e-3, abs=1e-4)


def test_batched_labellings_give_the_same_decisions_as_single_ones():
    x, y = people()
    random = np.random.default_rng(0)
    labellings = np.array([random.permutation(y) for _ in range(LABELLINGS_AT_ONCE + 1)])
    inner = model_averaging.gram_matrix(x, x[:3], voxel_grid=PLACES)
    each = [model_averaging.decision_function(inner, one[None])[0] for one in labellings[[0, -1]]]
    assert model_averaging.decision_function(inner, labellings)[[0, -1]] == pytest.approx(np.array(each), abs=1e-9)


def test_group_means_are_taken_within_regions_separately_per_channel():
    x = np.random.default_rng(0).normal(size=(3, 2 * len(INDEX))).astype(np.float32)
    labels = PLACES.labels("regions", x.shape[1])
    result = group_means(x, labels, np.zeros(x.shape[1]))
    regions = np.unique(PARCELS[PARCELS > 0])
    assert result.shape == (3, 2 * len(regions))
    for channel in range(2):
        values = x[:, channel * len(INDEX) : (channel + 1) * len(INDEX)]
        for number, region in enumerate(regions):
            wanted = values[:, region == PARCELS].mean(axis=1)
            assert result[:, channel * len(regions) + number] == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(("mm", "edges"), [(1.0, 6), (1.5, 4), (2.0, 3), (3.0, 2), (4.0, 2), (8.0, 1)])
def test_cube_edges_are_about_6_mm_for_any_voxel_size(mm, edges):
    index = np.argwhere(np.ones((12, 12, 12), bool))
    labels = VoxelGrid(index, (mm,) * 3).labels(CUBES, len(index))
    assert np.bincount(labels).max() == edges**3
    assert all(np.ptp(index[labels == one], axis=0).max() < edges for one in range(labels.max() + 1))


def test_without_two_regions_regional_is_refused_and_model_averaging_omits_regions():
    x, y = people()
    bare = VoxelGrid(INDEX, MM, np.zeros(len(INDEX), int))
    with pytest.raises(DataError, match="fewer than two regions"):
        regional.build(1, 2, (x.shape[1],), voxel_mm=MM, seed=0).fit(x, y, seed=0, voxel_grid=bare)
    inner = model_averaging.gram_matrix(x, x[:4], voxel_grid=bare)
    assert set(inner) == {"gram", "cubes"}
    assert np.isfinite(model_averaging.decision_function(inner, y[None])).all()


def accuracy(part, x, y):
    right = []
    for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(x, y):
        decisions = part.decision_function(part.gram_matrix(x[train], x[test], voxel_grid=PLACES), y[train][None])[0]
        called = decisions.argmax(axis=1)
        right.append(np.mean([(called[y[test] == one] == one).mean() for one in (0, 1)]))
    return np.mean(right)


FOCAL, WHOLE = (INDEX // 2 == (2, 2, 1)).all(axis=1), PARCELS == 2


@pytest.mark.parametrize(
    ("where", "effect", "best"), [(FOCAL, 1.2, single_effect), (WHOLE, 0.5, regional)], ids=["a cube", "a region"]
)
def test_localised_priors_beat_svm_on_local_effects_and_model_averaging_comes_close(where, effect, best):
    result = {part: [] for part in (svm, best, model_averaging)}
    for seed in range(12):
        x, y = people(n=60, seed=seed, effect=effect, where=where)
        for part, scores in result.items():
            scores.append(accuracy(part, x, y))
    mean = {part: np.mean(scores) for part, scores in result.items()}
    assert mean[best] > mean[svm] + 0.03
    assert mean[model_averaging] > mean[best] - 0.03


def test_model_averaging_is_close_to_svm_for_diffuse_effects():
    random = np.random.default_rng(7)
    result = {part: [] for part in (svm, model_averaging)}
    for seed in range(12):
        x, y = people(n=60, seed=seed)
        x = x + (0.35 * random.choice([-1, 1], x.shape[1]) * y[:, None]).astype(np.float32)
        for part, scores in result.items():
            scores.append(accuracy(part, x, y))
    assert np.mean(result[svm]) > 0.6
    assert np.mean(result[model_averaging]) > np.mean(result[svm]) - 0.03


def test_every_classifier_with_a_prior_is_tested_here():
    with_prior = {name for name in catalogue.names("classifiers") if catalogue.has("classifiers", name, "SETS")}
    assert with_prior == {part.__name__.rpartition(".")[2] for part in WITH_PRIOR}
