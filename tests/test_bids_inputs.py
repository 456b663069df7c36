"""The input data set: participants, scans and filters."""

import json
import logging
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bids_app.bids.inputs import anatomical_scans, open_dataset, select
from bids_app.errors import NotBidsError, NothingSelectedError, UsageError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"\x1f\x8b")


@pytest.fixture
def root(tmp_path):
    (tmp_path / "dataset_description.json").write_text(json.dumps({"Name": "Trial", "BIDSVersion": "1.10.0"}))
    touch(tmp_path, *(f"sub-{label}/anat/sub-{label}_T1w.nii.gz" for label in ("02", "01", "10")))
    return tmp_path


def scans(root, *, person="01", **options):
    return [(scan.session, scan.path.name) for scan in anatomical_scans(open_dataset(root), person, **options)]


def test_participants_are_listed_in_order(root):
    (root / "sub-03.html").touch()
    dataset = open_dataset(root)
    assert (dataset.name, dataset.participants) == ("Trial", ("01", "02", "10"))


def test_1000_participants_are_listed_in_under_200_ms(root):
    for number in range(1000):
        (root / f"sub-x{number:04}").mkdir()
    start = time.process_time()
    dataset = open_dataset(root)
    scans_of_one = anatomical_scans(dataset, "01")
    assert time.process_time() - start < 0.2
    assert len(dataset.participants) == 1003
    assert len(scans_of_one) == 1


def test_input_that_is_not_bids_is_refused_with_advice(root, tmp_path):
    with pytest.raises(NotBidsError, match="does not exist"):
        open_dataset(root / "nowhere")
    with pytest.raises(NotBidsError, match="is a file"):
        open_dataset(root / "dataset_description.json")
    (root / "dataset_description.json").write_text("{")
    with pytest.raises(NotBidsError, match="--skip-bids-validation"):
        open_dataset(root)
    (root / "dataset_description.json").unlink()
    with pytest.raises(NotBidsError, match=r"no dataset_description\.json"):
        open_dataset(root)
    assert open_dataset(root, validate=False).name == root.name
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotBidsError, match=r"no sub-\* folder"):
        open_dataset(tmp_path / "empty", validate=False)


def test_selection_accepts_labels_with_and_without_prefix(root):
    dataset = open_dataset(root)
    assert select(dataset, ["sub-10", "01", "10"]) == ("01", "10")
    assert select(dataset, []) == dataset.participants


def test_unknown_participants_are_named_with_those_available(root):
    with pytest.raises(NothingSelectedError, match=r"not in the data set: 1 \(01\?\), 99\. It has: 01, 02, 10"):
        select(open_dataset(root), ["01", "sub-99", "1"])


def test_first_scan_by_name_is_used_per_session_and_others_are_logged(root, caplog):
    touch(root, *(f"sub-01/ses-{s}/anat/sub-01_ses-{s}_run-{r}_T1w.nii" for s in "ba" for r in ("02", "01")))
    touch(root, "sub-01/ses-a/anat/sub-01_ses-a_T2w.nii.gz", "sub-01/ses-a/anat/sub-01_ses-a_run-1_part-phase_T1w.nii")
    touch(root, "sub-01/ses-a/anat/sub-02_ses-a_T1w.nii.gz", "sub-01/ses-a/anat/notes_T1w.nii.gz")
    with caplog.at_level(logging.WARNING, "pellucid"):
        assert scans(root) == [
            (None, "sub-01_T1w.nii.gz"),
            ("a", "sub-01_ses-a_run-01_T1w.nii"),
            ("b", "sub-01_ses-b_run-01_T1w.nii"),
        ]
    assert "not using sub-01_ses-a_run-02_T1w.nii" in caplog.text
    assert scans(root, sessions=("ses-b",)) == [("b", "sub-01_ses-b_run-01_T1w.nii")]
    assert scans(root, sessions=("c",)) == []
    assert scans(root, person="nobody") == []


def test_a_broken_link_counts_as_a_scan(root):
    (root / "sub-02/anat/sub-02_T1w.nii.gz").unlink()
    (root / "sub-02/anat/sub-02_T1w.nii.gz").symlink_to("../../.git/annex/objects/x/y/y")
    assert scans(root, person="02") == [(None, "sub-02_T1w.nii.gz")]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"run": 2}, "sub-01_acq-mprage_run-02_T1w.nii.gz"),
        ({"acquisition": ["space", "mprage"], "run": "02"}, "sub-01_acq-mprage_run-02_T1w.nii.gz"),
        ({"acquisition": "acq-space"}, "sub-01_acq-space_T1w.nii.gz"),
        ({"acquisition": None}, "sub-01_T1w.nii.gz"),
        ({"acquisition": "*", "run": "Query.NONE"}, "sub-01_acq-space_T1w.nii.gz"),
        ({"suffix": "T1w", "datatype": "anat", "extension": "nii.gz", "echo": "Query.OPTIONAL"}, "sub-01_T1w.nii.gz"),
        ({"reconstruction": "norm"}, None),
        ({"suffix": "T2w"}, None),
        ({"session": "1"}, None),
    ],
)
def test_filters_select_like_fmriprep(root, filters, expected):
    touch(root, *(f"sub-01/anat/sub-01_{name}_T1w.nii.gz" for name in ("acq-space", "acq-mprage_run-02")))
    assert scans(root, filters=filters) == ([(None, expected)] if expected else [])


def test_unknown_filter_entity_is_named(root):
    with pytest.raises(UsageError, match="colour"):
        scans(root, filters={"colour": "red"})


def test_bids_modules_import_nothing_heavy():
    rooms = "inputs, annex, derivatives, outputs, description, metadata, functional, derivatives_bold"
    code = f"import sys; from bids_app.bids import {rooms}; print({{'bids', 'pandas', 'numpy'}} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
