"""Metadata from sidecars; pybids is the reference for inheritance."""

import json
import warnings

import pytest

from bids_app.bids.functional import read_scanner
from bids_app.bids.metadata import BOLD_FIELDS, SCANNER_FIELDS, read_metadata
from bids_app.errors import DataError


@pytest.fixture
def root(tmp_path):
    (tmp_path / "dataset_description.json").write_text(json.dumps({"Name": "Trial", "BIDSVersion": "1.10.0"}))
    touch(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz", "sub-01/func/sub-01_task-rest_bold.nii.gz")
    return tmp_path


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def sidecar(root, name, **fields):
    touch(root, name)
    (root / name).write_text(json.dumps(fields))


def read_with_pybids(root, image):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import bids

        layout = bids.BIDSLayout(root, validate=False)
        try:
            return layout.get_metadata(str(image.resolve()))
        finally:
            layout.connection_manager.engine.dispose()


def test_bold_metadata_inheritance_matches_pybids(root):
    image = "sub-01/ses-a/func/sub-01_ses-a_task-rest_run-1_bold"
    touch(root, f"{image}.nii.gz")
    sidecar(root, "bold.json", EchoTime=0.03, Manufacturer="Maker", FlipAngle=80)
    sidecar(root, "task-rest_bold.json", RepetitionTime=2.0, TaskName="rest", FlipAngle=70, InstitutionName="Hospital")
    sidecar(root, "task-nback_bold.json", RepetitionTime=9.0, SliceEncodingDirection="i")
    sidecar(root, "task-rest_run-2_bold.json", EchoTime=9.0)
    sidecar(root, "T1w.json", EchoTime=9.0)
    sidecar(root, "sub-01/sub-01_bold.json", FlipAngle=60, DeviceSerialNumber="1234")
    times = [0, 1.0, 0.5]
    sidecar(root, f"{image}.json", SliceTiming=times, SliceEncodingDirection="k-", AcquisitionTime="10:00")
    metadata = read_metadata(root, root / f"{image}.nii.gz", BOLD_FIELDS)
    assert metadata == {
        "RepetitionTime": 2.0, "EchoTime": 0.03, "TaskName": "rest", "FlipAngle": 60, "Manufacturer": "Maker",
        "SliceTiming": times, "SliceEncodingDirection": "k-",
    }  # fmt: skip
    truth = read_with_pybids(root, root / f"{image}.nii.gz")
    assert {field: value for field, value in truth.items() if field in BOLD_FIELDS} == metadata


@pytest.mark.parametrize("image", ["sub-01/anat/sub-01_T1w", "sub-01/ses-a/anat/sub-01_ses-a_acq-x_run-1_T1w"])
def test_t1w_metadata_inheritance_matches_pybids(root, image):
    touch(root, f"{image}.nii.gz")
    sidecar(root, "T1w.json", MagneticFieldStrength=3, EchoTime=0.002, Manufacturer="Maker", InstitutionName="Hospital")
    sidecar(root, "acq-x_T1w.json", FlipAngle=7)
    sidecar(root, "acq-y_T1w.json", FlipAngle=8)
    sidecar(root, "T2w.json", FlipAngle=9)
    sidecar(root, "sub-01/sub-01_T1w.json", EchoTime=0.003, DeviceSerialNumber="1234", PatientName="Somebody")
    sidecar(root, "sub-01/ses-a/sub-01_ses-a_T1w.json", InversionTime=0.9)
    sidecar(root, f"{image}.json", SkullStripped=True, AcquisitionTime="10:00")
    sidecar(root, "sub-02/anat/sub-02_T1w.json", FlipAngle=5)
    metadata = read_metadata(root, root / f"{image}.nii.gz")
    expected = {"Manufacturer": "Maker", "MagneticFieldStrength": 3, "EchoTime": 0.003, "SkullStripped": True}
    assert metadata == expected | ({"FlipAngle": 7, "InversionTime": 0.9} if "acq-x" in image else {})
    truth = read_with_pybids(root, root / f"{image}.nii.gz")
    assert {field: value for field, value in truth.items() if field in SCANNER_FIELDS} == metadata


def test_metadata_of_an_unfetched_scan_are_read(root):
    (root / "sub-01/anat/sub-01_T1w.nii.gz").unlink()
    (root / "sub-01/anat/sub-01_T1w.nii.gz").symlink_to("../../.git/annex/objects/x/y/y")
    sidecar(root, "sub-01/anat/sub-01_T1w.json", EchoTime=0.003)
    assert read_metadata(root, root / "sub-01/anat/sub-01_T1w.nii.gz") == {"EchoTime": 0.003}


def test_broken_sidecars_are_named_and_unrelated_ones_not_read(root):
    image = root / "sub-01/func/sub-01_task-rest_bold.nii.gz"
    others = ("sub-01/func/sub-01_task-nback_bold.json", "sub-02/func/sub-02_task-rest_bold.json", "odd name_bold.json")
    touch(root, *others, "T1w.json")
    assert read_metadata(root, image, BOLD_FIELDS) == {}
    for content in ("{broken", "[1]"):
        (root / "task-rest_bold.json").write_text(content)
        with pytest.raises(DataError, match=r"sidecar task-rest_bold\.json of sub-01_task-rest_bold\.nii\.gz cannot"):
            read_metadata(root, image, BOLD_FIELDS)


def test_scanner_is_read_from_sidecars_without_the_image(root):
    sidecar(root, "task-rest_bold.json", Manufacturer="Maker", DeviceSerialNumber="1234", SliceTiming=[0, 1])
    sidecar(root, "sub-01/ses-a/func/sub-01_ses-a_task-rest_run-1_bold.json", MagneticFieldStrength=3)
    assert read_scanner(root, "01", "a", "task-rest_run-1") == {"Manufacturer": "Maker", "MagneticFieldStrength": 3}
    assert read_scanner(root, "01", None, "task-rest") == {"Manufacturer": "Maker"}
    assert read_scanner(root, "02", None, "task-nback") == {}
