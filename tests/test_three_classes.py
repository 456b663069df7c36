"""A study of three classes from maps to the report: scores, heatmaps and pages of each class."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter

from bids_app.atlases import templates
from bids_app.run import main

CLASSES = ("control", "MDD", "bipolar")
PEOPLE, SPACE, MM = 36, "MNI152NLin2009cAsym", 8.0
OPTIONS = ["--label", "dx", "--classes", *CLASSES, "--classifiers", "svm", "--explainers", "weights", "saliency",
           "--folds", "3", "--permutations", "40", "--sloppy", "--nprocs", "2"]  # fmt: skip


@pytest.fixture(scope="module")
def analysis(tmp_path_factory, invented_gm):
    """The folder of an analysis of 36 participants, 12 of each class, each patient class brighter in a cube of its own;
    covariates are unrelated."""
    home = tmp_path_factory.mktemp("three")
    bids, out = home / "bids", home / "out"
    bids.mkdir()
    random = np.random.default_rng(5)
    shape, affine = templates.grid(SPACE, MM)
    table = pd.DataFrame({"participant_id": [f"sub-{number:02}" for number in range(1, PEOPLE + 1)]})
    table["dx"] = [CLASSES[number % 3] for number in range(PEOPLE)]
    table["age"], table["sex"], table["site"] = random.integers(20, 60, PEOPLE), random.choice(["F", "M"], PEOPLE), "A"
    table.to_csv(bids / "participants.tsv", sep="\t", index=False)
    (bids / "dataset_description.json").write_text(json.dumps({"Name": "three", "BIDSVersion": "1.10.0"}))
    cubes = {"MDD": np.s_[6:10, 10:14, 8:12], "bipolar": np.s_[14:18, 10:14, 8:12]}
    for person, name in zip(table["participant_id"], table["dx"], strict=True):
        (bids / person).mkdir()
        values = 0.5 + 0.1 * gaussian_filter(random.normal(size=shape), 1) / 0.2
        if name in cubes:
            values[cubes[name]] += 1.0
        invented_gm(out, person, nib.Nifti1Image(values.astype(np.float32), affine), random)
    assert main([str(bids), str(out), "group", *OPTIONS]) == 0
    return out / "group" / "dx"


def test_three_classes_are_scored_against_a_chance_of_one_third(analysis):
    scores = pd.read_csv(analysis / "scores.tsv", sep="\t").set_index("cell")
    assert scores.loc["svm/gm", "balanced_accuracy"] > 0.8
    assert scores.loc["svm/gm", "p_corrected"] <= 0.05
    assert "calibration_slope" not in scores  # defined for two classes
    predictions = pd.read_csv(analysis / "predictions.tsv", sep="\t")
    own = predictions[predictions["cell"] == "svm/gm"]
    probabilities = own[[f"probability_{name}" for name in CLASSES]]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-4)
    assert (probabilities.to_numpy().argmax(axis=1) == [CLASSES.index(name) for name in own["predicted"]]).all()


def test_report_names_all_classes_and_each_has_a_heatmap(analysis):
    page = (analysis / "report.html").read_text()
    assert "Do brain images distinguish control, MDD and bipolar?" in page
    assert "chance 0.33" in page
    for name in CLASSES:
        assert f"weights, class {name}" in page
    assert "sensitivity is" not in page  # defined for two classes


def test_pages_of_participants_have_all_probabilities_and_no_calibration_slope(analysis):
    pages = list((analysis / "people").glob("*.html"))
    assert len(pages) == PEOPLE
    text = pages[0].read_text()
    for name in CLASSES:
        assert f">{name}</" in text
    assert "calibration slope" not in text
