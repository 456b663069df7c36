"""Which heatmaps find what was planted: every explainer of every classifier, over ten seeds chosen beforehand.

Maps are invented: smooth noise in an ellipsoid, less an effect in one sphere in patients; and the same with a
suppressor, what a second sphere without any effect shares with the first (Haufe et al. 2014; Wilming et al. 2022).
Run it with `scripts/test -m slow -s tests/test_truth.py`; it prints every figure. docs/explaining.md says what follows.
"""

import shutil

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter

from bids_app import catalogue
from bids_app.dataset import folds
from bids_app.dataset.grid import Grid
from bids_app.regions import overlap
from bids_app.training import fold, results, scores

pytestmark = pytest.mark.slow
SEEDS = range(1, 11)
PEOPLE, EFFECT, SHARED = 60, 1.0, 2.0  # in SDs of a voxel
SHAPE = (22, 26, 22)
AFFINE = np.diag([6.0, 6.0, 6.0, 1.0])
CLASSES = ("control", "patient")
CENTRE, OTHER, RADIUS = (6, 13, 11), (16, 13, 11), 2.6  # voxels


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
        for kind in ("plain", "suppressor"):
            folder = tmp_path_factory.mktemp(f"{kind}{seed}")
            rows += [{"seed": seed, "kind": kind, **row} for row in _rows(folder, seed, kind)]
            shutil.rmtree(folder)
        print("seed", seed, "done", flush=True)
    table = pd.DataFrame(rows)
    keys = ["kind", "classifier", "method"]
    spread = table.groupby(keys)["auprc"].agg(["mean", "min", "max"])
    others = table.groupby(keys)[["at_suppressor", "balanced_accuracy", "pointing"]].mean()
    print("\n" + spread.join(others).round(3).to_string(), flush=True)
    print("\nchance of AUPRC:", round(float(table["chance"].iloc[0]), 4), flush=True)
    return table


def _rows(folder, seed, kind):
    random = np.random.default_rng(seed)
    grid = Grid(mask(), AFFINE)
    noise = np.stack([gaussian_filter(random.normal(size=SHAPE), 1.0) for _ in range(PEOPLE)])
    noise /= noise.std()
    patient = np.arange(PEOPLE) % 2 == 1
    noise[np.ix_(patient, *map(np.arange, SHAPE))] -= EFFECT * sphere(CENTRE)
    if kind == "suppressor":
        noise += SHARED * random.normal(size=(PEOPLE, 1, 1, 1)) * (sphere(CENTRE) | sphere(OTHER))
    np.save(folder / "x.npy", noise[:, grid.mask].astype(np.float32))
    np.save(folder / "parcels.npy", np.where(sphere(CENTRE), 1, np.where(sphere(OTHER), 2, _blocks())))
    grid.write(folder / "grid.npz")
    people = pd.DataFrame({"participant_id": [f"{row:03}" for row in range(PEOPLE)], "session_id": "n/a"})
    people["class"] = np.where(patient, "patient", "control")
    people.to_csv(folder / "people.tsv", sep="\t", index=False)
    splits = folds.stratified(people["class"].tolist(), folds=4, seed=seed)
    inside, suppressor = grid.vector(sphere(CENTRE)), grid.vector(sphere(OTHER))
    for classifier in catalogue.names("classifiers"):
        cell = f"{classifier}/gm"
        folders = [folder / classifier / str(split.fold) for split in splits]
        for place, split in zip(folders, splits, strict=True):
            fold.run(
                cell=cell, classifier=classifier, maps=("gm",), arrays={"gm": folder / "x.npy"},
                grid_file=folder / "grid.npz", people=folder / "people.tsv", classes=CLASSES, split=split,
                explainers=catalogue.names("explainers"), parcels=folder / "parcels.npy", adjust={"gm": ()}, seed=seed,
                device="cpu", folder=place, settings={},
            )  # fmt: skip
        found = scores.table(results.predictions(folders), CLASSES).iloc[0]["balanced_accuracy"]
        for mean in results.means(folders, cell, CLASSES):
            if mean.explained == "patient":
                strength = np.abs(mean.values) if mean.sign == "both" else np.maximum(mean.values, 0)
                told = overlap.measures(strength, inside)
                row = {"classifier": classifier, "method": mean.method, "balanced_accuracy": found, **told}
                yield row | {"at_suppressor": strength[suppressor].mean() / strength.mean(), "chance": inside.mean()}


def _blocks():
    """Other regions for occlusion: blocks of five voxels an edge, named from 10."""
    steps = [np.arange(edge) // 5 for edge in SHAPE]
    return 10 + steps[0][:, None, None] * 100 + steps[1][None, :, None] * 10 + steps[2][None, None, :]


def test_what_was_planted_is_found_by_the_methods_that_the_documentation_calls_trustworthy(measured):
    mean = measured.groupby(["kind", "classifier", "method"])["auprc"].mean()
    chance = measured["chance"].iloc[0]
    assert mean["plain", "svm", "pattern"] > 20 * chance
    assert mean["suppressor", "svm", "pattern"] > 20 * chance


def test_weights_point_at_the_suppressor_and_the_pattern_does_not(measured):
    share = measured[measured["kind"] == "suppressor"].groupby(["classifier", "method"])["at_suppressor"].mean()
    assert share["svm", "saliency"] > 3
    assert share["svm", "pattern"] < share["svm", "saliency"] / 2
