"""Checks of heatmaps: known answers for linear models, and uninformative maps are detected."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from captum.metrics import infidelity

from bids_app import catalogue
from bids_app.evaluation import checks
from bids_app.explainers import weights
from bids_app.training import fold, models, results
from bids_app.training.explainer_checks import HeldOutChecks, shuffle_labels
from bids_app.training.faithfulness import OccludedSample, make_occluded_samples, measure_faithfulness
from bids_app.training.feature_pipeline import Samples
from bids_app.training.parameter_randomization import randomize_cascade

CLASSES = ("control", "patient")


def train(common, split, folder, classifier="svm", **options):
    fold.train_fold(cell=f"{classifier}/gm", classifier=classifier, split=split, folder=folder, **(common | options))
    return folder


def everyone(common):
    table = pd.read_csv(common["people"], sep="\t", dtype={"participant_id": str})
    values = {one: np.load(path, mmap_mode="r") for one, path in common["arrays"].items()}
    return Samples(values, {"tiv": table["tiv"].to_numpy()})


@pytest.mark.parametrize(("classifier", "method"), [("svm", "weights"), ("cnn3d", "gradcam")])
def test_parameter_randomisation_changes_the_map_and_leaves_the_model_unchanged(study, tmp_path, classifier, method):
    common, splits, _ = study(1.0)
    folder = train(common, splits[0], tmp_path / "out", classifier, options={"epochs": 3})
    model = models.load(folder / "model")
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    people = everyone(common).select(splits[0].test)
    explainer, targets = catalogue.load("explainers", method), np.ones(len(people), int)
    result = randomize_cascade(explainer, model, people, targets, seed=3)
    assert all(torch.equal(value, before[name]) for name, value in model.module.state_dict().items())
    layers = [name for name, one in model.module.named_modules() if list(one.parameters(recurse=False))]
    assert [row["layer"] for row in result] == layers[::-1]
    assert abs(result[-1]["spearman"]) < 0.5
    assert result == randomize_cascade(explainer, model, people, targets, seed=3)


def test_map_independent_of_the_model_is_detected_by_parameter_randomisation(study, tmp_path):
    common, splits, _ = study(1.0)
    model = models.load(train(common, splits[0], tmp_path / "out", "cnn3d", options={"epochs": 1}) / "model")

    def explain(classifier, x, target, *, mask):
        return (x[0].numpy() * mask).astype(np.float32)

    people = everyone(common).select(splits[0].test)
    result = randomize_cascade(SimpleNamespace(explain=explain), model, people, np.ones(len(people), int), seed=3)
    assert all(row["spearman_abs"] == pytest.approx(1) for row in result)


BLOCKS = np.indices((14, 15, 16)) // 4
PARCELS = np.where(BLOCKS[2] == 3, 0, 1 + 100 * BLOCKS[0] + 10 * BLOCKS[1] + BLOCKS[2])
PARCELS[:4] = 7  # one region that is much larger than the others


@pytest.fixture
def linear(study, tmp_path):
    """A function that trains an SVM on some maps and returns four held-out samples for occlusion, and the regions."""

    def make(*maps):
        common, splits, _ = study(1.0, maps=maps)
        model = models.load(train(common, splits[0], tmp_path / "out") / "model")
        parcels = model.pipeline.grid.vector(PARCELS)
        people = everyone(common).select(splits[0].test[:4])
        return make_occluded_samples(model, people, np.array([0, 1, 1, 0]), parcels), parcels

    return make


@pytest.mark.parametrize("method", ["weights", "integrated_gradients", "lrp0", "occlusion", "saliency"])
def test_methods_exact_for_linear_models_have_no_infidelity_and_beat_random_orders(linear, method):
    result = measure_faithfulness(catalogue.load("explainers", method), *linear("gm"))
    assert result["infidelity"] < 1e-6
    assert result["deletion"] == result["insertion"] == 1
    if method == "saliency":  # the gradient is the same for every sample
        assert result["max_sensitivity"] == pytest.approx(0, abs=1e-6)
    elif method != "occlusion":
        assert 0 < result["max_sensitivity"] < 0.3


def test_with_several_maps_faithfulness_is_measured_for_weights_but_not_for_saliency(linear):
    persons = linear("gm", "wm")
    result = measure_faithfulness(weights, *persons)
    assert result["infidelity"] < 1e-6
    assert result["deletion"] == result["insertion"] == 1
    assert set(measure_faithfulness(catalogue.load("explainers", "saliency"), *persons)) == {"max_sensitivity"}


def test_noise_maps_have_chance_faithfulness_and_inverted_maps_rank_last(linear):
    random = np.random.default_rng(0)

    def noise(classifier, x, target, *, mask):
        return random.normal(size=int(mask.sum())).astype(np.float32)

    def inverted(classifier, x, target, *, mask):
        return -weights.explain(classifier, x, target, mask=mask)

    persons = linear("gm")
    result = measure_faithfulness(SimpleNamespace(explain=noise), *persons)
    assert result["infidelity"] > 0.5
    assert result["max_sensitivity"] > 1
    assert 0.05 < result["deletion"] < 0.95
    upside = measure_faithfulness(SimpleNamespace(explain=inverted), *persons)
    assert upside["deletion"] == upside["insertion"] == 0
    assert upside["infidelity"] < 1e-6  # its scale is free, and so is its sign


def test_infidelity_equals_captum_divided_by_the_mean_squared_logit_drop(linear):
    (person, *_), _ = linear("gm")
    gone, falls = person.perturbed
    speaking = np.random.default_rng(3).normal(size=person.count) - falls.mean()
    rows = iter(gone)

    def perturb(gates):
        taken = torch.from_numpy(np.stack([next(rows) for _ in gates]))
        return taken, gates - taken

    theirs = infidelity(
        person.logits, perturb, torch.ones(1, person.count).double(), torch.from_numpy(speaking)[None],
        target=person.target, n_perturb_samples=len(gone), normalize=True,
    )  # fmt: skip
    assert person.infidelity(speaking) == pytest.approx(float(theirs) / np.mean(falls**2), rel=1e-4)
    assert 0.05 < person.infidelity(speaking) < 1


def test_without_two_regions_only_max_sensitivity_is_measured(study, tmp_path):
    common, splits, _ = study(1.0)
    model = models.load(train(common, splits[0], tmp_path / "out") / "model")
    people = everyone(common).select(splits[0].test[:2])
    for parcels in (None, np.ones(model.pipeline.grid.voxels, int)):
        persons = make_occluded_samples(model, people, np.array([0, 1]), parcels)
        assert set(measure_faithfulness(weights, persons, parcels)) == {"max_sensitivity"}


def test_participants_of_every_class_are_checked_whatever_the_order(study, tmp_path):
    common, splits, _ = study(1.0)
    model = models.load(train(common, splits[0], tmp_path / "out") / "model")
    held_out = everyone(common).select(splits[0].test)
    true = np.array([0, 0, 0, 0, 0, 1, 1, 1])
    examined = HeldOutChecks(model, held_out, true, None)
    np.testing.assert_array_equal(examined.people.values["gm"], held_out.values["gm"][[0, 1, 5, 6]])


def test_labels_are_shuffled_by_participant_where_sessions_agree():
    y = np.repeat([0, 1, 1, 0, 1, 0], 2)
    groups = [f"sub-{row // 2}" for row in range(12)]
    drawn = [shuffle_labels(y, groups, seed) for seed in range(20)]
    assert all((one[::2] == one[1::2]).all() and one.sum() == y.sum() for one in drawn)
    assert len({tuple(one) for one in drawn}) > 5
    mixed = shuffle_labels(np.arange(12) % 2, groups, 1)
    assert mixed.sum() == 6


@pytest.mark.parametrize("classifier", ["svm", "cnn3d"])
def test_region_gate_scales_the_region_in_every_channel(study, tmp_path, classifier):
    common, splits, _ = study(1.0, maps=("gm", "wm"))
    model = models.load(train(common, splits[0], tmp_path / "out", classifier, options={"epochs": 1}) / "model")
    x = model.tensor(everyone(common), 3)
    box = model.pipeline.grid.cropped
    regions = np.zeros(box.mask.shape, int)
    regions[2:5], regions[7:] = 4, 9
    person = OccludedSample(model, x, 1, regions if x.ndim > 1 else regions[box.mask])
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
def test_each_fold_stores_check_results_and_heatmaps_of_null_models(study, tmp_path, classifier, methods):
    common, splits, planted = study(2.5)
    x, y, z = np.indices((14, 15, 16)) // 5
    np.save(tmp_path / "parcels.npy", 1 + 100 * x + 10 * y + z)
    how = {"explainers": methods, "parcels": tmp_path / "parcels.npy", "explain_checks": True}
    folders = [train(common, split, tmp_path / str(split.fold), classifier, **how) for split in splits]
    network = classifier == "cnn3d"
    for mean in results.average_heatmaps(folders, f"{classifier}/gm", CLASSES):
        expected = {"labels_shuffled", *(["other_seed"] if network else [])}
        if mean.people is not None:
            expected |= {
                "head_shuffled",
                "parameters_shuffled",
                "deletion",
                "insertion",
                "infidelity",
                "max_sensitivity",
            }
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
    assert checks.is_within(limits["convergence_delta"], -0.04) is True
    assert checks.is_within(limits["convergence_delta"], -0.06) is False
    assert checks.is_within(limits["folds_icc"], 0.5) is True
    assert checks.is_within(limits["folds_icc"], float("nan")) is False
    assert checks.is_within(limits["infidelity"], 0.9) is None
    mean = results.MeanHeatmap("svm/gm", "weights", "patient", 4, "u", "both", np.zeros(1, np.float32),
                        checks={"finite": 1.0}, measured={"deletion": 0.5})  # fmt: skip
    assert checks.tabulate_checks([mean])["passed"].tolist() == [True, False]


def test_heatmaps_are_averaged_separately_for_correct_and_incorrect_predictions(study, tmp_path):
    common, splits, _ = study(0.0)
    folders = [train(common, split, tmp_path / str(split.fold), explainers=("weights",)) for split in splits]
    (mean, *_) = (one for one in results.average_heatmaps(folders, "svm/gm", CLASSES) if one.explained == "patient")
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
    np.testing.assert_allclose(
        np.stack([one for _, one in results.iterate_heatmaps(folders, mean, CLASSES)]), maps, rtol=1e-5, atol=1e-6
    )


def test_checks_are_summarised_by_minimum_if_mandatory_and_by_median_otherwise():
    each = [{"finite": 1.0, "convergence_delta": value} for value in (0.01, -0.9, 0.03)]
    each[1]["finite"] = 0.0
    assert results.summarise_checks(each) == {"finite": 0.0, "convergence_delta": pytest.approx(0.03)}


def test_class_that_is_never_held_out_has_no_mean_heatmap(study, tmp_path):
    common, splits, _ = study(1.0)
    test = tuple(row for row in splits[0].test if row % 2 == 0)
    part = train(common, replace(splits[0], test=test), tmp_path / "out", explainers=("weights",))
    assert [mean.explained for mean in results.average_heatmaps([part], "svm/gm", CLASSES)] == ["control"]
