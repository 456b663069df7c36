"""Layouts of fMRIPrep's outputs: which of their images are planned, and what is refused by name."""

import pytest
from layout_trees import ANATOMY, REST, SPACE, Layout, check

LAYOUTS = {
    "several echoes, combined by fMRIPrep, which can keep each": Layout(
        "sub-01/anat T1w\nsub-01/func task-rest_echo-1_bold task-rest_echo-2_bold",
        derived=f"sub-01/anat {ANATOMY}\nsub-01/func {REST} task-rest_echo-1_desc-preproc_bold",
        gm={"sub-01": "desc-preproc_T1w"},
        bold={"sub-01": f"task-rest_space-{SPACE}_desc-preproc_bold"},
        filters={"bold": {"echo": 2}},
    ),
    "acquisitions of fMRIPrep, one of them selected": Layout(
        "sub-01/anat T1w",
        derived=f"sub-01/anat {ANATOMY}\nsub-01/func {REST.replace('rest_', 'rest_acq-1400_')}\nsub-01/func "
        + REST.replace("rest_", "rest_acq-CAP_"),
        gm={"sub-01": "desc-preproc_T1w"},
        bold={"sub-01": f"task-rest_acq-CAP_space-{SPACE}_desc-preproc_bold"},
        filters={"bold": {"acquisition": "CAP"}},
    ),
    "CIFTI beside volumes, and CIFTI only": Layout(
        "sub-01/anat T1w\nsub-02/anat T1w",
        derived=f"""sub-01/anat {ANATOMY}
        sub-01/func {REST} task-rest_space-fsLR_den-91k_bold.dtseries.nii task-rest_hemi-L_space-fsnative_bold.func.gii
        sub-02/anat {ANATOMY}
        sub-02/func task-rest_space-fsLR_den-91k_bold.dtseries.nii task-rest_desc-confounds_timeseries.tsv""",
        gm={"sub-01": "desc-preproc_T1w", "sub-02": "desc-preproc_T1w"},
        bold={"sub-01": f"task-rest_space-{SPACE}_desc-preproc_bold"},
        failed_bold=(
            f"sub-02: fmriprep lacks task-*_space-{SPACE}_desc-preproc_bold.nii.gz (searched in sub-02/func; there is "
            f"no such image for any task or space): run fMRIPrep for this participant with --output-spaces {SPACE}.",
        ),
    ),
    "infants, in spaces with a cohort": Layout(
        "sub-01/ses-1mo/anat T1w",
        derived="""sub-01/ses-1mo/anat desc-preproc_T1w desc-brain_mask
        sub-01/ses-1mo/anat label-GM_probseg label-WM_probseg label-CSF_probseg
        sub-01/ses-1mo/anat from-T1w_to-MNIInfant+1_mode-image_xfm.h5
        sub-01/ses-1mo/func task-rest_space-MNIInfant_cohort-1_res-2_desc-preproc_bold
        sub-01/ses-1mo/func task-rest_space-MNI152NLin6Asym_res-2_desc-preproc_bold""",
        failed_gm=(f"sub-01: fmriprep lacks from-T1w_to-{SPACE}_mode-image_xfm.h5 (searched in sub-01/ses-1mo/anat",),
        failed_bold=(
            "there is task-rest in MNI152NLin6Asym; task-rest in MNIInfant): add --output-space MNI152NLin6Asym",
        ),
    ),
    "derivatives inside the data set": Layout(
        "sub-01/anat T1w\nsub-01/func task-rest_bold",
        derived=f"sub-01/anat {ANATOMY}\nsub-01/func {REST}",
        gm={"sub-01": "desc-preproc_T1w"},
        bold={"sub-01": f"task-rest_space-{SPACE}_desc-preproc_bold"},
        where="bids/derivatives/fmriprep",
    ),
}


@pytest.mark.parametrize("title", LAYOUTS)
def test_each_output_of_fmriprep_gives_its_volumes_in_the_template_and_the_rest_is_refused_by_name(tmp_path, title):
    check(tmp_path, LAYOUTS[title])
