"""Invalid input: one clear message, the right exit code and no partial output."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from bids_app import participant
from bids_app.atlases import templates
from bids_app.run import main

PELLUCID = Path(sys.executable).parent / "pellucid"
TWO = ("--label", "group", "--classes", "control", "patient")


def bids(root: Path, *people: str) -> Path:
    """A data set of empty image files."""
    for person in people:
        (root / f"sub-{person}" / "anat").mkdir(parents=True)
        (root / f"sub-{person}" / "anat" / f"sub-{person}_T1w.nii.gz").write_bytes(b"")
    root.mkdir(exist_ok=True)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "small", "BIDSVersion": "1.10.0"}))
    return root


def standing(folder: Path) -> dict[str, int]:
    """Every file of a folder, and when it was written."""
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def run_cli(capsys):
    """Run the command line; returns the exit code and the one message."""

    def run(*words: str | Path) -> tuple[int, str]:
        code = main([str(word) for word in words])
        message = capsys.readouterr().err
        assert message.count("pellucid:") == 1
        assert "Traceback" not in message
        return code, message.strip()

    return run


@pytest.fixture
def group(run_cli, phantom_maps):
    """Run the group level on the phantom's maps, which must remain unchanged."""
    data, out = phantom_maps

    def run(*words: str, data: Path = data, out: Path = out) -> tuple[int, str]:
        before = standing(out)
        result = run_cli(data, out, "group", "--sloppy", *words)
        assert {path: when for path, when in standing(out).items() if path not in before} == {}
        return result

    return run


# the data set


@pytest.mark.parametrize("level", ["participant", "group"])
def test_input_that_is_not_bids_is_refused(run_cli, tmp_path, level):
    (tmp_path / "data").mkdir()
    code, message = run_cli(tmp_path / "data", tmp_path / "out", level, "--label", "group")
    assert code == 16
    assert "no dataset_description.json" in message
    assert not (tmp_path / "out").exists()


def test_missing_input_folder_is_refused(run_cli, tmp_path):
    code, message = run_cli(tmp_path / "nowhere", tmp_path / "out", "participant")
    assert code == 16
    assert "nowhere does not exist" in message


def test_unknown_participants_are_named_with_those_available(run_cli, tmp_path):
    data = bids(tmp_path / "data", "01", "02")
    code, message = run_cli(data, tmp_path / "out", "participant", "--participant-label", "02", "sub-07")
    assert code == 18
    assert "not in the data set: 07" in message
    assert "01, 02" in message
    assert not (tmp_path / "out").exists()


def test_dataset_without_t1w_is_refused(run_cli, tmp_path):
    data = bids(tmp_path / "data")
    (data / "sub-01" / "func").mkdir(parents=True)
    code, message = run_cli(data, tmp_path / "out", "participant")
    assert code == 18
    assert "has a T1w image" in message


def test_unfetched_images_error_names_the_datalad_command(run_cli, shared_data, tmp_path):
    code, message = run_cli(shared_data / "ds000030-not-fetched", tmp_path / "out", "participant")
    assert code == 66
    assert "datalad get sub-10159/anat/sub-10159_T1w.nii.gz" in message
    assert "more" in message.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_unmounted_annex_is_distinguished_from_unfetched_images(run_cli, tmp_path):
    data = bids(tmp_path / "study" / "data", "01")
    image = data / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    image.unlink()
    image.symlink_to("../../../../.git/annex/objects/0V/MM/MD5E-s9--6dd.nii.gz/MD5E-s9--6dd.nii.gz")
    code, message = run_cli(data, tmp_path / "out", "participant")
    assert code == 66
    assert f"its annex at {tmp_path / '.git/annex'} is not mounted" in message
    assert "datalad get" not in message
    assert not (tmp_path / "out").exists()


def test_whole_head_without_head_template_error_names_the_download_command(run_cli, shared_data, tmp_path, monkeypatch):
    data = bids(tmp_path / "data", "01")
    image = data / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    shutil.copyfile(shared_data / "structural" / "anat_reorient.nii.gz", image)
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "empty"))
    code, message = run_cli(data, tmp_path / "out", "participant")
    assert code == 66
    assert "whole head (sub-01)" in message
    assert templates.HEAD_COMMAND in message
    assert "--brain-mask" in message
    assert not (tmp_path / "out").exists()


# the output folder


def test_output_folder_inside_the_input_is_refused(run_cli, tmp_path):
    data = bids(tmp_path / "data", "01")
    before = standing(data)
    for out in (data, data / "out", data / "sub-01"):
        code, message = run_cli(data, out, "participant")
        assert code == 73
        assert str(data / "derivatives" / "pellucid") in message
    assert standing(data) == before


@pytest.mark.parametrize("place", ["taken", "taken/out"])
def test_output_folder_blocked_by_a_file_is_refused(run_cli, tmp_path, place):
    data = bids(tmp_path / "data", "01")
    (tmp_path / "taken").write_text("a file")
    code, message = run_cli(data, tmp_path / place, "participant")
    assert code == 73
    assert "taken is a file" in message
    assert (tmp_path / "taken").read_text() == "a file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_output_folder_is_refused(run_cli, tmp_path):
    (tmp_path / "shut").mkdir(mode=0o500)
    code, message = run_cli(bids(tmp_path / "data", "01"), tmp_path / "shut" / "out", "participant")
    assert code == 73
    assert "permissions" in message


def test_output_folder_holding_another_dataset_is_refused(run_cli, tmp_path):
    code, message = run_cli(bids(tmp_path / "data", "01"), bids(tmp_path / "other", "01"), "participant")
    assert code == 73
    assert "another data set" in message


# images: one run of four participants, one of them usable


@pytest.fixture(scope="module")
def ragged(phantom_maps, tmp_path_factory):
    """The finished run, data set and output folder; the template comes from the work folder of the phantom."""
    source, made = phantom_maps
    data = bids(tmp_path_factory.mktemp("ragged") / "data", "01", "02", "03", "04")
    images = [data / f"sub-0{n}" / "anat" / f"sub-0{n}_T1w.nii.gz" for n in range(1, 5)]
    whole = next(source.glob("sub-*/anat/*_T1w.nii.gz"))
    image = nib.load(whole)
    values = image.get_fdata(dtype=np.float32)
    shutil.copyfile(whole, images[0])
    images[1].write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    nib.Nifti1Image(np.zeros_like(values), image.affine).to_filename(images[2])
    values[2, 2, 2:5] = np.nan
    nib.Nifti1Image(values, image.affine).to_filename(images[3])
    out = data.parent / "out"
    words = [PELLUCID, data, out, "participant", "--sloppy", "--resolution", "4", "-w", made / ".work"]
    return subprocess.run(words, capture_output=True, text=True, check=False), data, out


def test_participants_with_bad_images_are_reported_by_name_and_the_others_finish(ragged):
    done, _, out = ragged
    assert done.returncode == 1, done.stderr
    told = [line for line in done.stderr.splitlines() if " failed: " in line]
    for person, why in (("02", "truncated"), ("03", "is 0 everywhere"), ("04", "3 voxels that are NaN")):
        (line,) = [line for line in told if f"sub-{person} failed" in line]
        assert why in line
    assert len(told) == 3
    assert "Traceback" not in done.stderr
    assert "1 done, 3 failed" in done.stderr
    assert (out / "sub-01.html").is_file()
    assert len(list(out.glob("sub-01/anat/*_label-GM_*probseg.nii.gz"))) == 1


def test_failed_participants_leave_only_logs_and_a_reason_in_the_qc_table(ragged):
    _, _, out = ragged
    for person in ("02", "03", "04"):
        assert {path.parent.name for path in (out / f"sub-{person}").rglob("*") if path.is_file()} == {"log"}
        assert not (out / f"sub-{person}.html").exists()
    assert list((out / ".tmp").iterdir()) == []
    people = pd.read_csv(out / "qc.tsv", sep="\t", dtype=str).set_index("participant_id")["status"]
    assert list(people.index.str.removeprefix("sub-")) == ["01", "02", "03", "04"]
    assert people.iloc[0] == "done"
    assert "truncated" in people.iloc[1]


def test_truncated_image_of_the_fixture_cannot_be_decompressed(ragged):
    _, data, _ = ragged
    with pytest.raises(EOFError), gzip.open(data / "sub-02" / "anat" / "sub-02_T1w.nii.gz") as file:
        file.read()


# labels and classes


def test_missing_label_option_error_lists_the_columns(group):
    code, message = group()
    assert code == 64
    assert "group, age, sex, site" in message


def test_unknown_label_error_lists_the_columns(group):
    code, message = group("--label", "diagnosis")
    assert code == 65
    assert "no column diagnosis" in message
    assert "group, age, sex, site" in message


def test_unknown_class_error_lists_the_values(group):
    code, message = group("--label", "group", "--classes", "control", "patients")
    assert code == 65
    assert "no value patients" in message
    assert "control (4), patient (4)" in message


def test_single_class_is_refused(group):
    code, message = group("--label", "group", "--classes", "patient")
    assert code == 64
    assert "two classes" in message


def test_class_whose_name_no_file_can_have_is_refused_with_the_option_that_names_it(group):
    code, message = group("--label", "group", "--classes", "control", "患者=patient", "--folds", "2")
    assert code == 64
    assert "class '患者' has no Latin letter or digit" in message
    assert "--classes control=患者" in message


def test_table_that_spells_participants_in_another_way_than_folders_is_refused(phantom_maps, group, tmp_path):
    rows = (phantom_maps[0] / "participants.tsv").read_text().replace("sub-0", "sub-").splitlines()
    (tmp_path / "ids.tsv").write_text("\n".join([rows[0].replace("group", "dx"), *rows[1:]]))
    code, message = group("--phenotype", str(tmp_path / "ids.tsv"), "--label", "dx", "--folds", "2")
    assert code == 65
    assert "spells participants in another way than their folders: 1 for sub-01" in message


def test_class_too_small_for_the_folds_error_suggests_a_fold_count(group):
    code, message = group(*TWO, "--folds", "5")
    assert code == 65
    assert "class control has 4 participants; --folds 5 requires at least 5: use --folds 4" in message


def test_groups_equal_to_the_label_column_are_refused(group):
    code, message = group(*TWO, "--groups", "group")
    assert code == 64
    assert "--groups is the label column" in message


@pytest.mark.parametrize("option", ["--groups", "--site"])
def test_unknown_column_error_lists_available_columns(group, option):
    code, message = group(*TWO, "--folds", "2", option, "scanner")
    assert code == 65
    assert f"{option}: participants.tsv has no column scanner" in message
    assert "group, age, sex, site" in message


@pytest.mark.parametrize(
    ("option", "there"), [("--maps", "gm"), ("--classifiers", "svm"), ("--explainers", "gradcam"), ("--atlas", "aal")]
)
def test_unknown_plugin_error_lists_available_ones(group, option, there):
    code, message = group(*TWO, option, "telepathy")
    assert code == 64
    assert "telepathy" in message
    assert there in message.lower()


# maps


def test_missing_maps_error_prints_the_participant_command(group, phantom_maps, tmp_path):
    code, message = group(*TWO, "--maps", "gm", "wm", out=tmp_path / "out")
    assert code == 65
    assert "pellucid BIDS_DIR OUT_DIR participant --maps gm wm" in message
    assert not (tmp_path / "out").exists()


def test_one_missing_map_error_prints_the_participant_command(group):
    code, message = group(*TWO, "--maps", "gm", "wm")
    assert code == 65
    assert "no image for wm" in message
    assert "pellucid BIDS_DIR OUT_DIR participant --maps gm wm" in message


def test_several_sessions_without_the_sessions_option_are_refused_and_listed(group, phantom_maps, tmp_path):
    _, made = phantom_maps
    out = tmp_path / "out"
    for file in made.glob("sub-*/anat/*_label-GM_*probseg.*"):
        for session in ("ses-1", "ses-2"):
            person = file.parts[-3]
            folder = out / person / session / "anat"
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / file.name.replace(person, f"{person}_{session}"))
    code, message = group(*TWO, out=out)
    assert code == 64
    assert "(1, 2)" in message
    assert "and 5 more participants" in message
    assert "--sessions" in message
    assert not (out / "group").exists()


# ourselves


def failing(error: BaseException):
    def run(settings: object) -> int:
        raise error

    return run


def test_internal_error_writes_a_crash_file_named_in_the_message(run_cli, tmp_path, monkeypatch):
    monkeypatch.setattr(participant, "run", failing(ZeroDivisionError("ours")))
    monkeypatch.chdir(tmp_path)
    code, message = run_cli("data", "out", "participant")
    assert code == 70
    (file,) = tmp_path.glob("pellucid-crash-*.txt")
    assert str(file) in message
    assert "ZeroDivisionError: ours" in file.read_text()
    (tmp_path / "out").mkdir()
    _, message = run_cli("data", "out", "participant")
    (file,) = (tmp_path / "out" / "logs").glob("pellucid-crash-*.txt")
    assert file.name in message


def test_keyboard_interrupt_exits_130_and_advises_to_rerun(run_cli, tmp_path, monkeypatch):
    monkeypatch.setattr(participant, "run", failing(KeyboardInterrupt()))
    code, message = run_cli("data", tmp_path / "out", "participant")
    assert code == 130
    assert "rerun to resume" in message


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "ends"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_run_leaves_no_partial_output_and_is_completed_by_rerunning(phantom_maps, tmp_path, sent, ends):
    data, made = phantom_maps
    out, person = tmp_path / "out", next(data.glob("sub-*")).name
    (template,) = (made / ".work").glob("template-*")
    shutil.copytree(template, out / ".work" / template.name)
    words = [PELLUCID, data, out, "participant", "--sloppy", "--resolution", "4", "--participant-label", person]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as run:
        while not list(out.glob(".work/participants/sub_*/native/*")):
            assert run.poll() is None
            time.sleep(0.1)
        run.send_signal(sent)
        _, told = run.communicate(timeout=60)
    assert run.returncode == ends
    assert "rerun to resume" in told
    assert list((out / ".tmp").iterdir()) == []
    assert list(out.glob("sub-*/anat")) == []
    assert subprocess.run(words, check=False).returncode == 0
    assert list(out.glob(f"{person}/anat/*_label-GM_*probseg.nii.gz"))
