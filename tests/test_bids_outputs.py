"""Outputs: names, atomic publishing, refused folders and the recognition of completed participants."""

import os
import platform
import signal
import subprocess
import sys
import time

import pytest

from bids_app.bids import outputs
from bids_app.errors import CannotWriteError, DataError

SPACE = "MNI152NLin2009cAsym"


@pytest.mark.parametrize(
    ("arguments", "entities", "expected"),
    [
        (
            ("01", None, "probseg", ".nii.gz"),
            {"desc": "modulated", "label": "GM", "res": "2", "space": SPACE},
            f"sub-01_space-{SPACE}_res-2_label-GM_desc-modulated_probseg.nii.gz",
        ),
        (
            ("01", "a", "statmap", ".nii.gz"),
            {"desc": "migraineGooglenetRfcsPatient", "stat": "gradcam", "res": "2", "space": SPACE, "run": None},
            f"sub-01_ses-a_space-{SPACE}_res-2_stat-gradcam_desc-migraineGooglenetRfcsPatient_statmap.nii.gz",
        ),
        (
            ("01", None, "boldmap", ".tsv"),
            {"stat": "alff", "atlas": "AAL", "task": "rest"},
            "sub-01_task-rest_atlas-AAL_stat-alff_boldmap.tsv",
        ),
        (
            ("01", None, "xfm", ".h5"),
            {"from_": "T1w", "to": SPACE, "mode": "image"},
            f"sub-01_from-T1w_to-{SPACE}_mode-image_xfm.h5",
        ),
        ((None, None, "statmap", ".json"), {"stat": "pattern", "desc": "Svm"}, "stat-pattern_desc-Svm_statmap.json"),
    ],
)
def test_filenames_follow_the_bids_entity_order(arguments, entities, expected):
    assert outputs.filename(*arguments, **entities) == expected


def test_non_bids_entities_and_labels_are_refused():
    with pytest.raises(ValueError, match="not a BIDS entity: colour"):
        outputs.filename("01", None, "T1w", ".nii", colour="red")
    with pytest.raises(ValueError, match="desc-a_b is not alphanumeric"):
        outputs.filename("01", None, "T1w", ".nii", desc="a_b")


def test_labels_are_alphanumeric():
    assert outputs.label("integrated_gradients") == "integratedgradients"
    assert outputs.camel("cnn3d/gm") == "Cnn3dGm"
    assert outputs.camel("googlenet/rfcs") == "GooglenetRfcs"
    assert outputs.camel("cnn3d/networks-SMN") == "Cnn3dNetworksSMN"
    for nothing in ("", "_-/", "é"):
        with pytest.raises(DataError, match="rename it"):
            outputs.label(nothing)


def test_participant_session_and_dataset_folders(tmp_path):
    assert outputs.folder(tmp_path, "01", None, "anat") == tmp_path / "sub-01/anat"
    assert outputs.folder(tmp_path, "01", "a", "func") == tmp_path / "sub-01/ses-a/func"
    assert outputs.folder(tmp_path, None, None, "logs") == tmp_path / "logs"


def test_staged_files_appear_only_when_published(tmp_path):
    out = tmp_path / "deep/out"
    with outputs.staging(out) as fresh:
        (fresh / "sub-01/anat").mkdir(parents=True)
        (fresh / "sub-01/anat/map.nii.gz").write_text("new")
        (fresh / "sub-01.html").write_text("page")
        assert list(out.iterdir()) == [out / ".tmp"]
        assert outputs.publish(fresh, out) == ["sub-01/anat/map.nii.gz", "sub-01.html"]
    assert (out / "sub-01/anat/map.nii.gz").read_text() == "new"
    assert list((out / ".tmp").iterdir()) == []


def test_publishing_replaces_existing_files_and_keeps_others(tmp_path):
    (tmp_path / "sub-01").mkdir()
    (tmp_path / "sub-01/a").write_text("old")
    (tmp_path / "sub-01/b").write_text("kept")
    with outputs.staging(tmp_path) as fresh:
        (fresh / "sub-01").mkdir()
        (fresh / "sub-01/a").write_text("new")
        outputs.publish(fresh, tmp_path)
    assert [(tmp_path / "sub-01" / name).read_text() for name in "ab"] == ["new", "kept"]


def test_pages_are_published_after_the_figures(tmp_path):
    (tmp_path / "figures").write_text("a file in the way")
    with outputs.staging(tmp_path) as fresh:
        (fresh / "figures").mkdir()
        (fresh / "figures/z.svg").touch()
        (fresh / "a.html").touch()
        with pytest.raises(CannotWriteError, match=r"figures/z\.svg cannot be written"):
            outputs.publish(fresh, tmp_path)
    assert not (tmp_path / "a.html").exists()


def test_error_during_staging_leaves_nothing_behind(tmp_path):
    def fail():
        with outputs.staging(tmp_path) as fresh:
            (fresh / "half").touch()
            raise RuntimeError("stopped in the middle")

    with pytest.raises(RuntimeError, match="stopped in the middle"):
        fail()
    assert list((tmp_path / ".tmp").iterdir()) == []


def test_published_files_follow_the_umask(tmp_path):
    mask = os.umask(0o022)
    try:
        outputs.write_root(tmp_path / "out", "logs/CITATION.md", "text")
    finally:
        os.umask(mask)
    assert (tmp_path / "out/logs/CITATION.md").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "out/logs").stat().st_mode & 0o777 == 0o755


def test_folder_that_cannot_be_created_is_reported(tmp_path):
    (tmp_path / "file").touch()
    below = tmp_path / "file/out"
    with pytest.raises(CannotWriteError, match=r"Not a directory.*choose another"), outputs.staging(below):
        pass
    with pytest.raises(CannotWriteError, match="choose another folder"):
        outputs.write_root(tmp_path / "file", "README.md", "text")


def test_sweep_removes_leftovers_of_killed_processes_but_not_of_running_ones(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from bids_app.bids.outputs import staging\n"
        f"with staging(Path({str(tmp_path)!r})) as fresh:\n"
        "    (fresh / 'half').touch(); print('staged', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "staged\n"
        outputs.sweep(tmp_path)
        assert len(list((tmp_path / ".tmp").iterdir())) == 1
        other.send_signal(signal.SIGKILL)
    with outputs.staging(tmp_path) as mine:
        assert len(list((tmp_path / ".tmp").iterdir())) == 2
        outputs.sweep(tmp_path)
        assert list((tmp_path / ".tmp").iterdir()) == [mine]


def test_sweep_keeps_recent_leftovers_of_other_hosts_and_containers(tmp_path):
    outputs.sweep(tmp_path)  # nothing there yet
    names = [f"999999999_{place}_x" for place in ("elsewhere1", f"{platform.node()}0", "odd")]
    for name in names:
        (tmp_path / ".tmp" / name).mkdir(parents=True)
    outputs.sweep(tmp_path)
    assert len(list((tmp_path / ".tmp").iterdir())) == 3
    days_ago = time.time() - 2.1 * 24 * 3600
    os.utime(tmp_path / ".tmp" / names[0], (days_ago, days_ago))
    outputs.sweep(tmp_path)
    assert sorted(path.name for path in (tmp_path / ".tmp").iterdir()) == sorted(names[1:])


def test_root_file_is_rewritten_only_if_it_differs(tmp_path):
    outputs.write_root(tmp_path, "README.md", "é\n")
    before = (tmp_path / "README.md").stat()
    outputs.write_root(tmp_path, "README.md", "é\n")
    assert (tmp_path / "README.md").stat().st_ino == before.st_ino
    outputs.write_root(tmp_path, "README.md", "other\n")
    assert (tmp_path / "README.md").read_text() == "other\n"


def test_output_folder_inside_the_input_is_refused_except_below_derivatives(tmp_path):
    bids = tmp_path / "bids"
    (bids / "sub-01").mkdir(parents=True)
    (tmp_path / "alias").symlink_to(bids)
    inside = [bids / name for name in ("out", "sub-01", "derivatives", "derivatives/../x")]
    for bad in (bids, *inside, tmp_path / "alias/out"):
        with pytest.raises(CannotWriteError, match=r"is inside the input.*derivatives/pellucid"):
            outputs.check_output(bad, bids, bad / ".work")
    for good in (bids / "derivatives/pellucid", tmp_path / "out", tmp_path / "a/b/c"):
        outputs.check_output(good, bids, good / ".work")
        assert not good.exists()


def test_output_folder_that_is_a_file_or_another_dataset_is_refused(tmp_path):
    bids, out = tmp_path / "bids", tmp_path / "out"
    bids.mkdir()
    out.touch()
    for bad in (out, out / "below"):
        with pytest.raises(CannotWriteError, match="is a file"):
            outputs.check_output(bad, bids, bad / ".work")
    out.unlink()
    out.mkdir()
    for foreign in ("{}", "[]", "{", '{"Name": "Raw"}', '{"GeneratedBy": [{"Name": "fMRIPrep"}]}'):
        (out / "dataset_description.json").write_text(foreign)
        with pytest.raises(CannotWriteError, match="another data set"):
            outputs.check_output(out, bids, out / ".work")
    (out / "dataset_description.json").write_text('{"GeneratedBy": [{"Name": "pellucid"}]}')
    outputs.check_output(out, bids, out / ".work")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_unwritable_output_folder_is_refused(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(CannotWriteError, match="change its permissions"):
        outputs.check_output(tmp_path / "locked/out", tmp_path / "bids", tmp_path / "work")


def test_participant_is_done_only_with_the_same_settings_and_all_files(tmp_path):
    assert not outputs.is_done(tmp_path, "01", None, "abc")
    (tmp_path / "sub-01/anat").mkdir(parents=True)
    (tmp_path / "sub-01/anat/map.nii.gz").touch()
    outputs.mark_done(tmp_path, "01", None, "abc", ["sub-01/anat/map.nii.gz"])
    outputs.mark_done(tmp_path, "01", "a", "abc", [tmp_path / "sub-01/anat/map.nii.gz"])
    assert outputs.is_done(tmp_path, "01", None, "abc")
    assert outputs.is_done(tmp_path, "01", "a", "abc")
    assert not outputs.is_done(tmp_path, "01", None, "abd")
    assert not outputs.is_done(tmp_path, "01", "b", "abc")
    assert not outputs.is_done(tmp_path, "02", None, "abc")
    assert str(tmp_path) not in (tmp_path / "sub-01/log/done_ses-a.json").read_text()
    (tmp_path / "sub-01/anat/map.nii.gz").unlink()
    assert not outputs.is_done(tmp_path, "01", None, "abc")


def test_unreadable_done_marker_does_not_count_as_done(tmp_path):
    (tmp_path / "sub-01/log").mkdir(parents=True)
    for text in ("", "{", "[]", "{}", '{"key": "abc"}'):
        (tmp_path / "sub-01/log/done.json").write_text(text)
        assert not outputs.is_done(tmp_path, "01", None, "abc")


def test_failures_are_recorded_until_the_participant_is_done(tmp_path):
    outputs.mark_failed(tmp_path, "01", None, "truncated")
    outputs.mark_failed(tmp_path, "02", "a", "all zero")
    assert outputs.failures(tmp_path) == {("01", None): "truncated", ("02", "a"): "all zero"}
    outputs.mark_done(tmp_path, "01", None, "key", [])
    outputs.clear_failed(tmp_path, "02", "b")
    assert outputs.failures(tmp_path) == {("02", "a"): "all zero"}
