"""Raw BOLD end to end: preprocessing compared with the known motion and signals of the phantom."""

import json
import re
import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nipype.pipeline.engine import Node, Workflow

from bids_app.bids import inputs
from bids_app.errors import DataError, MissingInputError
from bids_app.graphs.bold import connect_runs, run_inputs
from bids_app.graphs.function_node import FunctionCall
from bids_app.phantom.write import write
from bids_app.planning import participant
from bids_app.run import main
from bids_app.settings import build

SPACE = "MNI152NLin2009cAsym"
VOLUMES = 60
BOLD = "sub-01_task-rest_bold"
WORDS = ("--participant-label", "01", "--sloppy", "--resolution", "4", "--dummy-scans", "2", "--band", "0.01", "0.2")


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    """BIDS, and simulated fMRIPrep derivatives of the same participants, which contain the true head motion."""
    home = tmp_path_factory.mktemp("raw")
    planted = {"region": "Putamen_L", "bold": 1.0, "bold_volumes": VOLUMES, "derivatives": home / "fmriprep"}
    write(home / "bids", people=4, resolution=4.0, random_seed=2, **planted)
    return home / "bids", home / "fmriprep"


@pytest.fixture(scope="module")
def out(phantom, with_template):
    folder = phantom[0].parent / "out"
    with_template(folder / ".work")
    words = ["--maps", "alff", "reho", "--nprocs", "2", *WORDS]
    assert main([str(phantom[0]), str(folder), "participant", *words]) == 0
    return folder


def tables(phantom, out):
    name = "sub-01/func/sub-01_task-rest_desc-confounds_timeseries.tsv"
    return [pd.read_csv(root / name, sep="\t") for root in (phantom[1], out)]


def test_estimated_motion_matches_the_planted_motion(phantom, out):
    true, result = tables(phantom, out)
    assert len(result) == len(true) - 2
    for column in ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"):
        scale = 50 if column.startswith("rot") else 1  # mm on a sphere
        steps = [np.diff(table[column].to_numpy()[-len(result) :]) * scale for table in (true, result)]
        assert np.abs(steps[0] - steps[1]).max() < 0.05, column
    fd = [table["framewise_displacement"].to_numpy()[-len(result) + 1 :] for table in (true, result)]
    assert np.abs(fd[0] - fd[1]).mean() < 0.04  # mm, the sum of six such errors


def test_tissue_signals_correlate_with_the_true_ones(phantom, out):
    true, result = tables(phantom, out)
    for column, least in (("csf", 0.9), ("white_matter", 0.8), ("global_signal", 0.9)):
        assert np.corrcoef(true[column][2:], result[column])[0, 1] > least, column


def test_alff_map_correlates_with_that_of_the_true_series_in_template_space(phantom, out, tmp_path):
    given = ["--maps", "alff", "-d", f"fmriprep={phantom[1]}", "-w", str(out / ".work")]
    assert main([str(phantom[0]), str(tmp_path / "out"), "participant", *WORDS, *given]) == 0
    file = f"sub-01/func/sub-01_task-rest_space-{SPACE}_res-4_stat-alff_boldmap.nii.gz"
    true, result = (nib.load(root / file).get_fdata() for root in (tmp_path / "out", out))
    both = (true != 0) & (result != 0)
    assert both.sum() > 0.9 * (true != 0).sum()
    assert np.corrcoef(true[both], result[both])[0, 1] > 0.85


def test_sidecar_report_and_citations_describe_the_preprocessing(out):
    file = out / f"sub-01/func/sub-01_task-rest_space-{SPACE}_res-4_stat-reho_boldmap.json"
    about = json.loads(file.read_text())
    assert about["PreprocessingSource"] == "pellucid"
    assert about["RawScan"] == f"sub-01/func/{BOLD}.nii.gz"
    assert (about["RepetitionTime"], about["RepetitionTimeSource"]) == (2.0, "RepetitionTime")
    assert about["NumberOfVolumes"] == VOLUMES
    first = ["non-steady-state volumes removed", "slice timing corrected"]
    assert about["Steps"][:2] == first
    assert about["Steps"][-2:] == ["trend and confounds regressed out", "band-pass filtered (not for alff and falff)"]
    assert about["NumberOfVolumesDiscardedByUser"] == 2
    assert about["MinutesLeft"] == pytest.approx((VOLUMES - 2 - about["NumberOfVolumesDropped"]) * 2 / 60, abs=1e-3)
    page = (out / "sub-01.html").read_text()
    for words in ("Susceptibility distortion was not corrected", "Slice timing was corrected", "steady state: 2."):
        assert words in page
    assert 0.85 < float(re.search(r"T1w image: (0\.\d\d)", page)[1]) < 1
    assert list((out / "sub-01" / "func").glob("*_from-boldref_to-T1w_mode-image_xfm.mat"))
    assert "Friston" in (out / "logs" / "CITATION.md").read_text()


def planned(data, out, **given):
    words = {"maps": ["alff"], "sloppy": True, "participant_label": ["01"], **given}
    return participant.plan_participants(inputs.open_dataset(data), build("participant", data, out, options=words))


@pytest.fixture
def copied(phantom, tmp_path):
    """A data set of the first participant only, to be modified."""
    data = tmp_path / "bids"
    shutil.copytree(phantom[0], data, ignore=shutil.ignore_patterns("sub-02", "sub-03", "sub-04"))
    return data


def test_session_without_t1w_uses_that_of_another_session(copied, tmp_path):
    for session, kinds in (("1", ("anat", "func")), ("2", ("func",))):
        for kind in kinds:
            target = copied / "sub-01" / f"ses-{session}" / kind
            shutil.copytree(copied / "sub-01" / kind, target)
            for file in target.iterdir():
                file.rename(file.with_name(file.name.replace("sub-01_", f"sub-01_ses-{session}_")))
    shutil.rmtree(copied / "sub-01" / "anat")
    shutil.rmtree(copied / "sub-01" / "func")
    first, second = planned(copied, tmp_path / "out", maps=["alff", "gm"]).jobs
    assert (first.own_t1w, list(first.kinds)) == (True, ["gm"])
    assert (second.own_t1w, second.kinds, second.registrations) == (False, {}, ["nonlinear"])
    assert first.t1w == second.t1w
    assert second.runs[0]["session"] == "2"
    (alone,) = planned(copied, tmp_path / "out", session_label=["2"]).jobs
    assert alone.t1w == first.t1w


def test_raw_bold_without_any_t1w_fails_by_name(copied, tmp_path):
    shutil.rmtree(copied / "sub-01" / "anat")
    with pytest.raises(MissingInputError, match="sub-01 has raw BOLD but no T1w"):
        planned(copied, tmp_path / "out")


@pytest.mark.parametrize(
    ("stated", "message"),
    [({"RepetitionTime": 3.0}, "2 s in its header and of 3 s"), ({"RepetitionTime": 0}, "above 0")],
)
def test_invalid_repetition_time_is_refused_during_planning(copied, tmp_path, stated, message):
    sidecar = copied / "sub-01" / "func" / f"{BOLD}.json"
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | stated))
    with pytest.raises(DataError, match=message):
        planned(copied, tmp_path / "out")


def test_changed_sidecar_changes_the_job_key(copied, tmp_path):
    (before,) = planned(copied, tmp_path / "out").jobs
    sidecar = copied / "sub-01" / "func" / f"{BOLD}.json"
    content = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps(content | {"SliceTiming": content["SliceTiming"][::-1]}))
    (after,) = planned(copied, tmp_path / "out").jobs
    assert before.inputs == after.inputs
    assert before.key != after.key


def test_nodes_request_more_memory_for_longer_runs(copied, tmp_path):
    (job,) = planned(copied, tmp_path / "out").jobs
    image = nib.load(copied / "sub-01" / "func" / f"{BOLD}.nii.gz")
    assert job.runs[0]["gb"] == pytest.approx(np.prod(image.shape) * 4 / 1e9)
    settings = build("participant", copied, tmp_path / "out", options={"maps": ["alff"]})
    asked = {}
    for factor in (1, 10):
        runs = [{**run, "gb": factor * run["gb"]} for run in job.runs]
        graph = Workflow("person")
        finish = Node(FunctionCall(run_inputs(job, settings), function="x:y"), name="finish")
        connect_runs(
            graph, finish, Node(FunctionCall([], function="x:y"), name="anatomy"), replace(job, runs=runs), settings
        )
        asked[factor] = {
            node.name: node.mem_gb for node in graph._get_all_nodes() if node.name not in ("finish", "anatomy")
        }
    assert all(
        asked[10][name] > asked[1][name] for name in ("motion_0", "align_0", "warp_0", "series_0", "bold_0_alff")
    )


def test_participants_missing_from_fmriprep_are_preprocessed_only_with_the_fallback_option(phantom, tmp_path):
    few = shutil.copytree(phantom[1], tmp_path / "few")
    shutil.rmtree(few / "sub-02")
    given = {"derivatives": {"fmriprep": few}, "participant_label": ["01", "02"]}
    strict = planned(phantom[0], tmp_path / "out", **given)
    assert list(strict.failed) == ["sub-02"]
    assert "--fallback-preprocessing" in strict.failed["sub-02"]
    both = planned(phantom[0], tmp_path / "out", **given, fallback_preprocessing=True)
    assert [(job.participant, job.runs[0]["source"]) for job in both.jobs] == [("01", "fmriprep"), ("02", "pellucid")]


def test_filter_file_selects_among_runs(copied, tmp_path):
    func = copied / "sub-01" / "func"
    for suffix in (".nii.gz", ".json"):
        shutil.copyfile(func / f"{BOLD}{suffix}", func / f"sub-01_task-rest_acq-fast_bold{suffix}")
    filters = tmp_path / "filter.json"
    filters.write_text(json.dumps({"bold": {"acquisition": "fast"}}))
    (job,) = planned(copied, tmp_path / "out", bids_filter_file=filters).jobs
    assert [run["label"] for run in job.runs] == ["task-rest_acq-fast"]
    assert len(planned(copied, tmp_path / "out").jobs[0].runs) == 2


def test_filter_file_selects_among_preprocessed_runs_as_among_raw_ones(phantom, tmp_path):
    preprocessed = shutil.copytree(phantom[1], tmp_path / "fmriprep")
    for file in sorted((preprocessed / "sub-01" / "func").iterdir()):
        shutil.copyfile(file, file.with_name(file.name.replace("task-rest", "task-rest_acq-fast")))
    filters = tmp_path / "filter.json"
    given = {"derivatives": {"fmriprep": preprocessed}, "participant_label": ["01", "02"], "bids_filter_file": filters}
    for wanted, label in ({"acquisition": "fast"}, "task-rest_acq-fast"), ({"acquisition": None}, "task-rest"):
        filters.write_text(json.dumps({"bold": wanted}))
        plan = planned(phantom[0], tmp_path / "out", **given)
        assert [run["label"] for run in plan.jobs[0].runs] == [label]
    filters.write_text(json.dumps({"bold": {"acquisition": "fast"}}))
    failed = planned(phantom[0], tmp_path / "out", **given).failed
    assert list(failed) == ["sub-02"]
    assert "sub-02: fmriprep has no run in sub-02/func that --bids-filter-file selects" in failed["sub-02"]
