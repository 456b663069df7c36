"""The prediction page of a participant: written only where the verdict allows it, with correct numbers."""

import json
import re
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter

from bids_app.atlases import templates
from bids_app.dataset.grid import Grid
from bids_app.graphs.prediction_pages import find_t1w_and_transforms
from bids_app.nodes.prediction_page import warp_t1w_to_template
from bids_app.report.page import format_number
from bids_app.report.prediction_page import rescale_to_prevalence
from bids_app.run import main
from bids_app.training.feature_pipeline import Samples, fit_pipeline
from bids_app.training.region_zscores import compute_region_zscores

SPACE = "MNI152NLin2009cAsym"


def test_prevalence_rescaling_matches_counting_participants():
    """Of 1000 participants of the second class 900 test positive, of 1000 without it 100: 0.9 if equally common."""
    assert rescale_to_prevalence(0.9, 0.5) == pytest.approx(0.9)
    with_it, without = 0.9 * 100, 0.1 * 900  # of 1000 participants of whom a tenth have it
    assert rescale_to_prevalence(0.9, 0.1) == pytest.approx(with_it / (with_it + without))
    assert rescale_to_prevalence(1.0, 0.01) == 1


def test_region_z_score_is_relative_to_reference_class_training_participants():
    random = np.random.default_rng(0)
    grid = Grid(np.ones((4, 5, 6), bool), np.eye(4))
    values = {name: random.normal(size=(12, 120)).astype(np.float32) for name in ("gm", "wm")}
    tiv = random.normal(1500, 100, 12)
    people = Samples(values, {"tiv": tiv})
    training, held_out = people.select(range(9)), people.select(range(9, 12))
    pipeline = fit_pipeline(training, maps=("gm", "wm"), columns={"gm": ("tiv",)}, grid=grid)
    labels, reference = random.choice([0, 2, 7], 120), np.arange(9) < 5
    index, z, controls = compute_region_zscores(pipeline, training, held_out, reference, labels)
    assert index.tolist() == [2, 7]
    assert controls == 5
    assert z.shape == (3, 2, 2)
    known, own = pipeline.transform(training), pipeline.transform(held_out)
    for column, label in enumerate((2, 7)):
        controls = known[:5, 120:][:, labels == label].mean(axis=1)
        expected = (own[1, 120:][labels == label].mean() - controls.mean()) / controls.std(ddof=1)
        assert z[1, 1, column] == pytest.approx(expected, rel=1e-4)
    few = compute_region_zscores(pipeline, training, held_out, np.arange(9) < 4, labels)[1]
    assert np.isnan(few).all()


def test_saved_transforms_align_the_t1w_with_the_template(phantom_maps, tmp_path):
    _, out = phantom_maps
    (brain,) = out.glob(".work/template-*/brain.nii.gz")
    settings = SimpleNamespace(output_dir=out)
    files = find_t1w_and_transforms("01", "n/a", SPACE, settings)
    assert [path.rpartition("_")[2] for path, _ in files] == ["T1w.nii.gz", "xfm.nii.gz", "xfm.mat"]
    moved, template = warp_t1w_to_template([path for path, _ in files], str(brain)), nib.load(brain)
    inside = template.get_fdata() > 0
    assert moved.shape == template.shape
    assert np.allclose(moved.affine, template.affine)
    like = np.corrcoef(moved.get_fdata()[inside], template.get_fdata()[inside])[0, 1]
    raw = templates.resample(
        nib.load(out / "sub-01/anat/sub-01_desc-preproc_T1w.nii.gz"), template.shape, template.affine, order="linear"
    )
    before = np.corrcoef(raw.get_fdata()[inside], template.get_fdata()[inside])[0, 1]
    assert like > 0.8
    assert like > before + 0.1
    assert find_t1w_and_transforms("99", "n/a", SPACE, settings) == []


def _regions_on_pages_are_those_of_the_person_s_fold(out, folder, told):
    (work,) = (out / ".work").glob("analysis-real-*")
    for person in ("sub-01", "sub-08"):
        place = work / "folds" / "svm" / "gm" / f"repeat-1_fold-{told.loc[person, 'fold']}"
        held_out = pd.read_csv(place / "predictions.tsv", sep="\t", dtype=str)["participant_id"].tolist()
        row, explained = held_out.index(person.removeprefix("sub-")), told.loc[person, "predicted"]
        grid = Grid.read(work / "grid_gm.npz")
        values = np.load(place / "heatmap_weights.npy")[row, ["control", "patient"].index(explained)]
        labels = grid.vector(np.load(place / "parcels.npy"))
        with np.load(place / "regions.npz") as stored:
            index, z = stored["index"], stored["z"][row, 0]
        means = np.array([values[labels == one].mean(dtype=float) for one in index])
        first = int(np.abs(means).argmax())
        text = (folder / "people" / f"{person}.html").read_text()
        table = text[text.index("heatmap, mean") :]
        cells = re.findall(r'<td class="w">([^<]*)</td>', table)
        assert cells[1:3] == [format_number(means[first]), format_number(z[first])]


@pytest.mark.slow
def test_prediction_pages_are_written_only_where_the_verdict_allows(tmp_path, with_template, invented_gm):
    bids, out = tmp_path / "bids", tmp_path / "out"
    bids.mkdir()
    with_template(out / ".work")
    random = np.random.default_rng(3)
    table = pd.DataFrame({"participant_id": [f"sub-{number:02}" for number in range(1, 21)]})
    table["group"] = ["patient", "control"] * 10
    table["other"] = random.permutation(table["group"])
    table["age"], table["sex"], table["site"] = random.integers(20, 60, 20), random.choice(["F", "M"], 20), "A"
    table.to_csv(bids / "participants.tsv", sep="\t", index=False)
    (bids / "dataset_description.json").write_text(json.dumps({"Name": "calls", "BIDSVersion": "1.10.0"}))
    shape, affine = templates.grid(SPACE, 4.0)
    for person, group in zip(table["participant_id"], table["group"], strict=True):
        (bids / person).mkdir()
        values = 0.5 + 2 * gaussian_filter(random.normal(size=shape), 2)
        values[: shape[0] // 2] -= 0.2 * (group == "patient")
        invented_gm(out, person, nib.Nifti1Image(values.astype(np.float32), affine), random)
    given = ["--classes", "control", "patient", "--classifiers", "svm", "--explainers", "pattern", "weights"]
    common = [str(bids), str(out), "group", *given, "--site", "site", "--folds", "4", "--sloppy", "--nprocs", "2"]
    assert main([*common, "--analysis", "real", "--label", "group"]) == 0
    folder = out / "group" / "real"
    predictions = pd.read_csv(folder / "predictions.tsv", sep="\t").set_index("participant_id")
    assert sorted(one.stem for one in (folder / "people").glob("*.html")) == sorted(table["participant_id"])
    for person, row in predictions.iterrows():
        text = (folder / "people" / f"{person}.html").read_text()
        assert f"svm/gm: predicted {row['predicted']}" in text
        assert f"Class of the participant in the study: <strong>{row['true']}</strong>" in text
        assert "Research use only; not for diagnosis." in text
        assert "no T1w image of this participant with transforms" in text
        assert f">{row['probability_patient']:.2f}<" in text
        for file in re.findall(r'<img src="([^"]+)"', text):
            assert (folder / "people" / file).is_file()
        assert f'href="people/{person}.html"' in (folder / "report.html").read_text()
    _regions_on_pages_are_those_of_the_person_s_fold(out, folder, predictions)
    assert not (folder / "share" / "people").exists()
    shared = pd.read_csv(folder / "share" / "regions.tsv", sep="\t")
    assert not {"mean_right", "mean_wrong", "fold_rank_best", "fold_rank_worst"} & set(shared)
    assert {"mean", "p_size", "person_rank"} <= set(shared)
    assert main([*common, "--analysis", "chance", "--label", "other"]) == 0
    assert not (out / "group" / "chance" / "people").exists()
    assert "Explanations of individual predictions" not in (out / "group" / "chance" / "report.html").read_text()
