"""Layouts of raw data sets, as on OpenNeuro: which images of each are planned, and what is refused by name.

Names and sidecars have the form that those data sets have; what is expected follows from the BIDS specification and
the definitions of its entities, not from what the code gives.
"""

import logging
import os

import pytest
from layout_trees import ANATOMY, COMPRESSED, SPACE, VOLUME, Layout, build_tree, check, image, plan

from bids_app.bids import inputs
from bids_app.errors import NotBidsError
from bids_app.run import main

LAYOUTS = {
    "anatomy without session beside sessions of BOLD": Layout(
        """sub-01/anat T1w
        sub-01/ses-a/func task-rest_bold
        sub-01/ses-b/func task-rest_bold""",
        gm={"sub-01": "T1w"},
        bold={"sub-01_ses-a": "T1w task-rest_bold", "sub-01_ses-b": "T1w task-rest_bold"},
    ),
    "longitudinal, with tables of sessions and scans": Layout(
        """sub-01/ses-baseline/anat T1w
        sub-01/ses-baseline/func task-rest_bold
        sub-01/ses-followup/anat T1w
        sub-01/ses-followup/func task-rest_bold
        sub-01/sub-01_sessions.tsv
        sub-01/ses-baseline/sub-01_ses-baseline_scans.tsv
        sub-02/ses-baseline/func task-rest_bold
        sub-02/ses-followup/anat T1w""",
        gm={"sub-01_ses-baseline": "T1w", "sub-01_ses-followup": "T1w", "sub-02_ses-followup": "T1w"},
        bold={
            "sub-01_ses-baseline": "T1w task-rest_bold",
            "sub-01_ses-followup": "T1w task-rest_bold",
            "sub-02_ses-baseline": "T1w task-rest_bold",
        },
        contents={"sub-01/sub-01_sessions.tsv": "session_id\tage\nses-baseline\t30\nses-followup\t31\n"},
    ),
    "several echoes": Layout(
        "sub-01/anat T1w\nsub-01/func task-rest_echo-1_bold task-rest_echo-2_bold task-rest_echo-3_bold",
        gm={"sub-01": "T1w"},
        failed_bold=("sub-01 has multi-echo BOLD (echoes 1, 2, 3), which Pellucid does not combine: run fMRIPrep",),
    ),
    "several echoes, one of them selected": Layout(
        "sub-01/anat T1w\nsub-01/func task-rest_echo-1_bold task-rest_echo-2_bold",
        gm={"sub-01": "T1w"},
        bold={"sub-01": "T1w task-rest_echo-2_bold"},
        filters={"bold": {"echo": 2}},
    ),
    "several runs of T1w": Layout(
        "sub-01/anat run-1_T1w run-2_T1w run-10_T1w\nsub-01/func task-rest_run-1_bold task-rest_run-2_bold",
        gm={"sub-01": "run-1_T1w"},
        bold={"sub-01": "run-1_T1w task-rest_run-1_bold task-rest_run-2_bold"},
    ),
    "MP2RAGE, with and without T1w": Layout(
        """sub-01/anat inv-1_MP2RAGE inv-2_part-mag_MP2RAGE inv-2_part-phase_MP2RAGE UNIT1 T1map
        sub-02/anat inv-1_MP2RAGE inv-2_MP2RAGE UNIT1 rec-denoised_UNIT1 acq-mp2rage_T1w
        sub-02/func task-rest_bold""",
        gm={"sub-02": "acq-mp2rage_T1w"},
        bold={"sub-02": "acq-mp2rage_T1w task-rest_bold"},
        failed_gm=("sub-01 has UNIT1, MP2RAGE, T1map but no T1w: save the UNIT1 image",),
        failed_bold=("sub-01 has UNIT1, MP2RAGE, T1map but no T1w: save the UNIT1 image",),
    ),
    "T1w of several echoes and their combination": Layout(
        "sub-01/anat echo-1_T1w echo-2_T1w rec-RMS_T1w",
        gm={"sub-01": "rec-RMS_T1w"},
        failed_bold=("sub-01 has no BOLD run in func: add it",),
    ),
    "T1w in several fields of view": Layout(
        "sub-01/anat chunk-1_T1w chunk-2_T1w\nsub-02/anat chunk-1_T1w T1w",
        gm={"sub-02": "T1w"},
        failed_gm=("sub-01_chunk-1_T1w.nii.gz shows one of several fields of view (chunk-): combine them",),
        failed_bold=(
            "sub-01_chunk-1_T1w.nii.gz shows one of several fields of view (chunk-): combine them",
            "sub-02 has no BOLD run in func: add it",
        ),
    ),
    "contrast agent, defaced copies and masks of defacing": Layout(
        """sub-01/anat ce-gadolinium_T1w rec-defaced_T1w T1w mod-T1w_defacemask
        sub-01/anat/sub-01_T1w_defaced.nii.gz
        sub-01/func task-rest_bold""",
        gm={"sub-01": "T1w"},
        bold={"sub-01": "T1w task-rest_bold"},
    ),
    "magnitude and phase": Layout(
        """sub-01/anat part-mag_T1w part-phase_T1w
        sub-01/func task-rest_part-mag_bold task-rest_part-phase_bold task-rest_part-mag_sbref
        sub-02/anat part-phase_T1w""",
        gm={"sub-01": "part-mag_T1w"},
        bold={"sub-01": "part-mag_T1w task-rest_part-mag_bold"},
        failed_gm=("sub-02_part-phase_T1w.nii.gz is not a magnitude image (part-phase)",),
        failed_bold=("sub-02_part-phase_T1w.nii.gz is not a magnitude image (part-phase)",),
    ),
    "reconstructions and phase-encoding directions": Layout(
        """sub-01/anat rec-norm_T1w rec-dis3d_T1w
        sub-01/fmap dir-AP_epi dir-PA_epi
        sub-01/func task-rest_dir-AP_bold task-rest_rec-norm_dir-AP_bold task-rest_dir-PA_bold task-rest_dir-PA_sbref
        """,
        gm={"sub-01": "rec-dis3d_T1w"},
        bold={"sub-01": "rec-dis3d_T1w task-rest_dir-AP_bold task-rest_dir-PA_bold"},
    ),
    "sites as acquisitions": Layout(
        """sub-01/anat acq-berlin_T1w
        sub-01/func task-rest_acq-berlin_bold
        sub-02/anat acq-oslo_T1w
        sub-02/func task-rest_acq-oslo_bold""",
        gm={"sub-01": "acq-berlin_T1w", "sub-02": "acq-oslo_T1w"},
        bold={"sub-01": "acq-berlin_T1w task-rest_acq-berlin_bold", "sub-02": "acq-oslo_T1w task-rest_acq-oslo_bold"},
        contents={"sub-02/func/sub-02_task-rest_acq-oslo_bold.json": {"RepetitionTime": 2.0, "Manufacturer": "GE"}},
    ),
    "acquisitions with other repetition times": Layout(
        "sub-01/anat T1w\nsub-01/func task-rest_acq-1400_bold.nii task-rest_acq-CAP_bold",
        gm={"sub-01": "T1w"},
        failed_bold=(
            "sub-01 has BOLD runs that cannot be averaged, task-rest_acq-1400 has a repetition time of 1.4 s and "
            'task-rest_acq-CAP 2: select runs of one kind in --bids-filter-file, as in {"bold": {"acquisition": "1400"',
        ),
        contents={
            "sub-01/func/sub-01_task-rest_acq-1400_bold.json": {"RepetitionTime": 1.4},
            "sub-01/func/sub-01_task-rest_acq-1400_bold.nii": image((12, 12, 8, 20), 1.4),
        },
    ),
    "acquisitions of part of the brain": Layout(
        "sub-01/anat T1w\nsub-01/func task-rest_acq-fullbrain_bold.nii task-rest_acq-prefrontal_bold.nii",
        gm={"sub-01": "T1w"},
        failed_bold=(
            "task-rest_acq-fullbrain has 12 x 12 x 8 voxels of 8 x 8 x 8 mm and task-rest_acq-prefrontal 12 x",
        ),
        contents={"sub-01/func/sub-01_task-rest_acq-prefrontal_bold.nii": image((12, 12, 4, 20), 2.0)},
    ),
    "twins": Layout(
        "participants.tsv\nsub-T01A/anat T1w\nsub-T01B/anat T1w\nsub-T01A/func task-rest_bold",
        gm={"sub-T01A": "T1w", "sub-T01B": "T1w"},
        bold={"sub-T01A": "T1w task-rest_bold"},
        failed_bold=("sub-T01B has no BOLD run in func: add it",),
        contents={"participants.tsv": "participant_id\tfamily_id\tzygosity\nsub-T01A\tF1\tMZ\nsub-T01B\tF1\tMZ\n"},
    ),
    "uncompressed images": Layout(
        "sub-01/anat T1w.nii\nsub-01/func task-rest_bold.nii",
        gm={"sub-01": "T1w.nii"},
        bold={"sub-01": "T1w.nii task-rest_bold.nii"},
    ),
    "field maps by BIDS URI, code, sourcedata, .bidsignore": Layout(
        """.bidsignore
        code/sub-09/anat/sub-09_T1w.nii.gz
        sourcedata/sub-01/anat/sub-01_acq-raw_T1w.nii.gz
        derivatives/defaced/sub-08/anat/sub-08_T1w.nii.gz
        sub-01/anat T1w.json T1w
        sub-01/fmap dir-PA_epi.json dir-PA_epi
        sub-01/func task-rest_bold task-rest_events.tsv
        sub-01/sub-01_scans.tsv""",
        gm={"sub-01": "T1w"},
        bold={"sub-01": "T1w task-rest_bold"},
        contents={
            ".bidsignore": "*_T1w_defaced.nii.gz\ncode/\n",
            "sub-01/anat/sub-01_T1w.json": {"Manufacturer": "Siemens"},
            "sub-01/fmap/sub-01_dir-PA_epi.json": {"IntendedFor": ["bids::sub-01/func/sub-01_task-rest_bold.nii.gz"]},
        },
    ),
    "names that lack the session of their folder": Layout(
        "sub-01/ses-1/anat/sub-01_T1w.nii.gz",
        failed_gm=("sub-01/ses-1/anat/sub-01_T1w.nii.gz: its name must begin with sub-01_ses-1_, as its folders do",),
        failed_bold=("sub-01/ses-1/anat/sub-01_T1w.nii.gz: its name must begin with sub-01_ses-1_, as its folders do",),
    ),
    "images of fMRIPrep among raw ones": Layout(
        f"sub-01/anat desc-preproc_T1w space-{SPACE}_desc-preproc_T1w\nsub-02/anat T1w space-{SPACE}_T1w",
        gm={"sub-02": "T1w"},
        failed_gm=(
            "sub-01_desc-preproc_T1w.nii.gz is a derivative (desc-preproc): add the raw image, or pass fMRIPrep's",
        ),
        failed_bold=("sub-01_desc-preproc_T1w.nii.gz is a derivative", "sub-02 has no BOLD run"),
    ),
    "an empty room of MEG": Layout(
        """sub-01/ses-mri/anat T1w
        sub-01/ses-mri/func task-rest_bold
        sub-emptyroom/ses-20130822/meg/sub-emptyroom_ses-20130822_task-noise_meg.fif""",
        gm={"sub-01_ses-mri": "T1w"},
        bold={"sub-01_ses-mri": "T1w task-rest_bold"},
    ),
    "T1w during tasks, one of them selected": Layout(
        "sub-01/anat task-nodding_acq-mprage_T1w task-still_acq-mprage_T1w",
        gm={"sub-01": "task-still_acq-mprage_T1w"},
        filters={"t1w": {"task": "still"}},
        failed_bold=("sub-01 has no BOLD run in func: add it",),
    ),
}


@pytest.mark.parametrize("title", LAYOUTS)
def test_each_layout_gives_the_images_that_bids_means_and_refuses_the_rest_by_name(tmp_path, title):
    check(tmp_path, LAYOUTS[title])


def test_other_images_of_a_participant_are_logged_once(tmp_path, caplog):
    layout = LAYOUTS["contrast agent, defaced copies and masks of defacing"]
    build_tree(tmp_path / "bids", layout.files)
    with caplog.at_level(logging.WARNING, "pellucid"):
        plan(tmp_path, layout, "reho")
    others = "sub-01_rec-defaced_T1w.nii.gz, sub-01_ce-gadolinium_T1w.nii.gz"
    assert [record.getMessage() for record in caplog.records] == [
        f"sub-01: using sub-01_T1w.nii.gz; not using {others}"
    ]


@pytest.mark.parametrize("fetched", [True, False])
def test_links_into_an_annex_are_used_if_fetched_and_refused_with_the_command_if_not(tmp_path, fetched):
    build_tree(tmp_path / "bids", "sub-01/anat T1w\nsub-02/anat T1w")
    link = tmp_path / "bids/sub-01/anat/sub-01_T1w.nii.gz"
    link.unlink()
    key = "MD5E-s1416--0a1b2c3d4e5f60718293a4b5c6d7e8f9.nii.gz"
    target = tmp_path / f"bids/.git/annex/objects/Xk/9Z/{key}/{key}"
    target.parent.mkdir(parents=True)
    if fetched:
        target.write_bytes(COMPRESSED[VOLUME])
    link.symlink_to(os.path.relpath(target, link.parent))
    used, messages = plan(tmp_path, Layout(""), "gm")
    assert used == ({"sub-01": "T1w"} if fetched else {}) | {"sub-02": "T1w"}
    why = "sub-01: not fetched: run `datalad get sub-01/anat/sub-01_T1w.nii.gz` in the data set."
    assert messages == ([] if fetched else [why])


@pytest.mark.parametrize("people", [3, 300])
def test_three_and_three_hundred_participants_are_all_planned(tmp_path, people):
    labels = [f"{number:03}" for number in range(1, people + 1)]
    lines = [f"sub-{label}/anat T1w\nsub-{label}/func task-rest_bold" for label in labels]
    build_tree(tmp_path / "bids", "\n".join(lines))
    used, messages = plan(tmp_path, Layout(""), "reho")
    assert (list(used), messages) == ([f"sub-{label}" for label in labels], [])


def test_data_sets_of_derivatives_and_whole_studies_are_refused_as_bids_dir_with_what_to_give(tmp_path):
    about = {"Name": "Trial", "BIDSVersion": "1.10.0"}
    derived = build_tree(
        tmp_path / "fmriprep",
        f"sub-01/anat {ANATOMY}",
        {"dataset_description.json": {**about, "DatasetType": "derivative"}},
    )
    with pytest.raises(
        NotBidsError, match="fMRIPrep's outputs as --derivatives fmriprep=PATH; or add --skip-bids-validation"
    ):
        inputs.open_dataset(derived)
    assert inputs.open_dataset(derived, validate=False).participants == ("01",)
    contents = {"dataset_description.json": {**about, "DatasetType": "study"}}
    study = build_tree(tmp_path / "study", "rawbids/sub-01/anat/sub-01_T1w.nii.gz", contents)
    with pytest.raises(NotBidsError, match=r"has no sub-\* folder: specify the raw data set inside it, rawbids"):
        inputs.open_dataset(study)


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ("sub-01/eeg task-rest_eeg.edf", 18),
        ("sub-01/anat T1w\nsub-01/func task-rest_bold task-nback_bold", 64),
        ("sub-01/anat T1w\nsub-01/func task-rest_acq-a_bold.nii task-rest_acq-b_bold.nii", 65),
        ("sub-01/anat T1w", 66),
    ],
)
def test_runs_that_cannot_be_planned_end_with_the_documented_code_and_without_a_traceback(
    tmp_path, capsys, files, code
):
    other = {"sub-01/func/sub-01_task-rest_acq-b_bold.nii": image((12, 12, 4, 20), 2.0)} if code == 65 else {}
    build_tree(tmp_path / "bids", files, other)
    assert main([str(tmp_path / "bids"), str(tmp_path / "out"), "participant", "--maps", "reho"]) == code
    assert "Traceback" not in capsys.readouterr().err
