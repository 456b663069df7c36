"""Applying a trained analysis: training predictions are reproduced, and unlike participants are flagged."""

import itertools
import json
import shutil
import tomllib

import numpy as np
import pandas as pd
import pytest

from bids_app import settings
from bids_app.atlases import templates
from bids_app.errors import DataError, UsageError
from bids_app.planning import settings_from_model
from bids_app.planning.model_application import classes_to_collect
from bids_app.run import main
from bids_app.training.covariate_ranges import (
    class_prevalence,
    compute_ranges,
    list_outside_ranges,
    list_unknown_covariates,
)

LABEL = ["--label", "group", "--classes", "control", "patient"]
SLOPPY = ["--sloppy", "--nprocs", "2"]


@pytest.fixture(scope="module")
def trained(phantom_maps, tmp_path_factory):
    """Two models trained on a phantom of two sites, adjusted for brain size and sex, harmonised: BIDS, OUT, models."""
    bids, out = phantom_maps
    copy = tmp_path_factory.mktemp("two_sites")
    people = pd.read_csv(bids / "participants.tsv", sep="\t", dtype=str)
    people["site"] = people.groupby("group").cumcount().mod(2).map({0: "north", 1: "south"})
    people["sex"] = ["F", "F", "M", "M", "F", "M", "F", "M"]
    _dataset(copy / "bids", bids, people)
    options = [*LABEL, "--analysis", "trained", "--folds", "2", "--permutations", "0", "--explainers", "weights"]
    options += ["--covariates", "tiv", "sex", "--harmonize", "combat", "--classifiers", "svm", "cnn3d"]
    assert main([str(copy / "bids"), str(out), "group", *options, *SLOPPY]) == 0
    return copy / "bids", out, out / "group" / "trained" / "models"


def _dataset(folder, bids, people):
    """A data set of participants without images of their own."""
    folder.mkdir()
    shutil.copyfile(bids / "dataset_description.json", folder / "dataset_description.json")
    for person in bids.glob("sub-*"):
        (folder / person.name).mkdir()
    if people is not None:
        people.to_csv(folder / "participants.tsv", sep="\t", index=False, na_rep="n/a")


def _apply(bids, out, model, *options):
    return main([str(bids), str(out), "group", "--model", str(model), *options, "--nprocs", "2"])


def _predictions(out, name):
    return pd.read_csv(out / "group" / name / "predictions.tsv", sep="\t", dtype=str)


@pytest.fixture(scope="module")
def again(trained):
    """The models applied to their training participants, with the training list."""
    bids, out, models = trained
    listed = ["--training-list", str(models.parent / "folds.tsv")]
    assert _apply(bids, out, models, "--analysis", "again", *LABEL, *listed) == 0
    return out / "group" / "again"


def test_training_participants_get_the_out_of_fold_probabilities_of_training(trained, again):
    _, out, _ = trained
    predictions = _predictions(out, "again")
    assert set(predictions["models"]) == {"1"}
    assert set(predictions["trained"]) == {"yes"}
    (work,) = (out / ".work").glob("applied-again-*")
    for cell in ("svm/gm", "cnn3d/gm"):
        (own,) = (out / ".work").glob(f"analysis-trained-*/folds/{cell}")
        folds = [pd.read_csv(fold / "predictions.tsv", sep="\t", dtype=str) for fold in own.iterdir()]
        first = pd.concat(folds).set_index("participant_id")["probability_patient"]
        (file,) = work.glob(f"applied_{'SvmGm' if cell == 'svm/gm' else 'Cnn3dGm'}.tsv")
        then = pd.read_csv(file, sep="\t", dtype=str).set_index("participant_id")["probability_patient"]
        assert len(first) == 8
        assert first.sort_index().tolist() == then.sort_index().tolist()


def test_training_participants_are_not_scored(again):
    assert not (again / "scores.tsv").exists()
    text = (again / "report.html").read_text()
    assert "not every class has participants here" in text
    assert "8 samples are of participants on the training list" in text


def test_report_and_index_lead_to_each_other_and_the_report_states_the_command(trained, again):
    _, out, _ = trained
    page = (again / "report.html").read_text()
    assert 'href="../../index.html"' in page
    assert 'href="group/again/report.html"' in (out / "index.html").read_text()
    section = page.partition('<h2 id="about">')[2]
    assert "group --model models --analysis again" in section
    assert "torch " in section
    assert str(out.parent) not in page


def test_without_training_list_models_are_averaged_and_report_says_overlap_was_not_checked(trained):
    bids, out, models = trained
    assert _apply(bids, out, models / "svm", "--analysis", "unlisted", *LABEL) == 0
    predictions = _predictions(out, "unlisted")
    assert set(predictions["cell"]) == {"svm/gm"}
    assert set(predictions["trained"]) == {"not checked"}
    assert set(predictions["models"]) == {"2"}
    each = []
    for fold in ("1", "2"):
        assert _apply(bids, out, models / "svm" / "gm" / f"repeat-1_fold-{fold}", "--analysis", f"fold{fold}") == 0
        each.append(_predictions(out, f"fold{fold}")["probability_patient"].astype(float))
    assert not np.allclose(*each, atol=1e-5)
    assert np.allclose(predictions["probability_patient"].astype(float), np.mean(each, axis=0), atol=2e-6)
    text = (out / "group" / "unlisted" / "report.html").read_text()
    assert "could not be checked" in text
    assert "Verdict in training: " in text
    assert "control 50%, patient 50%" in text


def test_labels_give_scores_calibration_and_a_permutation_p_value(trained):
    _, out, _ = trained
    scores = pd.read_csv(out / "group" / "unlisted" / "scores.tsv", sep="\t").iloc[0]
    predictions = _predictions(out, "unlisted")
    predicted = (predictions["predicted"] == "patient").to_numpy()

    def accuracy(patients):
        true = np.isin(np.arange(8), patients)
        return (predicted[true].mean() + (~predicted[~true]).mean()) / 2

    observed = accuracy(np.flatnonzero(predictions["true"] == "patient"))
    assert scores["balanced_accuracy"] == pytest.approx(observed, abs=1e-5)
    every = [accuracy(patients) for patients in itertools.combinations(range(8), 4)]
    assert scores["p"] == pytest.approx(np.mean(np.array(every) >= observed - 1e-9), abs=0.04)
    assert {"brier", "log_loss", "calibration_slope", "calibration_intercept"} <= set(scores.index)


def test_participants_outside_training_ranges_are_flagged_and_unlabelled_ones_predicted(trained, tmp_path):
    bids, out, models = trained
    people = pd.read_csv(bids / "participants.tsv", sep="\t", dtype=str).drop(columns="group")
    people.loc[0, ["age", "site"]] = ["93", "west"]
    people.loc[1, "sex"] = "O"
    _dataset(tmp_path / "new", bids, people)
    assert _apply(tmp_path / "new", out, models, "--analysis", "unlike") == 0
    predictions = _predictions(out, "unlike")
    first = predictions[predictions["participant_id"] == people.loc[0, "participant_id"]]
    assert len(first) == 2
    assert first["outside"].str.contains("age 93 is outside").all()
    assert first["outside"].str.contains("site west was not in the training set: not harmonised").all()
    others = predictions[predictions["participant_id"] != people.loc[0, "participant_id"]]
    assert not others["outside"].str.contains("age|site").any()
    samples = pd.read_csv(out / "group" / "unlike" / "samples.tsv", sep="\t", dtype=str).set_index("participant_id")
    assert samples.loc[people.loc[1, "participant_id"], "reason"] == (
        "covariate sex has the value O, which did not occur in training"
    )
    assert "No true classes were given" in (out / "group" / "unlike" / "report.html").read_text()


@pytest.mark.slow
def test_participants_tsv_is_not_required_by_a_model_adjusted_for_brain_size_only(trained, phantom_maps):
    bids, out = phantom_maps
    options = [*LABEL, "--analysis", "plain", "--folds", "2", "--classifiers", "svm", "--explainers", "weights"]
    assert main([str(bids), str(out), "group", *options, *SLOPPY]) == 0
    _dataset(trained[0].parent / "bare", bids, None)
    assert _apply(trained[0].parent / "bare", out, out / "group" / "plain", "--analysis", "bare") == 0
    assert len(_predictions(out, "bare")) == 8


def test_model_files_name_no_participant_and_round_ages_to_five_years(trained):
    bids, _, models = trained
    people = pd.read_csv(bids / "participants.tsv", sep="\t")
    about = tomllib.loads((models / "svm" / "gm" / "cell.toml").read_text())
    low, high = about["training"]["age"]
    assert (low % 5, high % 5) == (0, 0)
    assert low <= people["age"].min() < low + 5
    assert high - 5 < people["age"].max() <= high
    assert about["training"]["people"] == {"control": 4, "patient": 4}
    text = "".join(file.read_text() for file in models.rglob("*.toml"))
    assert not any(person in text for person in people["participant_id"])


def test_model_card_reports_known_items_leaves_others_blank_and_names_no_participant(trained):
    bids, _, models = trained
    card = json.loads((models.parent / "model_card.json").read_text())
    for name, numbers in (("tripod_ai", 52), ("claim", 42)):
        said = {row["item"]: row["said"] for row in card[name]}
        assert len(said) == numbers
    tripod = {row["item"]: row["said"] for row in card["tripod_ai"]}
    assert [tripod[item] for item in ("17", "18a", "5b")] == [None] * 3
    assert tripod["21"] == "4 control, 4 patient."
    assert tripod["6a"] == "2 sites."
    assert "Column group: control = control; patient = patient" in tripod["8a"]
    assert "gm was smoothed with a Gaussian kernel of 8 mm FWHM" in tripod["12b"]
    scores = pd.read_csv(models.parent / "scores.tsv", sep="\t").set_index("cell")
    assert f"svm/gm, repeat 1: balanced accuracy {scores.loc['svm/gm', 'balanced_accuracy']:.2f} (" in tripod["23a"]
    text = (models.parent / "model_card.md").read_text()
    assert "Weights can reveal more about the training participants than intended" in text
    assert "not for diagnosis" in text
    assert "| 18a | Funding |  |" in text
    people = pd.read_csv(bids / "participants.tsv", sep="\t")["participant_id"]
    assert not any(person in text + json.dumps(card) for person in people)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--folds", "3"], 64, "--folds cannot be used with --model"),
        (["--analysis", "trained"], 64, "is a trained analysis"),
        (["--label", "sex"], 65, "assign them with --classes"),
        (["--label", "group", "--classes", "control", "migraine=patient"], 64, "not migraine"),
        (["--maps", "wm"], 64, "--maps: the model was trained with gm"),
    ],
)
def test_options_that_conflict_with_the_model_are_refused(trained, capsys, options, code, message):
    bids, out, models = trained
    assert _apply(bids, out, models, *options) == code
    assert message in capsys.readouterr().err


def test_altered_weights_other_formats_and_incomplete_models_are_refused(trained, tmp_path, capsys):
    bids, out, models = trained
    copy = shutil.copytree(models / "svm", tmp_path / "svm")
    card = copy / "gm" / "repeat-1_fold-1" / "model.toml"
    card.write_text(card.read_text().replace("format = 1", "format = 0"))
    assert _apply(bids, out, copy) == 65
    assert "apply the model with the version that trained it" in capsys.readouterr().err
    shutil.rmtree(card.parent)
    (copy / "gm" / "cell.toml").unlink()
    assert _apply(bids, out, copy) == 66
    assert "cell.toml is not in" in capsys.readouterr().err
    weights = copy / "gm" / "repeat-1_fold-2" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    assert _apply(bids, out, copy) == 65
    assert "not the file that model.toml describes" in capsys.readouterr().err
    assert _apply(bids, out, tmp_path / "nothing") == 66


def test_a_training_list_of_another_analysis_is_refused(trained, tmp_path, capsys):
    bids, out, models = trained
    table = pd.read_csv(models.parent / "folds.tsv", sep="\t", dtype=str)
    # as many participants in every fold, but not the same
    table["fold"] = table["fold"].map({"1": "2", "2": "1"})
    table.to_csv(tmp_path / "l.tsv", sep="\t", index=False)
    assert _apply(bids, out, models, "--training-list", str(tmp_path / "l.tsv")) == 65
    assert "unchanged folds.tsv of the analysis" in capsys.readouterr().err


def test_maps_made_with_another_registration_are_refused(trained, tmp_path, capsys):
    bids, out, models = trained
    moved = shutil.copytree(out, tmp_path / "out", ignore=shutil.ignore_patterns(".work", "group"))
    sidecars = list(moved.glob("sub-*/anat/*probseg.json"))
    assert len(sidecars) == 8
    for file in sidecars:
        stated = json.loads(file.read_text())
        stated["MapParameters"]["Registration"] = "affine"
        file.write_text(json.dumps(stated))
    assert _apply(bids, moved, models) == 65
    message = capsys.readouterr().err
    assert "Registration is affine here and nonlinear in training" in message
    assert "participant --model DIR" in message


def test_participant_level_uses_the_settings_of_the_model(trained, phantom_maps, capsys, caplog):
    """Nothing is recomputed: the settings in the model are those with which the maps were made."""
    bids, out = phantom_maps
    with caplog.at_level("INFO", logger="pellucid"):
        assert main([str(bids), str(out), "participant", "--model", str(trained[2])]) == 0
    assert "0 to process, 8 already complete" in caplog.text
    assert main([str(bids), str(out), "participant", "--model", str(trained[2]), "--resolution", "2"]) == 64
    assert "--resolution: the model was trained with 4.0" in capsys.readouterr().err


def test_a_registration_that_contradicts_the_model_is_refused(trained, capsys):
    bids, out, models = trained
    given = [str(bids), str(out), "participant", "--model", str(models)]
    assert main([*given, "--registration", "affine"]) == 64
    assert "--registration: the model was trained with nonlinear" in capsys.readouterr().err


def test_settings_of_bold_maps_are_taken_from_the_model(tmp_path, monkeypatch):
    made = {
        "Map": "reho", "Space": "MNI152NLin2009cAsym", "ResolutionMm": 3.0, "Sloppy": False, "Denoise": "simple",
        "FdThreshold": 0.3, "Neighbours": 19, "TaskName": "rest",
    }  # fmt: skip
    shape, affine = templates.grid("MNI152NLin2009cAsym", 3.0)
    card = {
        "maps": ["reho"],
        "grid": {"shape": list(shape), "affine": affine.tolist()},
        "settings": {"made": {"reho": made}, "smoothing_mm": {"reho": 6.0}, "map_form": {"reho": "mean"}},
    }
    monkeypatch.setattr(settings_from_model, "find_models", lambda _: {"svm/reho": {tmp_path: card}})
    given = {"model": tmp_path, "fd_threshold": 0.3}
    whole = settings_from_model.apply_model_settings(settings.build("participant", tmp_path, tmp_path, options=given))
    assert whole.select.task_id == "rest"
    chosen = whole.participant
    assert (chosen.maps, chosen.denoise, chosen.band, chosen.reho_neighbours) == (("reho",), "simple", ("none",), 19)
    assert (chosen.resolution, chosen.fd_threshold, chosen.registration) == (3.0, 0.3, None)
    with pytest.raises(UsageError, match="--task-id: the model was trained on rest"):
        settings_from_model.apply_model_settings(
            settings.build("participant", tmp_path, tmp_path, options={**given, "task_id": "nback"})
        )
    card["grid"]["affine"][0][3] += 1.0  # a grid of fMRIPrep's: its series are taken as they are
    assert (
        settings_from_model.apply_model_settings(
            settings.build("participant", tmp_path, tmp_path, options=given)
        ).participant.resolution
        is None
    )
    with pytest.raises(UsageError, match="--denoise: the model was trained with simple"):
        settings_from_model.apply_model_settings(
            settings.build("participant", tmp_path, tmp_path, options={**given, "denoise": "compcor"})
        )


def test_training_ranges_flag_outliers_and_unknown_covariates():
    people = pd.DataFrame({"participant_id": ["1", "2", "3"], "class": ["a", "a", "b"], "age": [21.0, np.nan, 38.5]})
    people["scanner_of_sidecar"] = ["Siemens Prisma", "GE", None]
    known = compute_ranges(people, [0.8, 1.361, 1.1])
    assert known.pop("map") == pytest.approx(1.4)  # rounded up, so that it identifies no participant
    assert known == {"people": {"a": 2, "b": 1}, "age": [20, 40], "scanner": ["GE", "Siemens Prisma"]}
    known["map"] = 1.4
    assert list_outside_ranges({"age": 40, "scanner_of_sidecar": "GE"}, 1.0, known) == []
    told = list_outside_ranges({"age": 41, "scanner_of_sidecar": "Philips"}, 1.5, known)
    assert [text.split()[0] for text in told] == ["age", "the", "the"]
    assert list_outside_ranges({"age": np.nan, "scanner_of_sidecar": None}, 0.7, known) == []
    assert list_unknown_covariates(people, known) == ["age", "scanner"]
    assert list_unknown_covariates(people.iloc[:1], {"people": {}}) == ["age", "scanner"]
    assert list_unknown_covariates(people.iloc[:1], known) == []
    assert class_prevalence(known, ["b", "a"]) == {"b": 1 / 3, "a": 2 / 3}


def test_two_analyses_in_one_folder_are_refused(trained, tmp_path, capsys):
    bids, out, models = trained
    for name in ("one", "two"):
        shutil.copytree(models / "svm", tmp_path / name / "svm")
    assert _apply(bids, out, tmp_path) == DataError.code
    assert "several models of the same fold" in capsys.readouterr().err


@pytest.mark.slow
def test_numeric_class_names_and_missing_age_are_supported(trained, phantom_maps, tmp_path):
    """Classes 0 and 1, no age, and a scanner covariate; the model is applied to the training participants."""
    bids, out = phantom_maps
    people = pd.read_csv(bids / "participants.tsv", sep="\t", dtype=str)
    people = people[["participant_id"]].assign(
        dx=people["group"].map({"control": "0", "patient": "1"}), scanner=["a", "b"] * 4, hand="R"
    )
    _dataset(tmp_path / "plain", bids, people)
    options = ["--label", "dx", "--analysis", "numbers", "--folds", "2", "--classifiers", "svm", "--permutations", "0"]
    options += ["--explainers", "weights", "--covariates", "scanner", "hand"]
    assert main([str(tmp_path / "plain"), str(out), "group", *options, *SLOPPY]) == 0
    card = json.loads((out / "group" / "numbers" / "model_card.json").read_text())
    assert "ages" not in json.dumps(card["facts"]["people"])
    assert card["facts"]["uncertainty"] == []  # no permutations, so nothing is said of chance
    people["hand"] = "L"  # all were right-handed in training: nothing is adjusted for
    people.loc[2, "dx"] = "n/a"
    _dataset(tmp_path / "new", bids, people)
    assert _apply(tmp_path / "new", out, out / "group" / "numbers", "--analysis", "new", "--label", "dx") == 0
    predictions = _predictions(out, "new")
    assert len(predictions) == 8
    assert set(predictions["predicted"]) <= {"0", "1"}
    assert pd.isna(predictions["true"]).sum() == 1
    assert pd.read_csv(out / "group" / "new" / "scores.tsv", sep="\t").loc[0, "n"] == 7


def test_sessions_with_a_class_are_preferred_as_in_training():
    from types import SimpleNamespace

    index = pd.MultiIndex.from_tuples([("1", ""), ("1", "a"), ("1", "b"), ("2", ""), ("2", "a")])
    true = pd.Series([pd.NA, pd.NA, "x", pd.NA, pd.NA], index=index, dtype="string")
    first, every = (SimpleNamespace(group=SimpleNamespace(sessions=name)) for name in ("first", "all"))
    assert (
        classes_to_collect(pd.DataFrame(index=index), true, first).fillna("-").tolist()
        == ["-", "-", "x"] + ["not known"] * 2
    )
    assert (
        classes_to_collect(pd.DataFrame(index=index), true, every).tolist()
        == ["not known"] * 2 + ["x"] + ["not known"] * 2
    )
    assert set(classes_to_collect(pd.DataFrame(index=index), None, first)) == {"not known"}
