"""Outputs of other pipelines in the place of fMRIPrep's are refused by name; fMRIPrep's own are not."""

import json

import pytest

from bids_app.bids import inputs
from bids_app.bids.other_pipelines import identify_pipeline
from bids_app.errors import UsageError
from bids_app.planning import participant
from bids_app.settings import build

MNI = "space-MNI152NLin2009cAsym"
FMRIPREP = {"Name": "fMRIPrep", "Version": "25.2.0"}
XCP_D = [{"Name": "xcp_d", "Version": "0.10.7"}, FMRIPREP]  # XCP-D keeps what it was given
TREES = {
    "XCP-D": (XCP_D, [f"func/sub-01_task-rest_{MNI}_res-2_desc-denoisedSmoothed_bold.nii.gz"]),
    "XCP-D without description": (None, [f"ses-1/func/sub-01_ses-1_task-rest_{MNI}_desc-denoised_bold.nii.gz"]),
    "C-PAC": (None, ["ses-1/func/sub-01_ses-1_task-rest_run-1_space-template_desc-preproc_bold.nii.gz"]),
    "HALFpipe": (None, ["func/task-rest/sub-01_task-rest_feature-fALFF1_alff.nii.gz"]),
    "HALFpipe without maps": (None, ["ses-1/func/sub-01_ses-1_task-rest_setting-preproc_bold.nii.gz"]),
    "CAT12": (None, ["ses-1/anat/mri/mwp1sub-01_ses-1_T1w.nii", "ses-1/anat/report/cat_sub-01_ses-1_T1w.xml"]),
    "FreeSurfer": (None, ["mri/orig.mgz", "mri/wmparc.mgz", "surf/lh.pial"]),
    "MRIQC": ([{"Name": "MRIQC", "Version": "22.0.6"}], ["anat/sub-01_T1w.json", "func/sub-01_task-rest_bold.json"]),
    "Pellucid": ([{"Name": "pellucid", "Version": "0.1.0"}], [f"anat/sub-01_{MNI}_label-GM_probseg.nii.gz"]),
}
OWN = [
    "anat/sub-01_desc-preproc_T1w.nii.gz",
    f"func/sub-01_task-rest_{MNI}_desc-preproc_bold.nii.gz",
    "figures/sub-01_task-rest_desc-carpetplot_bold.svg",
]


def tree(folder, generated_by, names):
    for name in names:
        file = folder / "sub-01" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    if generated_by is not None:
        description = {"Name": "derivatives", "BIDSVersion": "1.8.0", "GeneratedBy": generated_by}
        (folder / "dataset_description.json").write_text(json.dumps(description))
    return folder


@pytest.mark.parametrize("form", TREES)
def test_outputs_of_other_pipelines_are_refused_by_name(tmp_path, form):
    raw = tree(tmp_path / "raw", None, ["anat/sub-01_T1w.nii.gz"])
    folder = tree(tmp_path / "derived", *TREES[form])
    options = {"derivatives": {"fmriprep": folder}, "maps": ["reho"]}
    settings = build("participant", raw, tmp_path / "out", options=options)
    dataset = inputs.open_dataset(raw, validate=False)
    with pytest.raises(UsageError, match=f"derived holds outputs of {form.split(' without')[0]}, which are not read"):
        participant.plan_participants(dataset, settings)


@pytest.mark.parametrize("generated_by", [[FMRIPREP], None, [{"Name": "NiBabies"}], "fMRIPrep", [None]])
def test_outputs_of_fmriprep_and_unknown_ones_are_not_refused(tmp_path, generated_by):
    assert identify_pipeline(tree(tmp_path / "fmriprep", generated_by, OWN)) is None


def test_cat12_in_one_folder_for_all_is_recognised(tmp_path):
    (tmp_path / "mri").mkdir()
    (tmp_path / "mri" / "mwp1sub-01_T1w.nii").touch()
    assert identify_pipeline(tmp_path) == "CAT12"
