"""What heatmaps are worth: known answers for linear models, and maps that know nothing are found out."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from bids_app import catalogue
from bids_app.evaluation import checks
from bids_app.explainers import weights
from bids_app.training import faithful, fold, models, prepare, results, sanity

CLASSES = ("control", "patient")


def train(common, split, folder, classifier="svm", **options):
    fold.run(cell=f"{classifier}/gm", classifier=classifier, split=split, folder=folder, **(common | options))
    return folder


def everyone(common):
    table = pd.read_csv(common["people"], sep="\t", dtype={"participant_id": str})
    values = {one: np.load(path, mmap_mode="r") for one, path in common["arrays"].items()}
    return prepare.People(values, {"tiv": table["tiv"].to_numpy()})


@pytest.mark.parametrize(("classifier", "method"), [("svm", "weights"), ("cnn3d", "gradcam")])
def test_shuffled_parameters_change_the_map_and_the_model_stays_as_it_was(study, tmp_path, classifier, method):
    common, splits, _ = study(1.0)
    folder = train(common, splits[0], tmp_path / "out", classifier, epochs=3)
    model = models.load(folder / "model")
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    people = everyone(common).rows(splits[0].test)
    explainer, targets = catalogue.load("explainers", method), np.ones(len(people), int)
    found = sanity.cascade(explainer, model, people, targets, seed=3)
    assert all(torch.equal(value, before[name]) for name, value in model.module.state_dict().items())
    layers = [name for name, one in model.module.named_modules() if list(one.parameters(recurse=False))]
    assert [row["layer"] for row in found] == layers[::-1]
    assert abs(found[-1]["spearman"]) < 0.5
    assert found == sanity.cascade(explainer, model, people, targets, seed=3)


def test_a_map_of_the_image_alone_is_found_out(study, tmp_path):
    common, splits, _ = study(1.0)
    model = models.load(train(common, splits[0], tmp_path / "out", "cnn3d", epochs=1) / "model")

    def explain(classifier, x, target, *, mask):
        return (x[0].numpy() * mask).astype(np.float32)

    people = everyone(common).rows(splits[0].test)
    found = sanity.cascade(SimpleNamespace(explain=explain), model, people, np.ones(len(people), int), seed=3)
    assert all(row["spearman_abs"] == pytest.approx(1) for row in found)


@pytest.fixture
def linear(study, tmp_path):
    """A machine, four people held out, and blocks of voxels as regions, one part in none."""
    common, splits, _ = study(1.0)
    model = models.load(train(common, splits[0], tmp_path / "out") / "model")
    x, y, z = np.indices((14, 15, 16)) // 4
    blocks = np.where(z == 3, 0, 1 + 100 * x + 10 * y + z)
    people = everyone(common).rows(splits[0].test[:4])
    return model, people, np.array([0, 1, 1, 0]), model.preparation.grid.vector(blocks)


def test_contributions_of_a_linear_model_foretell_it_and_beat_every_random_order(linear):
    found = faithful.measure(weights, *linear)
    assert found["infidelity"] < 1e-6
    assert found["deletion"] == found["insertion"] == 1
    assert 0 < found["max_sensitivity"] < 0.3


def test_slopes_times_values_are_contributions(linear):
    slope = faithful.measure(catalogue.load("explainers", "saliency"), *linear)
    assert slope["infidelity"] < 1e-6
    assert slope["deletion"] == slope["insertion"] == 1
    assert slope["max_sensitivity"] == pytest.approx(0, abs=1e-6)  # the gradient is the same for everybody


def test_a_map_of_noise_foretells_nothing_and_one_upside_down_loses_to_every_order(linear):
    random = np.random.default_rng(0)

    def noise(classifier, x, target, *, mask):
        return random.normal(size=int(mask.sum())).astype(np.float32)

    def inverted(classifier, x, target, *, mask):
        return -weights.explain(classifier, x, target, mask=mask)

    found = faithful.measure(SimpleNamespace(explain=noise), *linear)
    assert found["infidelity"] > 0.5
    assert found["max_sensitivity"] > 1
    assert 0.05 < found["deletion"] < 0.95
    upside = faithful.measure(SimpleNamespace(explain=inverted), *linear)
    assert upside["deletion"] == upside["insertion"] == 0
    assert upside["infidelity"] < 1e-6  # its scale is free, and so is its sign


@pytest.mark.parametrize("classifier", ["svm", "cnn3d"])
def test_a_region_s_gate_scales_its_voxels_in_every_channel(study, tmp_path, classifier):
    common, splits, _ = study(1.0, maps=("gm", "wm"))
    model = models.load(train(common, splits[0], tmp_path / "out", classifier, epochs=1) / "model")
    x = model.tensor(everyone(common), 3)
    box = model.preparation.grid.cropped
    regions = np.zeros(box.mask.shape, int)
    regions[2:5], regions[7:] = 4, 9
    person = faithful.Person(model, x, 1, regions if x.ndim > 1 else regions[box.mask])
    changed = x.clone()
    if x.ndim > 1:
        changed[:, 2:5] *= 0.25
        changed[:, 7:] = 0
    else:
        changed.view(2, -1)[:, torch.from_numpy(regions[box.mask] == 4)] *= 0.25
        changed.view(2, -1)[:, torch.from_numpy(regions[box.mask] == 9)] = 0
    with torch.no_grad():
        expected = model.module(changed[None])[0].double()
    torch.testing.assert_close(person.logits(torch.tensor([[0.25, 0.0]]))[0], expected)


@pytest.mark.parametrize(
    ("classifier", "methods"),
    [
        ("svm", ("weights", "pattern")),
        ("cnn3d", ("gradcam",)),
        pytest.param("forest", ("occlusion",), marks=pytest.mark.slow),
    ],
)
def test_each_fold_keeps_what_was_measured_and_maps_of_models_that_learnt_nothing(study, tmp_path, classifier, methods):
    common, splits, planted = study(2.5)
    x, y, z = np.indices((14, 15, 16)) // 5
    np.save(tmp_path / "parcels.npy", 1 + 100 * x + 10 * y + z)
    how = {"explainers": methods, "parcels": tmp_path / "parcels.npy", "explain_checks": True}
    folders = [train(common, split, tmp_path / str(split.fold), classifier, **how) for split in splits]
    network = classifier == "cnn3d"
    for mean in results.means(folders, f"{classifier}/gm", CLASSES):
        expected = {"labels_shuffled", *(["other_seed"] if network else [])}
        if mean.people is not None:
            expected |= {"parameters_shuffled", "deletion", "insertion", "infidelity", "max_sensitivity"}
        assert set(mean.measured) == expected
        assert set(mean.nulls) == {"labels_shuffled", *(["untrained"] if network else [])}
        if mean.explained == "patient":
            null = np.abs(mean.nulls["labels_shuffled"])
            assert np.abs(mean.values)[planted].mean() > 2 * np.abs(mean.values).mean()
            assert null[planted].mean() < 2 * null.mean()
        assert mean.measured["labels_shuffled"] < 0.5
    about = json.loads((folders[0] / "heatmaps.json").read_text())
    assert about[methods[0]]["cascade"][-1]["spearman_abs"] == about[methods[0]]["measured"]["parameters_shuffled"]


def test_checks_are_judged_by_their_limits_and_nan_fails():
    limits = checks.LIMITS
    assert checks.passed(limits["convergence_delta"], -0.04) is True
    assert checks.passed(limits["convergence_delta"], -0.06) is False
    assert checks.passed(limits["folds_icc"], 0.5) is True
    assert checks.passed(limits["folds_icc"], float("nan")) is False
    assert checks.passed(limits["infidelity"], 0.9) is None
    mean = results.Mean("svm/gm", "weights", "patient", 4, "u", "both", np.zeros(1, np.float32),
                        checks={"finite": 1.0}, measured={"deletion": 0.5})  # fmt: skip
    assert checks.table([mean])["passed"].tolist() == [True, False]


def test_right_and_wrong_calls_are_told_apart(study, tmp_path):
    common, splits, _ = study(0.0)
    folders = [train(common, split, tmp_path / str(split.fold), explainers=("weights",)) for split in splits]
    (mean, *_) = (one for one in results.means(folders, "svm/gm", CLASSES) if one.explained == "patient")
    maps, right = [], []
    for folder in folders:
        table = pd.read_csv(folder / "predictions.tsv", sep="\t")
        spread = json.loads((folder / "heatmaps.json").read_text())["weights"]["person_sd"]
        rows = np.flatnonzero(table["true"] == "patient")
        maps += list(np.load(folder / "heatmap_weights.npy")[rows, 1] / spread)
        right += (table["predicted"] == "patient").to_numpy()[rows].tolist()
    maps, right = np.array(maps), np.array(right)
    assert mean.calls == (right.sum(), (~right).sum())
    assert 0 < right.sum() < len(right)
    np.testing.assert_allclose(mean.values, maps.mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(mean.right, maps[right].mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(mean.wrong, maps[~right].mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.stack(list(results.each(folders, mean, CLASSES))), maps, rtol=1e-5, atol=1e-6)
