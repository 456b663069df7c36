"""Data sets of OpenNeuroDerivatives: fMRIPrep's outputs as links into an annex, of the full level or the minimal one.

Their names are those of ds002748-fmriprep (fMRIPrep 21.0.2) and ds003752-fmriprep (23.2.0) on GitHub.
"""

import hashlib
import os

import pytest
from layout_trees import ANATOMY, SPACE, Layout, build_tree, plan

from bids_app.bids import inputs
from bids_app.planning import participant
from bids_app.settings import build

ABOUT = {"Name": "fmriprep", "BIDSVersion": "1.4.0", "DatasetType": "derivative"}
FULL = f"""sub-01/anat {ANATOMY} space-{SPACE}_res-2_desc-preproc_T1w space-{SPACE}_res-2_label-GM_probseg
sub-01/func task-rest_space-{SPACE}_res-2_desc-preproc_bold task-rest_space-{SPACE}_res-2_desc-brain_mask
sub-01/func task-rest_desc-preproc_bold task-rest_desc-brain_mask task-rest_desc-confounds_timeseries.tsv
sub-01/func task-rest_space-T1w_desc-preproc_bold task-rest_space-MNI152NLin6Asym_desc-smoothAROMAnonaggr_bold
sub-01/func task-rest_space-fsLR_den-91k_bold.dtseries.nii task-rest_hemi-L_space-fsaverage5_bold.func.gii"""
MINIMAL = f"""sub-01/ses-1/anat {ANATOMY}
sub-01/ses-1/func task-rest_desc-hmc_boldref task-rest_desc-coreg_boldref
sub-01/ses-1/func task-rest_from-boldref_to-T1w_mode-image_desc-coreg_xfm.txt"""


def write(home, derived, version, *, fetched):
    """A raw data set and fMRIPrep's, each of whose files is a link into its annex."""
    anat = next(line.split()[0] for line in derived.splitlines() if "/anat " in line)
    build_tree(home / "bids", f"{anat} T1w")
    about = {**ABOUT, "GeneratedBy": [{"Name": "fMRIPrep", "Version": version}]}
    top = build_tree(home / "fmriprep", derived, {"dataset_description.json": about})
    for path in [path for path in top.glob("sub-*/**/*") if path.is_file()]:
        digest = hashlib.md5(path.name.encode()).hexdigest()
        key = f"MD5E-s{path.stat().st_size}--{digest}.{path.name.split('.', 1)[1]}"
        content = top / f".git/annex/objects/Xk/9Z/{key}/{key}"
        content.parent.mkdir(parents=True)
        path.rename(content)
        path.symlink_to(os.path.relpath(content, path.parent))
        if not fetched:
            content.unlink()
    return Layout("", derived=derived)


@pytest.mark.parametrize(
    ("map_name", "file"),
    [
        ("gm", "anat/sub-01_desc-preproc_T1w.nii.gz"),
        ("reho", f"func/sub-01_task-rest_space-{SPACE}_res-2_desc-preproc_bold.nii.gz"),
    ],
)
def test_links_that_were_not_fetched_are_refused_with_the_command(tmp_path, map_name, file):
    layout = write(tmp_path, FULL, "21.0.2", fetched=False)
    used, (message,) = plan(tmp_path, layout, map_name)
    assert used == {}
    assert f"sub-01: not fetched: run `datalad get sub-01/{file}` in the data set." in message


def test_fetched_outputs_of_the_full_level_are_used(tmp_path):
    layout = write(tmp_path, FULL, "21.0.2", fetched=True)
    assert plan(tmp_path, layout, "gm") == ({"sub-01": "desc-preproc_T1w"}, [])
    assert plan(tmp_path, layout, "reho") == ({"sub-01": f"task-rest_space-{SPACE}_res-2_desc-preproc_bold"}, [])


def test_outputs_of_the_minimal_level_give_the_anatomy_but_no_bold(tmp_path):
    layout = write(tmp_path, MINIMAL, "23.2.0", fetched=True)
    assert plan(tmp_path, layout, "gm") == ({"sub-01_ses-1": "desc-preproc_T1w"}, [])
    used, (message,) = plan(tmp_path, layout, "reho")
    assert used == {}
    assert "fmriprep has no preprocessed BOLD in sub-01/ses-1/func: it was run with --level minimal" in message


def test_raw_runs_replace_the_series_that_the_minimal_level_lacks_on_request(tmp_path):
    write(tmp_path, MINIMAL, "23.2.0", fetched=True)
    raw = build_tree(tmp_path / "bids", "sub-01/ses-1/func task-rest_bold")
    options = {"maps": ["gm", "reho"], "derivatives": {"fmriprep": tmp_path / "fmriprep"}}
    settings = build("participant", raw, tmp_path / "out", options={**options, "fallback_preprocessing": True})
    (job,) = participant.plan_participants(inputs.open_dataset(raw), settings).jobs
    assert (job.source, [run["source"] for run in job.runs]) == ("fmriprep", ["pellucid"])
