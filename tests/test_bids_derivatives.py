"""fMRIPrep anatomical derivatives: files are selected by name and missing ones are listed."""

import pytest

from bids_app.bids.derivatives import find_fmriprep_anatomy
from bids_app.errors import MissingInputError

PARTS = (
    "desc-preproc_T1w.nii.gz", "desc-brain_mask.nii.gz", "label-GM_probseg.nii.gz", "label-WM_probseg.nii.gz",
    "label-CSF_probseg.nii.gz", "from-T1w_to-MNI152NLin2009cAsym_mode-image_xfm.h5",
)  # fmt: skip


@pytest.fixture
def root(tmp_path):
    return tmp_path / "fmriprep"


def write(folder, prefix, parts=PARTS):
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts:
        (folder / f"{prefix}_{part}").touch()


def names(result):
    return [path.name for path in (result.t1w, result.mask, result.gm, result.wm, result.csf, result.transform)]


def test_native_space_files_are_selected_among_other_spaces(root):
    anat = root / "sub-01/anat"
    write(anat, "sub-01")
    write(anat, "sub-01_space-MNI152NLin2009cAsym_res-2", PARTS[:5])
    for source, target in (("T1w", "MNI152NLin6Asym"), ("MNI152NLin2009cAsym", "T1w")):
        write(anat, "sub-01", [f"from-{source}_to-{target}_mode-image_xfm.h5"])
    write(anat, "sub-01", ["desc-aseg_dseg.nii.gz", "desc-preproc_T1w.json", "desc-ribbon_mask.nii.gz"])
    assert names(find_fmriprep_anatomy(root, "01", None)) == [f"sub-01_{part}" for part in PARTS]


def test_run_and_acquisition_entities_are_allowed_and_fewer_entities_preferred(root):
    write(root / "sub-01/anat", "sub-01_acq-x_run-1")
    assert names(find_fmriprep_anatomy(root, "01", None))[0] == "sub-01_acq-x_run-1_desc-preproc_T1w.nii.gz"
    write(root / "sub-01/anat", "sub-01_run-1")
    assert names(find_fmriprep_anatomy(root, "01", None))[0] == "sub-01_run-1_desc-preproc_T1w.nii.gz"


def test_session_files_are_preferred_over_the_average_over_sessions(root):
    write(root / "sub-01/anat", "sub-01")
    write(root / "sub-01/ses-a/func", "sub-01_ses-a", ["desc-brain_mask.nii.gz"])
    assert names(find_fmriprep_anatomy(root, "01", "a"))[0] == "sub-01_desc-preproc_T1w.nii.gz"
    write(root / "sub-01/ses-a/anat", "sub-01_ses-a")
    assert names(find_fmriprep_anatomy(root, "01", "a"))[0] == "sub-01_ses-a_desc-preproc_T1w.nii.gz"
    assert names(find_fmriprep_anatomy(root, "01", "b"))[0] == "sub-01_desc-preproc_T1w.nii.gz"


def test_missing_files_are_named_exactly(root):
    write(root / "sub-01/anat", "sub-01", PARTS[:4])
    with pytest.raises(MissingInputError) as caught:
        find_fmriprep_anatomy(root, "01", None)
    message = str(caught.value)
    assert message.startswith(f"sub-01: fmriprep lacks {PARTS[4]}, {PARTS[5]} (searched in sub-01/anat)")
    assert "--fallback-preprocessing" in message
    with pytest.raises(MissingInputError, match="searched in sub-02/ses-a/anat and sub-02/anat"):
        find_fmriprep_anatomy(root, "02", "a")


def test_missing_transform_to_another_space_is_named(root):
    write(root / "sub-01/anat", "sub-01")
    with pytest.raises(MissingInputError, match="from-T1w_to-MNI152NLin6Asym_mode-image_xfm"):
        find_fmriprep_anatomy(root, "01", None, space="MNI152NLin6Asym")


def test_anatomy_of_first_versions_is_named_as_such(tmp_path):
    folder = tmp_path / "fmriprep" / "sub-01" / "anat"
    folder.mkdir(parents=True)
    for name in ("T1w_preproc.nii.gz", "T1w_class-GM_probtissue.nii.gz", "T1w_target-MNI152NLin2009cAsym_warp.h5"):
        (folder / f"sub-01_{name}").touch()
    message = (
        r"no usable anatomy in sub-01/anat: sub-01_T1w_class-GM_.* fMRIPrep 1\.0 or 1\.1.*run fMRIPrep 20\.2 or later"
    )
    with pytest.raises(MissingInputError, match=message):
        find_fmriprep_anatomy(tmp_path / "fmriprep", "01", None)
