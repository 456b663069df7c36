"""The group level on phantom maps: outputs, reports and the absence of leakage."""

import json
import shutil
import tomllib

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from bids_app.dataset.grid import Grid
from bids_app.run import main

OPTIONS = ["--label", "group", "--classes", "control", "patient", "--folds", "2", "--sloppy", "--nprocs", "2"]
OPTIONS += ["--classifiers", "svm", "cnn3d"]
QUICK = [*OPTIONS, "--permutations", "0"]


@pytest.fixture(scope="module")
def analysed(phantom_maps):
    """The group folder of eight phantom participants at 4 mm; the network is also trained on one permutation."""
    bids, out = phantom_maps
    assert main([str(bids), str(out), "group", "--analysis", "trial_1", *OPTIONS, "--permutations", "1"]) == 0
    return bids, out, out / "group" / "trial1"


def test_every_participant_is_predicted_once_by_a_model_not_trained_on_them(analysed):
    _, _, folder = analysed
    predictions = pd.read_csv(folder / "predictions.tsv", sep="\t", dtype={"participant_id": str})
    folds = pd.read_csv(folder / "folds.tsv", sep="\t", dtype={"participant_id": str})
    for cell, rows in predictions.groupby("cell"):
        assert sorted(rows["participant_id"]) == sorted(folds["participant_id"].unique()), cell
    trained = folds[folds["role"] == "train"].set_index(["participant_id", "fold"]).index
    assert not [row for row in predictions.itertuples() if (row.participant_id, row.fold) in trained]
    assert np.allclose(predictions.filter(like="probability_").sum(axis=1), 1)


def test_balanced_accuracy_table_agrees_with_the_predictions(analysed):
    _, _, folder = analysed
    predictions = pd.read_csv(folder / "predictions.tsv", sep="\t")
    scores = pd.read_csv(folder / "scores.tsv", sep="\t").set_index("cell")
    for cell, rows in predictions.groupby("cell"):
        shares = [(part["predicted"] == part["true"]).mean() for _, part in rows.groupby("true")]
        assert scores.loc[cell, "balanced_accuracy"] == pytest.approx(np.mean(shares), abs=1e-5)


def test_svm_heatmaps_sum_to_the_logit_minus_the_mean_training_logit(analysed):
    """weights times deviation, summed over all voxels, is the logit less the logit at the training mean."""
    _, out, folder = analysed
    predictions = pd.read_csv(folder / "predictions.tsv", sep="\t", dtype=str).query("cell == 'svm/gm'")
    offsets = {}
    for row in predictions.itertuples():
        (file,) = out.glob(f"{row.participant_id}/anat/*_stat-weights_desc-trial1SvmGm*_statmap.nii.gz")
        about = json.loads(file.with_name(file.name.replace(".nii.gz", ".json")).read_text())
        assert about["HeldOut"]
        assert (about["ExplainedClass"], about["Fold"]) == (row.predicted, int(row.fold))
        own = float(getattr(row, f"probability_{row.predicted}"))
        offsets.setdefault((row.fold, row.predicted), []).append(
            nib.load(file).get_fdata().sum() - np.log(own / (1 - own)) / 2
        )
    for values in offsets.values():
        assert np.ptp(values) < 1e-3


@pytest.mark.parametrize(
    ("cell", "method", "name"), [("svm/gm", "weights", "SvmGm"), ("cnn3d/gm", "gradcam", "Cnn3dGm")]
)
def test_mean_heatmap_averages_held_out_patient_maps_divided_by_the_model_spread(analysed, cell, method, name):
    _, out, folder = analysed
    (work,) = (out / ".work").glob("analysis-trial1-*")
    parts = []
    for fold in sorted((work / "folds" / cell).iterdir()):
        spread = json.loads((fold / "heatmaps.json").read_text())[method]["person_sd"]
        predictions = pd.read_csv(fold / "predictions.tsv", sep="\t")
        maps = np.load(fold / f"heatmap_{method}.npy")
        parts += [maps[row, 1] / spread for row in range(len(predictions)) if predictions["true"][row] == "patient"]
    assert len(parts) == 4
    (file,) = folder.glob(f"*_stat-{method}_desc-{name}Patient_statmap.nii.gz")
    mean = Grid.read(work / "grid_gm.npz").vector(nib.load(file).get_fdata())
    assert np.allclose(mean, np.mean(parts, axis=0), atol=1e-4)


def test_heatmaps_are_on_the_analysis_grid_and_zero_outside_the_mask(analysed):
    _, out, folder = analysed
    (grid_file,) = (out / ".work").glob("analysis-trial1-*/grid_gm.npz")
    grid = Grid.read(grid_file)
    files = [*folder.glob("*_statmap.nii.gz"), *out.glob("sub-*/anat/*_desc-trial1*_statmap.nii.gz")]
    assert len(files) == 5 + 2 * 8
    for file in files:
        image = nib.load(file)
        assert grid.same_place(image.shape, image.affine)
        assert not np.asarray(image.dataobj)[~grid.mask].any()


def test_region_shares_including_outside_the_atlas_sum_to_one(analysed):
    _, _, folder = analysed
    regions = pd.read_csv(folder / "regions.tsv", sep="\t")
    assert set(regions["atlas"]) == {"AAL", "HarvardOxford"}
    for _, rows in regions.groupby(["cell", "method", "explained", "atlas"]):
        assert rows["share"].sum() == pytest.approx(1, abs=1e-4)
        assert rows.iloc[-1]["region"] == "outside the atlas"


def test_report_starts_with_main_findings_and_outputs_contain_no_machine_paths(analysed):
    bids, out, folder = analysed
    text = (folder / "report.html").read_text()
    assert text.index("Results in words") < text.index("Scores") < text.index("Heatmaps")
    for name in ("report.html", "settings.toml", "methods.md", "samples.tsv"):
        assert str(out) not in (folder / name).read_text()
        assert str(bids) not in (folder / name).read_text()


def test_saved_models_name_no_participant(analysed):
    _, _, folder = analysed
    files = list((folder / "models").rglob("model.toml"))
    assert len(files) == 2 * 2
    assert not [file for file in files if "sub-" in file.read_text()]


@pytest.mark.slow
def test_participants_without_image_or_label_are_listed_with_the_reason(phantom_maps, tmp_path):
    bids, out = phantom_maps
    copy = tmp_path / "bids"
    copy.mkdir()
    for name in ("dataset_description.json", "participants.tsv"):
        (copy / name).write_text((bids / name).read_text())
    for person in bids.glob("sub-*"):
        (copy / person.name).mkdir()
    table = pd.read_csv(copy / "participants.tsv", sep="\t", dtype=str)
    extra = pd.DataFrame([{**table.iloc[0], "participant_id": "sub-99"}])
    table.loc[0, "group"] = "n/a"
    pd.concat([table, extra]).to_csv(copy / "participants.tsv", sep="\t", index=False)
    (out / "group" / "left").mkdir(parents=True)
    (out / "group" / "left" / "of-an-earlier-run.tsv").write_text("stale")
    assert main([str(copy), str(out), "group", "--analysis", "left", *QUICK, "--classifiers", "svm"]) == 0
    assert not (out / "group" / "left" / "of-an-earlier-run.tsv").exists()
    samples = pd.read_csv(out / "group" / "left" / "samples.tsv", sep="\t", dtype=str).set_index("participant_id")
    assert samples.loc["sub-99", "reason"] == "no image for gm"
    assert samples.loc[table.loc[0, "participant_id"], "reason"] == "group is n/a"
    assert "sub-99" in (out / "group" / "left" / "report.html").read_text()


@pytest.mark.slow
def test_only_heatmaps_of_the_last_run_are_kept_and_lost_ones_restored(phantom_maps):
    bids, out = phantom_maps
    for target in ("control", "patient"):
        options = ["--analysis", "target", "--explain-target", target, *QUICK, "--classifiers", "svm"]
        assert main([str(bids), str(out), "group", *options]) == 0
    made = sorted(out.glob("sub-*/anat/*_desc-targetSvmGm*_statmap.nii.gz"))
    assert len(made) == 8
    assert all("desc-targetSvmGmPatient" in file.name for file in made)
    listed = pd.read_csv(out / "group" / "target" / "heatmaps.tsv", sep="\t", dtype=str)
    assert sorted(listed["file"]) == [str(file.relative_to(out)) for file in made]
    assert len(list(out.glob("sub-*/anat/*_desc-targetSvmGm*_statmap.json"))) == 8
    made[0].unlink()
    assert main([str(bids), str(out), "group", *options]) == 0
    assert made[0].is_file()


@pytest.mark.slow
def test_categorical_covariate_is_adjusted_for_and_participants_lacking_it_are_listed(phantom_maps, tmp_path):
    bids, out = phantom_maps
    copy = shutil.copytree(bids, tmp_path / "bids")
    table = pd.read_csv(copy / "participants.tsv", sep="\t", dtype=str)
    table.loc[1, "sex"] = "n/a"
    table.to_csv(copy / "participants.tsv", sep="\t", index=False)
    options = ["--analysis", "sex", "--covariates", "sex", *QUICK, "--classifiers", "svm"]
    assert main([str(copy), str(out), "group", *options]) == 0
    samples = pd.read_csv(out / "group" / "sex" / "samples.tsv", sep="\t", dtype=str).set_index("participant_id")
    left_out = samples[samples["used"] == "False"]["reason"].to_dict()
    assert left_out == {table.loc[1, "participant_id"]: "covariate sex is n/a"}
    cards = [tomllib.loads(file.read_text()) for file in (out / "group" / "sex" / "models").rglob("model.toml")]
    assert [card["adjust"] for card in cards] == [{"gm": ["sex[M]"]}] * 2


@pytest.mark.parametrize(("column", "why"), [("participant", "no such column"), ("shoe_size", "no such column")])
def test_unknown_covariate_is_refused_before_anything_is_computed(phantom_maps, capsys, column, why):
    bids, out = phantom_maps
    work = out / f".work-{column}"
    assert main([str(bids), str(out), "group", "--covariates", column, *QUICK, "-w", str(work)]) == 65
    assert why in capsys.readouterr().err
    assert not work.exists()


@pytest.mark.slow
def test_same_seed_gives_the_same_predictions_whatever_the_number_of_processes(analysed):
    bids, out, _ = analysed
    again = ["--analysis", "again", *QUICK, "--nprocs", "1", "--explainers", "pattern", "-w", str(out / ".work2")]
    assert main([str(bids), str(out), "group", *again]) == 0
    first, second = ((out / "group" / name / "predictions.tsv").read_bytes() for name in ("trial1", "again"))
    assert first == second


@pytest.mark.slow
def test_folds_and_classes_read_from_tables_give_identical_predictions(analysed, tmp_path):
    bids, out, folder = analysed
    people = pd.read_csv(bids / "participants.tsv", sep="\t", dtype=str)
    copy = tmp_path / "bids"
    copy.mkdir()
    (copy / "dataset_description.json").write_text((bids / "dataset_description.json").read_text())
    for person in people["participant_id"]:
        (copy / person).mkdir()
    people.drop(columns="group").to_csv(copy / "participants.tsv", sep="\t", index=False)
    people[["participant_id", "group"]].to_csv(tmp_path / "diagnosis.tsv", sep="\t", index=False)
    given = ["--phenotype", str(tmp_path / "diagnosis.tsv"), "--folds-file", str(folder / "folds.tsv")]
    given += ["--analysis", "again", "--classifiers", "svm", "--explainers", "weights"]
    assert main([str(copy), str(out), "group", *QUICK, *given]) == 0
    again = out / "group" / "again"
    first, second = (
        pd.read_csv(each / "predictions.tsv", sep="\t").query("cell == 'svm/gm'") for each in (folder, again)
    )
    shown = ["participant_id", "fold", "true", "predicted", "probability_patient"]
    assert first[shown].reset_index(drop=True).equals(second[shown].reset_index(drop=True))
    assert "no permutations were run; at least 19 are required" in (again / "report.html").read_text()
    assert "Folds were read from folds.tsv." in (again / "methods.md").read_text()


def test_scores_list_permutation_results_per_model_and_image_free_baselines(analysed):
    _, out, folder = analysed
    (work,) = (out / ".work").glob("analysis-trial1-*")
    shuffled = np.load(work / "labellings.npy")[1:]
    assert len(shuffled) == 1000
    assert len(np.unique(shuffled, axis=0)) == 36  # two of four in each of two folds
    for name, many in (("svm/gm/all.npy", 1001), ("cnn3d/gm/1.npy", 1)):
        null = np.load(work / "nulls" / name)
        assert null.shape == (many,)
        assert np.isin(null, [0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1]).all()
    scores = pd.read_csv(folder / "scores.tsv", sep="\t").set_index("cell")
    assert np.load(work / "nulls" / "svm/gm/all.npy")[0] == pytest.approx(scores.loc["svm/gm", "balanced_accuracy"])
    assert scores.loc["svm/gm", "permutations"] == 1000
    assert 1 / 1001 <= scores.loc["svm/gm", "p_corrected"] <= 1
    assert scores.loc["cnn3d/gm", "permutations"] == 1
    assert np.isnan(scores.loc["cnn3d/gm", "p_corrected"])
    assert "only 1 distinct permutation is available; at least 19 are required" in (folder / "report.html").read_text()
    assert {"age and sex", "site", "brain size"} < set(scores.index)
    audit = json.loads((folder / "audit.json").read_text())
    assert [row["what"] for row in audit["by_class"]][:2] == ["site", "sex"]
    assert (folder / "comparisons.tsv").read_text().splitlines()[1].startswith("svm/gm\tcnn3d/gm\t")


def test_class_confined_to_one_of_two_sites_stops_the_run(phantom_maps, tmp_path, capsys):
    bids, out = phantom_maps
    copy = tmp_path / "bids"
    copy.mkdir()
    (copy / "dataset_description.json").write_text((bids / "dataset_description.json").read_text())
    people = pd.read_csv(bids / "participants.tsv", sep="\t", dtype=str)
    for person in people["participant_id"]:
        (copy / person).mkdir()
    people["site"] = np.where(people["group"] == "patient", "A", people["site"])
    people.to_csv(copy / "participants.tsv", sep="\t", index=False)
    assert main([str(copy), str(out), "group", "--analysis", "confounded", *QUICK]) == 65
    message = capsys.readouterr().err
    assert "all participants of class patient are from site A" in message
    assert "--allow-confounded" in message


def test_with_classes_of_fewer_than_ten_only_readme_and_methods_are_shared(analysed):
    share = analysed[2] / "share"
    assert sorted(path.name for path in share.iterdir()) == ["README.md", "methods.md"]
    assert "fewer than 10 participants of class control, patient were tested" in (share / "README.md").read_text()


@pytest.mark.slow
def test_duplicate_scan_under_two_labels_is_reported(phantom_maps, tmp_path):
    bids, out = phantom_maps
    other = tmp_path / "out"
    shutil.copytree(out, other, ignore=shutil.ignore_patterns("group", ".work", "figures"))
    shutil.copytree(out / ".work", other / ".work", ignore=shutil.ignore_patterns("analysis-*", "sub-*", "people*"))
    name = "anat/{0}_space-MNI152NLin2009cAsym_res-4_label-GM_desc-modulated_probseg.nii.gz"
    image = nib.load(other / "sub-01" / name.format("sub-01"))
    noisy = image.get_fdata() * 1.02 + np.random.default_rng(0).normal(0, 0.01, image.shape) * (image.get_fdata() > 0)
    nib.Nifti1Image(noisy.astype(np.float32), image.affine).to_filename(other / "sub-03" / name.format("sub-03"))
    given = ["--analysis", "copies", "--classifiers", "svm", "--explainers", "weights"]
    assert main([str(bids), str(other), "group", *QUICK, *given]) == 0
    told = json.loads((other / "group" / "copies" / "audit.json").read_text())["copies"]["gm"]
    assert len(told) == 1
    assert "sub-01 and sub-03 appear to be from the same participant (alike" in told[0]
    assert "Possible duplicate scan:" in (other / "group" / "copies" / "report.html").read_text()
    assert "sub-" not in (other / "group" / "copies" / "models" / "svm" / "gm" / "cell.toml").read_text()


def test_a_linear_classifier_is_added_to_networks():
    from bids_app.planning import group

    assert group.add_linear_classifiers(("cnn3d",)) == ("cnn3d", "svm")
    assert group.add_linear_classifiers(("cnn3d", "svm")) == ("cnn3d", "svm")


@pytest.mark.slow
def test_too_few_distinct_permutations_give_no_corrected_p_value(phantom_maps):
    bids, out = phantom_maps
    given = ["--analysis", "few", "--classifiers", "svm", "--explainers", "weights", *OPTIONS, "--folds", "4"]
    assert main([str(bids), str(out), "group", *given]) == 0  # two participants a fold: 2 ** 4 labellings
    score = pd.read_csv(out / "group" / "few" / "scores.tsv", sep="\t").set_index("cell").loc["svm/gm"]
    assert score["permutations"] == 15
    assert np.isnan(score["p_corrected"])
    assert "only 15 distinct permutations are available" in (out / "group" / "few" / "report.html").read_text()
