"""`import pellucid`: tables, heatmaps and predictions equal the files of the group level."""

import csv
import json
import math
import re
import shutil
import subprocess
import sys

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import tomli_w
import torch
from matplotlib import pyplot as plt

import pellucid
from bids_app.dataset.grid import Grid
from bids_app.errors import DataError, MissingInputError, UsageError
from bids_app.run import main
from bids_app.training import models
from bids_app.training.feature_pipeline import Samples, fit_pipeline
from bids_app.training.model_metadata import compute_digests

OPTIONS = ["--folds", "2", "--permutations", "0", "--classifiers", "svm", "--explainers", "weights", "pattern"]
OPTIONS += ["--sloppy", "--nprocs", "2"]


@pytest.fixture(scope="module")
def study(phantom_maps, tmp_path_factory):
    """BIDS and OUT with two analyses of 8 participants, `diagnosis` (adjusted for tiv and sex, harmonised) and `coin`;
    `applied` has the predictions of the models of `diagnosis` for the same participants."""
    bids, maps = phantom_maps
    folder = tmp_path_factory.mktemp("python")
    out = shutil.copytree(maps, folder / "out", ignore=shutil.ignore_patterns("group"))
    people = pd.read_csv(bids / "participants.tsv", sep="\t", dtype=str)
    people["site"] = ["north", "south"] * 4
    people["sex"] = ["F", "F", "M", "M", "F", "M", "F", "M"]
    people["coin"] = ["1", "0", "0", "1"] * 2
    (folder / "bids").mkdir()
    shutil.copyfile(bids / "dataset_description.json", folder / "bids" / "dataset_description.json")
    people.to_csv(folder / "bids" / "participants.tsv", sep="\t", index=False)
    for person in people["participant_id"]:
        (folder / "bids" / person).mkdir()
    group = [str(folder / "bids"), str(out), "group"]
    diagnosis = ["--label", "group", "--classes", "control", "patient", "--analysis", "diagnosis"]
    assert main([*group, *diagnosis, "--covariates", "tiv", "sex", "--harmonize", "combat", *OPTIONS]) == 0
    assert main([*group, "--label", "coin", "--analysis", "coin", *OPTIONS]) == 0
    model = ["--model", str(out / "group" / "diagnosis" / "models"), "--analysis", "applied", "--nprocs", "2"]
    assert main([*group, *model]) == 0
    return folder / "bids", out


@pytest.fixture(scope="module")
def model(study):
    return pellucid.load_model(study[1] / "group" / "diagnosis" / "models")


@pytest.fixture(scope="module")
def applied(study):
    """The predictions that `pellucid ... group --model` wrote, by participant."""
    with (study[1] / "group" / "applied" / "predictions.tsv").open() as stream:
        return {row["participant_id"]: row for row in csv.DictReader(stream, delimiter="\t")}


@pytest.fixture(scope="module")
def inputs(study, applied):
    """The maps of the participants in `applied`, and their covariates, in its order."""
    bids, out = study
    files = [next(out.glob(f"{person}/anat/*_label-GM_*probseg.nii.gz")) for person in applied]
    people = pd.read_csv(bids / "participants.tsv", sep="\t", dtype=str).set_index("participant_id")
    return files, people.loc[list(applied), ["sex", "site"]]


def _same(value, text):
    if text in ("n/a", ""):
        return pd.isna(value)
    if isinstance(value, bool | np.bool_):
        return str(bool(value)) == text
    if isinstance(value, str):
        return value == text
    return math.isclose(value, float(text), rel_tol=1e-12, abs_tol=0)


@pytest.mark.parametrize("analysis", ["diagnosis", "coin"])
@pytest.mark.parametrize(
    ("attribute", "file"),
    [
        ("predictions", "predictions"),
        ("scores", "scores"),
        ("regions", "regions"),
        ("participants", "samples"),
        ("folds", "folds"),
    ],
)
def test_data_frames_have_the_values_of_the_tables(study, analysis, attribute, file):
    out = study[1]
    frame = getattr(pellucid.load_analysis(out, analysis), attribute)
    with (out / "group" / analysis / f"{file}.tsv").open() as stream:
        header, *rows = csv.reader(stream, delimiter="\t")
    assert list(frame.columns) == header
    assert len(frame) == len(rows) > 0
    wrong = [
        (column, value, text)
        for values, row in zip(frame.to_numpy(object), rows, strict=True)
        for column, value, text in zip(header, values, row, strict=True)
        if not _same(value, text)
    ]
    assert wrong == []


def test_numeric_class_names_stay_text(study):
    analysis = pellucid.load_analysis(study[1], "coin")
    assert set(analysis.predictions["true"]) == {"0", "1"}
    assert {heatmap.explained_class for heatmap in analysis.heatmaps} <= {"0", "1"}


def test_other_tables_are_read_by_name_and_a_missing_one_is_refused_with_those_that_exist(study):
    analysis = pellucid.load_analysis(study[1], "diagnosis")
    written = {file.stem for file in (study[1] / "group" / "diagnosis").glob("*.tsv")}
    assert set(analysis.table_names) == written
    assert {"check", "passed"} <= set(analysis.read_table("checks").columns)
    with pytest.raises(MissingInputError, match=r"no table nothing; it has checks, .*predictions"):
        analysis.read_table("nothing")
    applied = pellucid.load_analysis(study[1], "applied")
    with pytest.raises(MissingInputError, match="applied has no table regions; it has predictions, samples"):
        applied.regions  # noqa: B018
    assert applied.heatmaps == ()
    assert len(applied.predictions) == 8


def test_missing_folders_and_unknown_and_unfinished_analyses_are_refused(study, tmp_path):
    bids, out = study
    with pytest.raises(MissingInputError, match=r"there is no folder .*nowhere"):
        pellucid.load_analysis(tmp_path / "nowhere", "diagnosis")
    with pytest.raises(MissingInputError, match="has no finished analysis; run pellucid BIDS_DIR OUT_DIR group"):
        pellucid.load_analysis(bids, "diagnosis")
    with pytest.raises(MissingInputError, match="no analysis other; it has applied, coin, diagnosis"):
        pellucid.load_analysis(out, "other")
    copy = shutil.copytree(out / "group", tmp_path / "out" / "group").parent
    (copy / "group" / "coin" / "report.html").unlink()
    (copy / ".work" / "analysis-begun-0123").mkdir(parents=True)
    for name in ("coin", "begun"):
        with pytest.raises(MissingInputError, match=f"analysis {name} .* is not finished; run the group level again"):
            pellucid.load_analysis(copy, name)


def test_heatmaps_are_the_images_with_what_their_sidecars_state(study):
    folder = study[1] / "group" / "diagnosis"
    heatmaps = pellucid.load_analysis(study[1], "diagnosis").heatmaps
    assert {heatmap.file for heatmap in heatmaps} == set(folder.glob("*_statmap.nii.gz"))
    for heatmap in heatmaps:
        stated = json.loads((folder / heatmap.file.name.replace(".nii.gz", ".json")).read_text())
        read = (heatmap.model, heatmap.method, heatmap.explained_class, heatmap.people, heatmap.unit)
        assert read == tuple(stated[key] for key in ("Cell", "Method", "ExplainedClass", "People", "Units"))
        assert np.array_equal(heatmap.image.get_fdata(), nib.load(heatmap.file).get_fdata())
        assert np.any(heatmap.image.get_fdata())
    # the models were not tested against chance, so nothing is claimed
    assert "svm on gm" in heatmaps[0].verdict
    assert not heatmaps[0].claim


def test_a_heatmap_is_chosen_by_model_method_and_class_and_ambiguity_is_refused(study):
    analysis = pellucid.load_analysis(study[1], "diagnosis")
    assert "stat-pattern" in analysis.heatmap(method="pattern").file.name
    for name in ("control", "patient"):
        heatmap = analysis.heatmap(model="svm/gm", method="weights", explained_class=name)
        assert f"stat-weights_desc-SvmGm{name.capitalize()}_" in heatmap.file.name
    with pytest.raises(
        UsageError, match=r"several heatmaps match .*svm/gm, weights, control; svm/gm, weights, patient"
    ):
        analysis.heatmap(method="weights")
    with pytest.raises(UsageError, match=r"no heatmap matches method=gradcam; .*svm/gm, weights, patient"):
        analysis.heatmap(method="gradcam")


def test_the_figure_of_a_heatmap_shows_the_voxels_that_the_report_shows(study, caplog):
    heatmap = pellucid.load_analysis(study[1], "diagnosis").heatmap(method="weights", explained_class="patient")
    report = (study[1] / "group" / "diagnosis" / "report.html").read_text()
    threshold = float(re.search(r"method: weights; explained class: patient;[^<]*\(at least ([\d.e-]+);", report)[1])
    values = heatmap.image.get_fdata()
    z = int(np.argmax(np.abs(values).max(axis=(0, 1))))
    cut = (heatmap.image.affine @ [0, 0, z, 1])[2]
    display = heatmap.plot(display_mode="z", cut_coords=[cut])
    (axes,) = display.axes.values()
    drawn = np.sort(np.ma.compressed(np.ma.masked_invalid(axes.ax.images[-1].get_array())))
    # the report rounds the threshold to three digits
    surely, possibly = (
        np.sort(values[:, :, z][np.abs(values[:, :, z]) >= threshold * share]).astype(np.float32)
        for share in (1.005, 0.995)
    )
    assert len(surely) > 5
    assert np.isin(surely, drawn.astype(np.float32)).all()
    assert np.isin(drawn.astype(np.float32), possibly).all()
    assert "cannot be judged" in caplog.text
    assert "Its heatmaps should not be interpreted" in caplog.text
    plt.close("all")


def test_options_of_nilearn_replace_those_of_the_report(study, tmp_path):
    heatmap = pellucid.load_analysis(study[1], "diagnosis").heatmap(method="weights", explained_class="patient")
    values = np.abs(heatmap.image.get_fdata())
    high = float(np.quantile(values[values > 0], 0.99))
    display = heatmap.plot(threshold=high, display_mode="x", cut_coords=[0], colorbar=False, cmap="viridis")
    (axes,) = display.axes.values()
    drawn = np.ma.compressed(np.ma.masked_invalid(axes.ax.images[-1].get_array()))
    assert (np.abs(drawn) >= high).all()
    assert axes.ax.images[-1].get_cmap().name == "viridis"
    heatmap.plot(output_file=str(tmp_path / "figure.png"), title="a title")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    plt.close("all")


@pytest.mark.parametrize("kind", ["paths", "texts", "images", "arrays"])
def test_predictions_equal_those_of_the_group_level(model, inputs, applied, kind):
    files, covariates = inputs
    if kind == "arrays":  # without a file name there is no sidecar that states the brain volume
        sidecars = [json.loads(file.with_name(file.name.replace(".nii.gz", ".json")).read_text()) for file in files]
        covariates = covariates.assign(tiv=[sidecar["TotalIntracranialVolume"] for sidecar in sidecars])
        images = [nib.Nifti1Image(nib.load(file).get_fdata(dtype=np.float32), nib.load(file).affine) for file in files]
    else:
        images = [{"paths": lambda file: file, "texts": str, "images": nib.load}[kind](file) for file in files]
    probabilities = model.predict_proba(images, covariates)
    assert model.classes == ("control", "patient")
    for column, name in enumerate(model.classes):
        written = [float(row[f"probability_{name}"]) for row in applied.values()]
        assert probabilities[:, column] == pytest.approx(written, rel=1e-5)
    assert model.predict(images, covariates).tolist() == [row["predicted"] for row in applied.values()]
    assert len(set(np.round(probabilities[:, 0], 6))) > 1


def test_one_image_and_one_fold_are_predicted(study, inputs):
    files, covariates = inputs
    folds = sorted((study[1] / "group" / "diagnosis" / "models" / "svm" / "gm").glob("repeat-1_fold-*"))
    each = [pellucid.load_model(fold).predict_proba(files[0], covariates.iloc[:1]) for fold in folds]
    together = pellucid.load_model(folds[0].parent).predict_proba({"gm": files[0]}, covariates.iloc[:1])
    assert len(each) == 2
    assert not np.allclose(*each)
    assert together == pytest.approx(np.mean(each, axis=0))


def test_a_model_states_what_it_requires_and_the_verdict(model):
    assert set(model.covariates) == {"tiv", "sex", "site"}
    assert list(model.maps) == ["gm"]
    assert "svm on gm" in model.verdict
    assert repr(model) == "Model(svm/gm, 2 folds, control and patient)"


def test_maps_that_do_not_fit_the_model_are_refused_by_name(model, inputs, tmp_path):
    files, covariates = inputs
    image = nib.load(files[0])
    with pytest.raises(DataError, match=r"image 1 \(shape .* is not on the analysis grid"):
        model.predict(nib.Nifti1Image(image.get_fdata()[1:], image.affine), covariates.iloc[:1].assign(tiv=1400.0))
    copy = shutil.copyfile(files[1], tmp_path / files[1].name)
    sidecar = files[1].with_name(files[1].name.replace(".nii.gz", ".json"))
    stated = json.loads(sidecar.read_text())
    stated["MapParameters"]["Registration"] = "affine"
    (tmp_path / sidecar.name).write_text(json.dumps(stated))
    with pytest.raises(
        DataError, match=f"{copy.name} was not computed like those of the model: Registration is affine"
    ):
        model.predict([files[0], copy], covariates.iloc[:2])
    (tmp_path / sidecar.name).unlink()
    with pytest.raises(MissingInputError, match="is missing beside its map"):
        model.predict([files[0], copy], covariates.iloc[:2])


def test_missing_and_unknown_covariates_and_unequal_numbers_of_images_are_refused(model, inputs):
    files, covariates = inputs
    with pytest.raises(DataError, match="svm/gm requires the covariate sex"):
        model.predict(files)
    with pytest.raises(DataError, match=f"{files[1].name}: covariate sex has the value O, which did not occur"):
        model.predict(files[:2], covariates.iloc[:2].assign(sex=["F", "O"]))
    with pytest.raises(DataError, match="tiv is missing or not a number"):
        model.predict(files[:2], covariates.iloc[:2].assign(tiv=[1400, "unknown"]))
    with pytest.raises(UsageError, match="covariates has 8 rows for 1 participants"):
        model.predict(files[0], covariates)
    with pytest.raises(UsageError, match="takes gm, not wm"):
        model.predict({"wm": files}, covariates)
    with pytest.raises(UsageError, match="one image of each map per participant, not 0 of gm"):
        model.predict([], covariates)


def test_a_folder_with_models_of_several_cells_is_refused_with_their_names(study, tmp_path):
    models = shutil.copytree(study[1] / "group" / "diagnosis" / "models", tmp_path / "models")
    for name in ("gm", "wm"):
        shutil.copytree(models / "svm" / "gm", models / "other" / name)
        for card in (models / "other" / name).glob("*/model.toml"):
            card.write_text(card.read_text().replace('cell = "svm/gm"', f'cell = "other/{name}"'))
    with pytest.raises(UsageError, match=r"has several models; specify .*: other/gm, other/wm, svm/gm"):
        pellucid.load_model(models)
    with pytest.raises(MissingInputError, match=r"^there is no folder"):
        pellucid.load_model(tmp_path / "nothing")


def _modules_after(code):
    heavy = "torch", "nipype", "nilearn", "ants", "sklearn", "pandas", "matplotlib", "nibabel"
    code = f"import sys; {code}; print(*sorted(set({heavy!r}) & set(sys.modules)))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_import_loads_nothing_heavy_and_reading_an_analysis_loads_neither_torch_nor_nipype(study):
    assert _modules_after("import pellucid; dir(pellucid)") == []
    loaded = _modules_after(f"import pellucid; pellucid.load_analysis({str(study[1])!r}, 'coin').heatmaps[0].image")
    assert not {"torch", "nipype", "ants", "matplotlib"} & set(loaded)


def test_an_unknown_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'load_everything'"):
        pellucid.load_everything  # noqa: B018
    assert all(getattr(pellucid, name) for name in dir(pellucid))


@pytest.fixture
def two_maps(tmp_path):
    """The folder of a saved model of the maps gm and wm on a grid of 4 x 5 x 6, and the module in it."""
    grid = Grid(np.random.default_rng(1).random((4, 5, 6)) > 0.3, np.diag([4.0, 4, 4, 1]))
    random = np.random.default_rng(2)
    training = {name: random.normal(size=(10, grid.voxels)).astype(np.float32) for name in ("gm", "wm")}
    pipeline = fit_pipeline(Samples(training, {}), maps=("gm", "wm"), columns={}, grid=grid)
    module = models.build("svm", pipeline, 2, seed=1)
    for tensor in module.state_dict().values():
        tensor.copy_(torch.from_numpy(random.uniform(0.1, 1, tensor.shape)))
    per_map = {"made": {}, "smoothing_mm": 0.0, "map_form": "raw"}
    settings = {key: dict.fromkeys(("gm", "wm"), value) for key, value in per_map.items()}
    settings |= {"folds_sha256": "", "levels": {}}
    model = models.Model("svm/gm+wm", "svm", ("a", "b"), pipeline, module, 1, settings, 1, 1)
    folder = tmp_path / "svm" / "gm+wm"
    models.save(model, folder / "repeat-1_fold-1")
    facts = {"verdict": {"kind": "chance", "claim": False, "text": "none"}, "training": {"people": {"a": 5, "b": 5}}}
    (folder / "cell.toml").write_text(tomli_w.dumps({**facts, "files": compute_digests(folder)}))
    return folder, model, training


def test_a_model_of_several_maps_takes_them_by_name_in_any_order(two_maps):
    folder, saved, training = two_maps
    mask, affine = saved.pipeline.grid.mask, saved.pipeline.grid.affine
    images, scaled = {"wm": [], "gm": []}, []
    random = np.random.default_rng(3)
    for _ in range(3):
        row = []
        for name in ("gm", "wm"):
            volume = random.normal(size=mask.shape).astype(np.float32)
            images[name].append(nib.Nifti1Image(volume, affine))
            row.append((volume[mask] - training[name].mean(axis=0)) / training[name].std(axis=0, ddof=1))
        scaled.append(np.concatenate(row))
    logits = saved.module(torch.from_numpy(np.array(scaled, np.float32))).detach().numpy().astype(float)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    model = pellucid.load_model(folder)
    assert model.predict_proba(images) == pytest.approx(expected, rel=1e-4)
    assert model.predict(images).tolist() == [("a", "b")[index] for index in expected.argmax(axis=1)]
    with pytest.raises(UsageError, match="takes several maps; specify a dictionary of gm, wm"):
        model.predict(images["gm"])
    with pytest.raises(UsageError, match="one image of each map per participant, not 3 of gm, 2 of wm"):
        model.predict({**images, "wm": images["wm"][:2]})
