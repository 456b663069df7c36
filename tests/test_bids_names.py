"""Parsing and building BIDS file names."""

from pathlib import Path

import pytest

from bids_app.bids import outputs
from bids_app.bids.matching import near_misses
from bids_app.bids.names import (
    BidsFile,
    parse_participant,
    parse_session,
    parse_session_name,
    participant_name,
    resolution_label,
    session_name,
)

NAMES = (
    "sub-01_T1w.nii.gz",
    "sub-01_ses-a_acq-x_run-01_part-mag_T1w.nii",
    "sub-01_ses-a_task-rest_dir-AP_run-1_space-MNI152NLin2009cAsym_res-1p5_stat-reho_boldmap.nii.gz",
    "space-MNI152NLin2009cAsym_res-2_stat-weights_desc-SvmGm_statmap.json",
)


@pytest.mark.parametrize("name", NAMES)
def test_parsed_name_is_rebuilt_identically(name):
    file = BidsFile.parse(name)
    assert file is not None
    assert file.name == name
    assert BidsFile.parse(file.name) == file


@pytest.mark.parametrize(
    "name", ["T1w.nii.gz", "notes.txt", "sub-01", "sub-01_T1w", "run-1_sub-01_T1w.nii.gz", "sub-01_run-1_run-2_T1w.nii"]
)
def test_non_bids_names_are_not_parsed(name):
    assert BidsFile.parse(name) is None


def test_name_is_split_into_entities():
    file = BidsFile.parse(NAMES[2])
    assert (file.participant, file.session, file.suffix, file.extension) == ("01", "a", "boldmap", ".nii.gz")
    assert file.run_label == "task-rest_dir-AP_run-1_stat-reho"
    assert file.description == NAMES[2].removeprefix("sub-01_ses-a_")
    assert file.fields["ses"] == "a"
    assert file.fields["res"] == "1p5"


def test_entities_are_written_in_bids_order():
    file = BidsFile.build("01", None, "xfm", ".h5", mode="image", to="T1w", from_="boldref", desc=None, task="rest")
    assert file.name == "sub-01_task-rest_from-boldref_to-T1w_mode-image_xfm.h5"


@pytest.mark.parametrize("pair", [("01", None), ("01", "a")])
def test_participant_and_session_survive_a_round_trip(pair):
    assert parse_session_name(session_name(*pair)) == pair


def test_na_or_empty_session_of_a_table_is_none():
    assert [parse_session(text) for text in ("a", "n/a", "")] == ["a", None, None]


@pytest.mark.parametrize(("mm", "label"), [(2.0, "2"), (1.5, "1p5"), (0.75, "0p75")])
def test_resolution_is_written_as_a_bids_label(mm, label):
    assert resolution_label(mm) == label


@pytest.mark.parametrize(("label", "name"), [("01", "sub-01"), ("NORTH:01", "NORTH:sub-01")])
def test_participant_of_a_site_is_written_with_the_site_and_read_with_or_without_sub(label, name):
    assert participant_name(label) == name
    assert parse_participant(name) == parse_participant(label) == label
    assert parse_session_name(session_name(label, "a")) == (label, "a")


def test_files_of_a_participant_of_a_site_have_bids_names_in_a_folder_of_the_site():
    folder = outputs.folder(Path("out"), "NORTH:01", "a", "anat")
    assert folder / outputs.filename("NORTH:01", "a", "statmap", ".nii.gz", stat="gradcam") == Path(
        "out/NORTH/sub-01/ses-a/anat/sub-01_ses-a_stat-gradcam_statmap.nii.gz"
    )


def test_near_misses_are_looked_for_within_a_site():
    known = {"S1:012", "S11:2"}
    assert near_misses(["S1:12", "s11:02", "S2:2", "S1:2"], known) == {"S1:12": "S1:012", "s11:02": "S11:2"}
