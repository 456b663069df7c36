"""BOLD runs and the corresponding fMRIPrep derivatives."""

import json
import logging
import time
from pathlib import Path

import pytest

from bids_app.bids.derivatives_bold import find_fmriprep_runs, find_fmriprep_sessions
from bids_app.bids.functional import bold_scans
from bids_app.bids.inputs import open_dataset
from bids_app.bids.metadata import BOLD_FIELDS, read_metadata
from bids_app.errors import MissingInputError, UsageError

SPACE = "MNI152NLin2009cAsym"
PARTS = (f"space-{SPACE}_desc-preproc_bold.nii.gz", f"space-{SPACE}_desc-brain_mask.nii.gz")
TABLE = "desc-confounds_timeseries.tsv"


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def sidecar(root, name, **fields):
    touch(root, name)
    (root / name).write_text(json.dumps(fields))


@pytest.fixture
def root(tmp_path):
    (tmp_path / "dataset_description.json").write_text(json.dumps({"Name": "Trial", "BIDSVersion": "1.10.0"}))
    touch(tmp_path, "sub-01/func/sub-01_task-rest_bold.nii.gz")
    return tmp_path


def labels(root, **options):
    return [(run.session, run.label) for run in bold_scans(open_dataset(root), "01", **options)]


def test_all_runs_of_all_sessions_are_listed_and_other_files_ignored(root):
    for session in "ba":
        for run in ("2", "1"):
            touch(root, f"sub-01/ses-{session}/func/sub-01_ses-{session}_task-rest_dir-AP_run-{run}_bold.nii.gz")
    func = "sub-01/ses-a/func/sub-01_ses-a_task-rest"
    touch(
        root, f"{func}_sbref.nii.gz", f"{func}_run-3_part-phase_bold.nii.gz", f"{func}_bold.json", f"{func}_events.tsv"
    )
    touch(root, "sub-01/ses-a/func/sub-02_ses-a_task-rest_bold.nii.gz", "sub-01/ses-a/func/notes_bold.nii.gz")
    runs = [(session, f"task-rest_dir-AP_run-{run}") for session in "ab" for run in "12"]
    assert labels(root) == [(None, "task-rest"), *runs]
    assert labels(root, sessions=("ses-b",)) == runs[2:]
    assert labels(root, sessions=("c",)) == []
    assert [run.run for run in bold_scans(open_dataset(root), "01")] == [None, "1", "2", "1", "2"]


def test_one_image_is_used_for_a_duplicated_run(root, caplog):
    touch(root, "sub-01/func/sub-01_task-rest_bold.nii")
    with caplog.at_level(logging.WARNING, "pellucid"):
        (run,) = bold_scans(open_dataset(root), "01")
    assert run.path.name == "sub-01_task-rest_bold.nii"
    assert "not using sub-01_task-rest_bold.nii.gz" in caplog.text


def test_several_tasks_require_a_selection_and_are_listed(root):
    touch(root, "sub-01/func/sub-01_task-nback_bold.nii.gz")
    with pytest.raises(UsageError, match=r"sub-01 has BOLD runs of 2 tasks: nback, rest; select one with --task-id"):
        labels(root)
    assert labels(root, task="rest") == labels(root, task="task-rest") == [(None, "task-rest")]
    assert labels(root, task="movie") == []
    assert labels(root, filters={"task": "nback"}) == [(None, "task-nback")]


def test_multi_echo_is_refused_unless_one_echo_is_chosen(root):
    touch(root, *(f"sub-01/func/sub-01_task-me_echo-{echo}_bold.nii.gz" for echo in "123"))
    with pytest.raises(UsageError, match=r"multi-echo BOLD \(echoes 1, 2, 3\).*fMRIPrep.*\{\"echo\": 2\}"):
        labels(root, task="me")
    assert labels(root, task="me", filters={"echo": 2}) == [(None, "task-me_echo-2")]
    assert labels(root, task="rest") == [(None, "task-rest")]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"run": 2}, ["task-rest_acq-mb_run-02"]),
        ({"acquisition": "mb"}, ["task-rest_acq-mb_run-01", "task-rest_acq-mb_run-02"]),
        ({"acquisition": None, "suffix": "bold", "datatype": "func"}, ["task-rest"]),
        ({"suffix": "sbref"}, []),
    ],
)
def test_filters_select_runs(root, filters, expected):
    touch(root, *(f"sub-01/func/sub-01_task-rest_acq-mb_run-{run}_bold.nii.gz" for run in ("01", "02")))
    assert [label for _, label in labels(root, filters=filters)] == expected


def test_unknown_filter_entity_is_named(root):
    with pytest.raises(UsageError, match="filter for bold contains an unknown entity, colour"):
        labels(root, filters={"colour": "red"})


@pytest.fixture
def derived(tmp_path):
    folder = tmp_path / "fmriprep"
    write(folder / "sub-01/func", "sub-01_task-rest")
    return folder


def write(folder, prefix, parts=(*PARTS, TABLE)):
    touch(folder, *(f"{prefix}_{part}" for part in parts))


def test_fmriprep_image_mask_and_confounds_are_selected_among_other_files(derived):
    func = derived / "sub-01/func"
    others = ["desc-coreg_boldref.nii.gz", "desc-brain_mask.nii.gz", "space-T1w_desc-preproc_bold.nii.gz"]
    others += [part.replace(SPACE, "MNI152NLin6Asym") for part in PARTS]
    others += ["echo-1_desc-preproc_bold.nii.gz", f"echo-1_space-{SPACE}_desc-preproc_bold.nii.gz"]
    others += [
        f"space-{SPACE}_boldref.nii.gz",
        "hemi-L_space-fsaverage5_bold.func.gii",
        "space-fsLR_den-91k_bold.dtseries.nii",
    ]
    write(func, "sub-01_task-rest", others)
    sidecar(func, f"sub-01_task-rest_space-{SPACE}_desc-preproc_bold.json", RepetitionTime=2, SkullStripped=False)
    (run,) = find_fmriprep_runs(derived, "01", None, space=SPACE)
    assert [path.name for path in (run.bold, run.mask, run.confounds)] == [
        f"sub-01_task-rest_{p}" for p in (*PARTS, TABLE)
    ]
    assert (run.task, run.session, run.run, run.label) == ("rest", None, None, "task-rest")
    assert run.timing == {"RepetitionTime": 2}


def test_timing_may_be_inherited_or_missing(derived):
    assert find_fmriprep_runs(derived, "01", None, space=SPACE)[0].timing == {}
    sidecar(derived, "task-rest_bold.json", RepetitionTime=1.5, EchoTime=0.03)
    assert find_fmriprep_runs(derived, "01", None, space=SPACE)[0].timing == {"RepetitionTime": 1.5}


def test_each_run_and_session_gets_matching_files(derived):
    old = [*(part.replace("_desc", "_res-2_desc") for part in PARTS), "desc-confounds_regressors.tsv"]
    for run in "21":
        write(derived / "sub-01/ses-a/func", f"sub-01_ses-a_task-rest_run-{run}", old)
    runs = find_fmriprep_runs(derived, "01", "a", space=SPACE)
    assert [(run.run, run.session) for run in runs] == [("1", "a"), ("2", "a")]
    assert runs[1].confounds.name == "sub-01_ses-a_task-rest_run-2_desc-confounds_regressors.tsv"
    assert runs[1].mask.name == f"sub-01_ses-a_task-rest_run-2_space-{SPACE}_res-2_desc-brain_mask.nii.gz"
    assert find_fmriprep_sessions(derived, "01") == [None, "a"]
    assert find_fmriprep_sessions(derived, "02") == []


def test_one_of_several_resolutions_is_used_and_the_choice_logged(derived, caplog):
    for res in "12":
        write(
            derived / "sub-01/func", "sub-01_task-rest", [part.replace("_desc", f"_res-{res}_desc") for part in PARTS]
        )
    with caplog.at_level(logging.WARNING, "pellucid"):
        (run,) = find_fmriprep_runs(derived, "01", None, space=SPACE)
    assert run.bold.name == f"sub-01_task-rest_{PARTS[0]}"
    assert "not using sub-01_task-rest_space-MNI152NLin2009cAsym_res-1_desc-preproc_bold.nii.gz" in caplog.text
    write(derived / "sub-02/func", "sub-02_task-rest", [part.replace("_desc", "_res-02_desc") for part in PARTS])
    write(derived / "sub-02/func", "sub-02_task-rest")
    (run,) = find_fmriprep_runs(derived, "02", None, space=SPACE, resolution="2")
    assert "_res-02_" in run.bold.name
    (run,) = find_fmriprep_runs(derived, "01", None, space=SPACE, resolution="2")
    assert "_res-2_" in run.bold.name
    assert "_res-2_" in run.mask.name


def test_missing_files_are_named_exactly(derived):
    write(derived / "sub-01/func", "sub-01_task-rest_run-2", PARTS[:1])
    with pytest.raises(MissingInputError) as caught:
        find_fmriprep_runs(derived, "01", None, space=SPACE)
    lacking = f"task-rest_run-2_{PARTS[1]}, task-rest_run-2_{TABLE} (searched in sub-01/func)"
    assert str(caught.value).startswith(f"sub-01: fmriprep lacks {lacking}")
    with pytest.raises(MissingInputError, match=rf"task-\*_space-T1w_desc-preproc.*there is task-rest in {SPACE}"):
        find_fmriprep_runs(derived, "01", None, space="T1w")
    with pytest.raises(MissingInputError, match=r"task-movie_space.*there is task-rest in"):
        find_fmriprep_runs(derived, "01", None, space=SPACE, task="movie")
    with pytest.raises(MissingInputError, match="searched in sub-02/ses-a/func; there is no such image for any task"):
        find_fmriprep_runs(derived, "02", "a", space=SPACE)


def test_task_and_desc_select_the_fmriprep_run(derived):
    write(derived / "sub-01/func", "sub-01_task-nback")
    with pytest.raises(UsageError, match="2 tasks: nback, rest"):
        find_fmriprep_runs(derived, "01", None, space=SPACE)
    assert [run.task for run in find_fmriprep_runs(derived, "01", None, space=SPACE, task="nback")] == ["nback"]
    aroma = ["space-MNI152NLin6Asym_desc-smoothAROMAnonaggr_bold.nii.gz", PARTS[1].replace(SPACE, "MNI152NLin6Asym")]
    write(derived / "sub-01/func", "sub-01_task-rest", aroma)
    (run,) = find_fmriprep_runs(derived, "01", None, space="MNI152NLin6Asym", desc="smoothAROMAnonaggr")
    assert run.bold.name.endswith(aroma[0])


def test_lookup_of_one_participant_among_1000_takes_under_half_a_second(root, derived):
    for number in range(1000):
        label = f"sub-x{number:04}"
        write(derived / label / "func", f"{label}_task-rest")
        touch(root, f"{label}/func/{label}_task-rest_bold.nii.gz", f"{label}/func/{label}_task-rest_bold.json")
    (root / "sub-x0500/func/sub-x0500_task-rest_bold.json").write_text('{"RepetitionTime": 2}')
    start = time.process_time()
    dataset = open_dataset(root)
    (scan,) = bold_scans(dataset, "x0500")
    assert read_metadata(dataset.root, scan.path, BOLD_FIELDS) == {"RepetitionTime": 2}
    assert find_fmriprep_runs(derived, "x0500", None, space=SPACE)[0].bold.exists()
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (
            [f"task-rest_bold_space-{SPACE}_preproc.nii.gz", f"task-rest_bold_space-{SPACE}_brainmask.nii.gz"],
            "is a name of fMRIPrep 1.0 or 1.1, before BIDS Derivatives: run fMRIPrep 20.2 or later",
        ),
        (["task-rest_bold_confounds.tsv"], "is a name of fMRIPrep 1.0 or 1.1"),
        (
            ["task-rest_desc-hmc_boldref.nii.gz", "task-rest_desc-coreg_boldref.nii.gz"],
            "it was run with --level minimal or resampling, which write no BOLD series in a template: run fMRIPrep",
        ),
        (
            ["task-rest_desc-hmc_boldref.nii.gz", "task-rest_echo-1_desc-preproc_bold.nii.gz"],
            "it was run with --level minimal or resampling",
        ),
    ],
)
def test_outputs_of_first_versions_and_of_lower_levels_are_named_as_such(derived, names, reason):
    touch(derived / "sub-02/func", *(f"sub-02_{name}" for name in names))
    with pytest.raises(MissingInputError, match="sub-02: fmriprep has no preprocessed BOLD in sub-02/func") as caught:
        find_fmriprep_runs(derived, "02", None, space=SPACE)
    assert reason in str(caught.value)


def test_alignment_files_of_the_full_level_do_not_count_as_a_lower_one(derived):
    touch(derived / "sub-01/func", "sub-01_task-rest_desc-hmc_boldref.nii.gz")
    assert find_fmriprep_runs(derived, "01", None, space=SPACE)
    with pytest.raises(MissingInputError, match=rf"there is task-rest in {SPACE}"):
        find_fmriprep_runs(derived, "01", None, space="MNI152NLin6Asym")
    surfaces = ("desc-hmc_boldref.nii.gz", TABLE, "hemi-L_space-fsnative_bold.func.gii")
    touch(derived / "sub-02/func", *(f"sub-02_task-rest_{name}" for name in surfaces))
    with pytest.raises(MissingInputError, match="there is no such image for any task or space"):
        find_fmriprep_runs(derived, "02", None, space=SPACE)


def test_runs_of_fmriprep_with_a_contrast_agent_are_used_only_if_there_are_no_others(derived, caplog):
    write(derived / "sub-02/func", "sub-02_task-rest_ce-none")
    write(derived / "sub-02/func", "sub-02_task-rest_ce-Gd")
    with caplog.at_level(logging.WARNING, "pellucid"):
        assert [run.label for run in find_fmriprep_runs(derived, "02", None, space=SPACE)] == ["task-rest_ce-none"]
    assert f"not using sub-02_task-rest_ce-Gd_{PARTS[0]}" in caplog.text
    write(derived / "sub-03/func", "sub-03_task-rest_ce-Gd")
    assert [run.label for run in find_fmriprep_runs(derived, "03", None, space=SPACE)] == ["task-rest_ce-Gd"]
