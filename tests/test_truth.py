"""Which heatmaps localise the planted effect: every explainer of every classifier, over ten seeds chosen beforehand.

Maps are invented: smooth noise in an ellipsoid, less an effect in one sphere in patients; and the same with a
suppressor, noise that the sphere shares with a second one, which has no effect of its own (Haufe et al. 2014; Wilming
et al. 2022). Run it with `scripts/test -m slow -s tests/test_truth.py`; it prints every figure.
docs/explaining.md says what follows.
"""

import shutil

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.ndimage import gaussian_filter

from bids_app import catalogue
from bids_app.dataset import folds
from bids_app.dataset.grid import Grid
from bids_app.regions import overlap
from bids_app.training import fold, results, scores

pytestmark = pytest.mark.slow
SEEDS = range(1, 11)
CLASSIFIERS = ("cnn3d", "svm")  # those that two cores train in a minute
PEOPLE = 80
KINDS = {"plain": (0.7, 0.0), "suppressor": (2.0, 3.0)}  # effect and shared noise, in SDs of a voxel
SHAPE = (18, 22, 18)
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
CLASSES = ("control", "patient")
CENTRE, OTHER, RADIUS = (5, 11, 9), (13, 11, 9), 4.5  # voxels


def sphere(centre):
    return sum((one - at) ** 2 for one, at in zip(np.indices(SHAPE), centre, strict=True)) <= RADIUS**2


def mask():
    middle = (np.array(SHAPE) - 1) / 2
    return sum(((one - at) / (at + 0.5)) ** 2 for one, at in zip(np.indices(SHAPE), middle, strict=True)) <= 1


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A row a seed, kind of phantom, classifier and method."""
    rows = []
    for seed in SEEDS:
        for kind in KINDS:
            folder = tmp_path_factory.mktemp(f"{kind}{seed}")
            rows += [{"seed": seed, "kind": kind, **row} for row in _rows(folder, seed, kind)]
            shutil.rmtree(folder)
        print("seed", seed, "done", flush=True)
    table = pd.DataFrame(rows)
    keys = ["kind", "classifier", "method"]
    spread = table.groupby(keys)["auprc"].agg(["mean", "min", "max"])
    others = table.groupby(keys)[["auroc", "dice_at_volume", "pointing", "at_suppressor", "balanced_accuracy"]].mean()
    print("\n" + spread.join(others).round(3).to_string(), flush=True)
    print("\nchance of AUPRC:", round(float(table["chance"].iloc[0]), 4), flush=True)
    return table


def _rows(folder, seed, kind):
    random = np.random.default_rng(seed)
    grid = Grid(mask(), AFFINE)
    patient = np.arange(PEOPLE) % 2 == 1
    x = _images(random, patient, kind)[:, grid.mask].astype(np.float32)
    np.save(folder / "x.npy", x)
    np.save(folder / "parcels.npy", _blocks())
    grid.write(folder / "grid.npz")
    people = pd.DataFrame({"participant_id": [f"{row:03}" for row in range(PEOPLE)], "session_id": "n/a"})
    people["class"] = np.where(patient, "patient", "control")
    people.to_csv(folder / "people.tsv", sep="\t", index=False)
    splits = folds.stratified_folds(people["class"].tolist(), folds=4, seed=seed)
    inside, suppressor = grid.vector(sphere(CENTRE)), grid.vector(sphere(OTHER))

    def row(classifier, method, strength, accuracy):
        record = {
            "classifier": classifier,
            "method": method,
            "balanced_accuracy": accuracy,
            "chance": inside.mean(),
        }
        record["at_suppressor"] = strength[suppressor].mean() / strength.mean() if strength.any() else np.nan
        return record | overlap.measure_overlap(strength, inside)

    yield row("none", "t-map", np.abs(stats.ttest_ind(x[patient], x[~patient]).statistic), np.nan)
    yield row("none", "group mean", np.abs(x.mean(axis=0)), np.nan)
    for classifier in CLASSIFIERS:
        cell = f"{classifier}/gm"
        folders = [folder / classifier / str(split.fold) for split in splits]
        for place, split in zip(folders, splits, strict=True):
            fold.train_fold(
                cell=cell, classifier=classifier, maps=("gm",), arrays={"gm": folder / "x.npy"},
                grid_file=folder / "grid.npz", people=folder / "people.tsv", classes=CLASSES, split=split,
                explainers=catalogue.names("explainers"), parcels=folder / "parcels.npy", adjust={"gm": ()}, seed=seed,
                device="cpu", folder=place, settings={},
            )  # fmt: skip
        result = scores.score_table(results.read_predictions(folders), CLASSES).iloc[0]["balanced_accuracy"]
        for mean in results.average_heatmaps(folders, cell, CLASSES):
            if mean.explained == "patient":
                strength = np.abs(mean.values) if mean.sign == "both" else np.maximum(mean.values, 0)
                yield row(classifier, mean.method, strength, result)


def _images(random, patient, kind):
    """(participants, X, Y, Z), one SD a voxel before anything is planted."""
    noise = np.stack([gaussian_filter(random.normal(size=SHAPE), 1.0) for _ in range(PEOPLE)])
    noise /= noise.std()
    effect, shared = KINDS[kind]
    noise -= effect * patient[:, None, None, None] * sphere(CENTRE)
    return noise + shared * random.normal(size=(PEOPLE, 1, 1, 1)) * (sphere(CENTRE) | sphere(OTHER))


def _blocks():
    """Regions for occlusion, independent of the spheres: blocks of five voxels per edge."""
    steps = [np.arange(edge) // 5 for edge in SHAPE]
    return 1 + steps[0][:, None, None] * 100 + steps[1][None, :, None] * 10 + steps[2][None, None, :]


def test_every_method_localises_a_plain_effect_above_chance(measured):
    plain = measured[measured["kind"] == "plain"]
    mean = plain.groupby(["classifier", "method"])["auprc"].mean()
    assert mean.min() > 3 * measured["chance"].iloc[0]
    assert mean["svm", "pattern"] > 0.9


def test_pattern_and_classifier_free_maps_withstand_a_suppressor_and_networks_do_not(measured):
    mean = measured[measured["kind"] == "suppressor"].groupby(["classifier", "method"])["auprc"].mean()
    assert min(mean["none", "t-map"], mean["none", "group mean"], mean["svm", "pattern"]) > 0.8
    network = mean["cnn3d"].drop("occlusion")
    assert network.max() < 0.25  # chance is 0.1; without the suppressor at least 0.3


def test_gradient_methods_highlight_the_suppressor_without_an_effect(measured):
    share = measured[measured["kind"] == "suppressor"].groupby(["classifier", "method"])["at_suppressor"].mean()
    for classifier, method in (("svm", "saliency"), ("cnn3d", "saliency"), ("cnn3d", "gradcam")):
        assert share[classifier, method] > 1.2
    assert share["cnn3d", "guided_gradcam"] > 2
