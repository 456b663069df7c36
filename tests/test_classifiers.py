"""Every classifier: scaled values in, logits out; SVM against scikit-learn, CNN against a planted effect."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from sklearn.svm import SVC
from small_networks import LARGE, QUICK, part_of, shape_of

from bids_app import catalogue
from bids_app.classifiers import _gram
from bids_app.classifiers._gram import combine_samples, inner_products
from bids_app.classifiers._slope import fit_slope
from bids_app.explainers import gradcam

VOXEL_MM = (3.0, 3.0, 3.0)
SHAPE = (17, 20, 16)


def made(name, channels=1, classes=2, shape=SHAPE, seed=0):
    part, shape = part_of(name), shape_of(name, shape)
    size = shape if part.INPUT_FORMAT == "volumes" else (int(np.prod(shape)),)
    return part.build(channels, classes, size, voxel_mm=VOXEL_MM, seed=seed)


def batch(classifier, name, people=3, channels=1, seed=1):
    shape = shape_of(name, SHAPE)
    x = torch.from_numpy(np.random.default_rng(seed).standard_normal((people, channels, *shape), dtype=np.float32))
    return x if classifier.input_format == "volumes" else x.flatten(1)


@pytest.fixture(params=[*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)])
def name(request):
    return request.param


@pytest.mark.parametrize(("channels", "classes"), [(1, 2), (3, 4)])
def test_logits_have_one_row_per_sample_and_one_column_per_class(name, channels, classes):
    classifier = made(name, channels, classes).eval()
    logits = classifier(batch(classifier, name, channels=channels))
    assert logits.shape == (3, classes)
    assert torch.isfinite(logits).all()


def test_logits_do_not_depend_on_the_batch(name):
    classifier = made(name).eval()
    x = batch(classifier, name)
    assert torch.allclose(classifier(x)[1:2], classifier(x[1:2]), atol=1e-5)


def test_seed_determines_initial_weights_and_leaves_the_global_random_state(name):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second = made(name, seed=3).state_dict(), made(name, seed=3).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_state_dict_is_numeric_and_loads_into_a_new_classifier(name):
    classifier, other = made(name, seed=1).eval(), made(name, seed=2).eval()
    other.load_state_dict(classifier.state_dict())
    x = batch(classifier, name)
    assert torch.equal(classifier(x), other(x))
    kinds = {value.dtype for value in classifier.state_dict().values()}
    assert kinds <= {torch.float32, torch.float64, torch.int64}


def test_classifier_declares_input_format_and_training_settings(name):
    part, classifier = part_of(name), made(name)
    assert classifier.input_format == part.INPUT_FORMAT
    if not hasattr(classifier, "fit"):
        assert classifier.cam_layer in list(classifier.modules())
        assert min(part.EPOCHS, part.BATCH_SIZE, part.LEARNING_RATE) > 0
        assert part.WEIGHT_DECAY >= 0
        assert getattr(part, "OPTIMISER", "adamw") in ("adam", "adamw")
        assert getattr(part, "SCHEDULE", "cosine") in ("cosine", "none")
        assert min(getattr(part, "PATIENCE", 1), getattr(part, "ACCUMULATE", 1)) > 0
        assert 0 < getattr(part, "VALIDATION", 0.2) < 0.5
        assert hasattr(classifier, "instances") or not getattr(part, "INSTANCES", False)


def test_one_step_on_two_samples_changes_the_weights(name):
    classifier = made(name, classes=3)
    if hasattr(classifier, "fit"):
        return
    x = batch(classifier, name, people=2)
    before = [one.clone() for one in classifier.parameters()]
    optimiser = torch.optim.SGD(classifier.train().parameters(), lr=0.1)
    torch.nn.functional.cross_entropy(classifier(x), torch.tensor([0, 2])).backward()
    optimiser.step()
    assert all(torch.isfinite(one).all() for one in classifier.state_dict().values())
    changed = [not torch.equal(one, was) for one, was in zip(classifier.parameters(), before, strict=True)]
    assert any(changed)


def people(n=24, voxels=300, classes=2, effect=0.6, seed=0):
    random = np.random.default_rng(seed)
    y = np.arange(n) % classes
    x = random.standard_normal((n, voxels)) + 2
    x[:, :10] += effect * y[:, None]
    return x.astype(np.float32), y


@pytest.mark.parametrize("classes", [2, 3])
def test_svm_decisions_match_scikit_learn_on_voxels(classes):
    x, y = people(classes=classes)
    new = people(classes=classes, seed=9)[0]
    y = np.where(np.arange(len(y)) < 4, 0, y)  # classes of unequal size
    machine = catalogue.load("classifiers", "svm").build(1, classes, (x.shape[1],), voxel_mm=VOXEL_MM, seed=0)
    machine.fit(x, y, seed=0)
    size = ((x - x.mean(0)) ** 2).sum(1).mean()
    with torch.no_grad():
        decisions = (machine(torch.from_numpy(new)) / machine.slope).numpy()
    for one in range(classes):
        peer = SVC(C=1 / size, kernel="linear", class_weight="balanced", tol=1e-6).fit(x - x.mean(0), y == one)
        ours = decisions[:, one] - (decisions[:, 0] if one and classes == 2 else 0)
        ours = ours if classes > 2 or one else 2 * ours
        assert ours == pytest.approx(peer.decision_function(new - x.mean(0)), abs=1e-4)


def test_svm_slope_is_positive_so_the_predicted_class_follows_the_decision():
    svm = catalogue.load("classifiers", "svm")
    for seed in range(6):
        x, y = people(n=12, effect=0, seed=seed)
        machine = svm.build(1, 2, (x.shape[1],), voxel_mm=VOXEL_MM, seed=0)
        machine.fit(x, y, seed=seed)
        assert machine.slope > 0
        with torch.no_grad():
            assert machine(torch.from_numpy(x)).argmax(1).tolist() == y.tolist()  # separable: more voxels than samples


def test_svm_slope_is_steeper_with_a_real_effect():
    svm = catalogue.load("classifiers", "svm")
    machines = [svm.build(1, 2, (300,), voxel_mm=VOXEL_MM, seed=0) for _ in range(2)]
    for machine, effect in zip(machines, (0.0, 3.0), strict=True):
        machine.fit(*people(effect=effect), seed=0)
    assert machines[1].slope > 5 * machines[0].slope


def test_svm_slope_is_not_inflated_by_repeated_sessions():
    x, y = people(n=16, effect=0)
    twice, both = np.concatenate([x, x]), np.concatenate([y, y])
    svm = catalogue.load("classifiers", "svm")
    slopes = []
    for groups in (None, [f"person {row % 16}" for row in range(32)]):
        machine = svm.build(1, 2, (300,), voxel_mm=VOXEL_MM, seed=0)
        machine.fit(twice, both, seed=0, groups=groups)
        slopes.append(float(machine.slope))
    assert slopes[0] > 1 > slopes[1]


def test_slope_maximises_the_likelihood_and_is_never_negative():
    random = np.random.default_rng(0)
    y = np.arange(40) % 2
    f = (y - 0.5) * 1.2 + random.standard_normal(40)
    decisions = np.stack([-f / 2, f / 2], axis=1)
    target = np.where(y == 1, 21 / 22, 1 / 22)
    grid = np.geomspace(0.1, 10, 2001)
    p = 1 / (1 + np.exp(-grid[:, None] * f))
    loss = -(target * np.log(p) + (1 - target) * np.log1p(-p)).sum(1)
    assert fit_slope(decisions, y) == pytest.approx(grid[loss.argmin()], rel=0.01)
    assert 0 < fit_slope(-decisions, y) < 0.011


def test_chunked_sums_equal_the_full_matrix_product(monkeypatch):
    monkeypatch.setattr(_gram, "CHUNK", 7)
    x = people(n=6, voxels=31)[0]
    centred = x - x.mean(0, dtype=np.float64)
    assert inner_products(x, x.mean(0, dtype=np.float64)) == pytest.approx(centred @ centred.T)
    some = np.random.default_rng(0).standard_normal((2, 6))
    assert combine_samples(some, x, x.mean(0, dtype=np.float64)) == pytest.approx(some @ centred)


@pytest.mark.parametrize("edge_mm", [1.0, 1.5, 2.0, 3.0, 4.0])
def test_cnn3d_cam_layer_has_a_grid_of_about_4_to_8_mm(edge_mm):
    shape = tuple(int(np.ceil(extent / edge_mm)) for extent in (60, 72, 60))
    network = catalogue.load("classifiers", "cnn3d").build(1, 2, shape, voxel_mm=(edge_mm,) * 3, seed=0)
    seen = []
    network.cam_layer.register_forward_hook(lambda *parts: seen.append(parts[-1].shape[2:]))
    network(torch.zeros(1, 1, *shape))
    assert all(edge_mm * n / cells * 0.9 <= 8 for n, cells in zip(shape, seen[0], strict=True))
    assert all(edge_mm * n / cells > 3.5 for n, cells in zip(shape, seen[0], strict=True))


def test_cnn3d_localises_a_planted_blob_from_18_participants():
    random = np.random.default_rng(0)
    shape, y = (32, 36, 32), np.arange(24) % 2
    x = np.stack([gaussian_filter(random.standard_normal(shape), 1.1) for _ in y])
    inside = ((np.indices(shape) - np.array((20, 12, 18)).reshape(3, 1, 1, 1)) ** 2).sum(0) < 2.5**2
    x = x / x.std() + 2 * inside * (y == 1)[:, None, None, None]
    x = torch.from_numpy(((x - x[:18].mean(0)) / x[:18].std(0)).astype(np.float32)[:, None])
    part = catalogue.load("classifiers", "cnn3d")
    network = part.build(1, 2, shape, voxel_mm=VOXEL_MM, seed=0)
    order = torch.Generator().manual_seed(0)
    optimiser = torch.optim.AdamW(network.parameters(), lr=part.LEARNING_RATE, weight_decay=part.WEIGHT_DECAY)
    for _ in range(part.EPOCHS):
        for some in torch.randperm(18, generator=order).split(part.BATCH_SIZE):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(network(x[some]), torch.from_numpy(y)[some]).backward()
            optimiser.step()
    network.eval()
    patients = [person for person in range(18, 24) if y[person] == 1]
    heat = np.mean([gradcam.explain(network, x[one], 1, mask=np.ones(shape, bool)) for one in patients], axis=0)
    smooth = gaussian_filter(heat, 1.5)
    peak = np.unravel_index(smooth.argmax(), shape)
    assert np.linalg.norm(np.array(peak) - (20, 12, 18)) * 3 <= 10  # mm
