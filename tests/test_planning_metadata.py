"""The plan of a participant run on small trees: each participant by their own files, none by those of another."""

import gzip
import json
import logging

import nibabel as nib
import numpy as np
import pytest

from bids_app.bids import inputs
from bids_app.errors import MissingInputError, NothingSelectedError, UsageError
from bids_app.planning import participant
from bids_app.settings import build

SPACE = "MNI152NLin2009cAsym"
ANATOMY = (
    "desc-preproc_T1w.nii.gz",
    "desc-brain_mask.nii.gz",
    *(f"label-{tissue}_probseg.nii.gz" for tissue in ("GM", "WM", "CSF")),
    f"from-T1w_to-{SPACE}_mode-image_xfm.h5",
)


IMAGE = gzip.compress(nib.Nifti1Image(np.ones((16, 16, 16), np.uint8), np.diag([9.0, 9, 9, 1])).to_bytes())


def put(folder, *names, content=IMAGE):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.fixture
def study(tmp_path):
    """A data set of two participants, and their anatomy by fMRIPrep; only names and headers matter."""
    put(tmp_path / "bids", "dataset_description.json", content=b'{"Name": "Trial", "BIDSVersion": "1.8.0"}')
    for label in ("01", "02"):
        put(tmp_path / "bids", f"sub-{label}/anat/sub-{label}_T1w.nii.gz")
        put(tmp_path / "fmriprep" / f"sub-{label}" / "anat", *(f"sub-{label}_{name}" for name in ANATOMY))
    return tmp_path


def planned(study, **options):
    words = {"maps": ["gm"], "derivatives": {"fmriprep": study / "fmriprep"}, **options}
    dataset = inputs.open_dataset(study / "bids")
    return participant.plan_participants(dataset, build("participant", study / "bids", study / "out", options=words))


def test_sidecars_of_t1w_are_read_before_anything_is_computed_and_fail_one_participant_only(study):
    put(study / "bids", "sub-01/anat/sub-01_T1w.json", content=b'{"EchoTime": NaN}')
    put(study / "bids", "sub-02/anat/sub-02_T1w.json", content='{"EchoTime": 0.003, "a": "ä"}'.encode("latin-1"))
    plan = planned(study)
    assert [job.name for job in plan.jobs] == ["sub-02"]
    assert plan.jobs[0].scanner == {"EchoTime": 0.003}
    assert list(plan.failed) == ["sub-01"]
    assert plan.failed["sub-01"].startswith(
        "the sidecar sub-01_T1w.json of sub-01_T1w.nii.gz cannot be read: it contai"
    )


def test_changed_sidecar_of_t1w_changes_the_job_key(study):
    before = planned(study).jobs
    put(study / "bids", "sub-01/anat/sub-01_T1w.json", content=b'{"MagneticFieldStrength": 3}')
    after = planned(study).jobs
    assert [job.inputs for job in before] == [job.inputs for job in after]
    assert [one.key == other.key for one, other in zip(before, after, strict=True)] == [False, True]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_filter_files_select_whatever_their_encoding(study, encoding):
    put(study / "bids", "sub-01/anat/sub-01_acq-b_T1w.nii.gz")
    put(study, "filters.json", content=json.dumps({"t1w": {"acquisition": "b"}}).encode(encoding))
    plan = planned(study, bids_filter_file=study / "filters.json")
    assert [job.scan.rsplit("/", 1)[1] for job in plan.jobs] == ["sub-01_acq-b_T1w.nii.gz"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "--bids-filter-file filters.json cannot be read, since it is not a JSON object"),
        (b'{"t1w": {"run": 1, "run": 2}}', "it states run more than once"),
        (b'{"T1w": {"run": 1}}', r"no kind of image is named T1w \(t1w\?\); filters are written under t1w and bold"),
        (b'{"t1w": [1]}', r'"t1w" is \[1\]; write the entities and their values'),
    ],
)
def test_ambiguous_filter_files_are_refused(study, content, message):
    put(study, "filters.json", content=content)
    with pytest.raises(UsageError, match=message):
        planned(study, bids_filter_file=study / "filters.json")


def test_filter_values_that_match_no_image_are_named_with_near_misses(study, caplog):
    put(study / "bids", "sub-01/anat/sub-01_acq-b_run-01_T1w.nii.gz")
    wanted = {"acquisition": ["B", "b", "c", None], "run": 1, "session": "2", "suffix": "T1w", "datatype": "anat"}
    put(study, "filters.json", content=json.dumps({"t1w": wanted, "t2w": {"run": 1}}).encode())
    with (
        caplog.at_level(logging.WARNING, "pellucid"),
        pytest.raises(NothingSelectedError, match="--bids-filter-file if used"),
    ):
        planned(study, bids_filter_file=study / "filters.json")
    warnings = [record.getMessage() for record in caplog.records]
    assert warnings == [
        "--bids-filter-file: no T1w image has acquisition B (b?), c; there is b",
        "--bids-filter-file: no T1w image has session 2; there is none with this entity",
    ]


def test_sessions_that_share_one_anatomy_of_fmriprep_are_planned_and_logged_as_such(study, caplog):
    for session in ("1", "2"):
        put(study / "bids", f"sub-03/ses-{session}/anat/sub-03_ses-{session}_T1w.nii.gz")
        put(study / "bids", f"sub-04/ses-{session}/anat/sub-04_ses-{session}_T1w.nii.gz")
        put(study / "fmriprep", *(f"sub-04/ses-{session}/anat/sub-04_ses-{session}_{name}" for name in ANATOMY))
    put(study / "bids", "sub-05/ses-1/anat/sub-05_ses-1_T1w.nii.gz")
    put(study / "fmriprep", *(f"sub-{label}/anat/sub-{label}_{name}" for label in ("03", "05") for name in ANATOMY))
    with caplog.at_level(logging.WARNING, "pellucid"):
        jobs = {job.name: job for job in planned(study).jobs}
    assert {name: job.merged_sessions for name, job in jobs.items() if job.merged_sessions} == {
        "sub-03_ses-1": ["1", "2"],
        "sub-03_ses-2": ["1", "2"],
    }
    assert jobs["sub-03_ses-2"].preprocessed_scan == "sub-03/anat/sub-03_desc-preproc_T1w.nii.gz"
    assert jobs["sub-04_ses-2"].preprocessed_scan == "sub-04/ses-2/anat/sub-04_ses-2_desc-preproc_T1w.nii.gz"
    assert "sub-03: fMRIPrep has one anatomy for ses-1, ses-2; they share their maps of anatomy" in caplog.text
    (alone,) = planned(study, participant_label=["03"], session_label=["2"]).jobs
    assert alone.merged_sessions == ["1", "2"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["UNIT1", "inv-1_MP2RAGE"], "has UNIT1, MP2RAGE but no T1w: save the UNIT1 image, without the noise outside"),
        (["FLAIR"], "has FLAIR but no T1w: add a T1w image, or exclude the participant with --exclude"),
    ],
)
def test_participants_with_other_images_only_fail_by_name_and_are_not_skipped(study, names, message):
    put(study / "bids", *(f"sub-03/ses-1/anat/sub-03_ses-1_{name}.nii.gz" for name in names))
    put(study / "bids", "sub-04/ses-1/anat/sub-04_ses-1_T1w.json", "sub-04/ses-1/anat/sub-04_ses-1_FLAIR.json")
    plan = planned(study)
    assert [job.name for job in plan.jobs] == ["sub-01", "sub-02"]
    assert list(plan.failed) == ["sub-03"]
    assert plan.failed["sub-03"].startswith(f"sub-03 {message}")
    put(study, "exclude.tsv", content=b"participant_id\nsub-03\n")
    assert not planned(study, exclude=study / "exclude.tsv").failed
    with pytest.raises(MissingInputError, match="sub-03 has"):
        planned(study, participant_label=["03"])


@pytest.mark.parametrize("kind", ["raw", "fmriprep"])
@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("dim", [3, 30000, 30000, 30000, 1, 1, 1, 1], "which no scanner measures"),
        ("srow_x", [0, 0, 0, 0], "singular or not finite"),
        ("srow_y", [0, np.nan, 0, 0], "singular or not finite"),
        ("datatype", 4096, "cannot be read as an image"),
        ("datatype", 128, "one real number per voxel"),
    ],
)
def test_one_impossible_image_fails_its_participant_only(study, kind, field, value, message):
    header = nib.Nifti1Header(gzip.decompress(IMAGE)[:348], check=False)
    header[field] = value
    bad = gzip.compress(header.binaryblock + gzip.decompress(IMAGE)[348:])
    if kind == "raw":
        put(study / "bids", "sub-01/anat/sub-01_T1w.nii.gz", content=bad)
        plan = planned(study, derivatives={}, maps=["gm"])
    else:
        put(study / "fmriprep", "sub-01/anat/sub-01_label-GM_probseg.nii.gz", content=bad)
        plan = planned(study)
    assert [job.name for job in plan.jobs] == ["sub-02"]
    assert message in plan.failed["sub-01"]
