"""BABS, the BIDS App Bootstrap: the configuration file for Pellucid and every option spelling that BABS passes."""

import json
from pathlib import Path

import pytest
import yaml

from bids_app import cli, settings
from bids_app.bids import inputs
from bids_app.planning import filters

FILE = Path(__file__).parents[1] / "singularity" / "babs.yaml"
WORK = "/scratch/job/.git/tmp/wkdir"


def chosen(*words: str) -> settings.Settings:
    given = cli.parse(["/scratch/job/inputs/data/BIDS", "/scratch/job/outputs/pellucid", "participant", *words])
    bids_dir, output_dir, level = (given.pop(name) for name in ("bids_dir", "output_dir", "level"))
    return settings.build(level, bids_dir, output_dir, options=given)


def passed(stated: dict[str, str], person: str) -> list[str]:
    """The words that BABS (0.5) makes of `bids_app_args`: a key and its value, a key alone where that is empty."""
    words: list[str] = []
    for key, value in stated.items():
        if not key.startswith("$"):
            words += [key, *([WORK if value == "$BABS_TMPDIR" else value] if value else [])]
    return [*words, stated["$SUBJECT_SELECTION_FLAG"], person]


def test_options_in_the_babs_file_are_parsed():
    stated = yaml.safe_load(FILE.read_text())
    one = chosen(*passed(stated["bids_app_args"], "sub-01"))
    assert one.select.participant_label == ("sub-01",)
    assert (one.work_dir, one.compute.nprocs, one.compute.mem_mb) == (Path(WORK), 2, 8000)
    assert one.compute.stop_on_first_crash
    assert one.select.skip_bids_validation
    assert one.other.verbose == 2
    assert "--containall" in stated["singularity_args"]


def test_babs_job_requests_the_cpus_and_memory_passed_to_the_app():
    stated = yaml.safe_load(FILE.read_text())
    text = stated["cluster_resources"]["customized_text"]
    assert f"--cpus-per-task={stated['bids_app_args']['--n_cpus']}" in text
    assert f"--mem={int(stated['bids_app_args']['--mem-mb']) // 1000}G" in text


@pytest.mark.parametrize(
    ("words", "section", "name", "value"),
    [
        (["--participant-label", "sub-01"], "select", "participant_label", ("sub-01",)),
        (["--participant_label", "01"], "select", "participant_label", ("01",)),
        (["--session-label", "ses-1"], "select", "session_label", ("ses-1",)),
        (["--session-id", "1"], "select", "session_label", ("1",)),
        (["--session_id", "1"], "select", "session_label", ("1",)),
        (["--skip-bids-validation"], "select", "skip_bids_validation", True),
        (["--skip_bids_validation"], "select", "skip_bids_validation", True),
        (["--bids-filter-file", "/scratch/job/f.json"], "select", "bids_filter_file", Path("/scratch/job/f.json")),
        (["-w", WORK], "compute", "work_dir", Path(WORK)),
        (["--work-dir", WORK], "compute", "work_dir", Path(WORK)),
        (["--n_cpus", "2"], "compute", "nprocs", 2),
        (["--n-cpus", "2"], "compute", "nprocs", 2),
        (["--nprocs", "2"], "compute", "nprocs", 2),
        (["--nthreads", "2"], "compute", "nprocs", 2),
        (["--omp-nthreads", "1"], "compute", "omp_nthreads", 1),
        (["--mem-mb", "12000"], "compute", "mem_mb", 12000),
        (["--mem_mb", "12000"], "compute", "mem_mb", 12000),
        (["--mem", "12G"], "compute", "mem_mb", 12000),
        (["--stop-on-first-crash"], "compute", "stop_on_first_crash", True),
        (["--notrack"], "other", "notrack", True),
        (["-v"], "other", "verbose", 1),
        (["-vv"], "other", "verbose", 2),
    ],
)
def test_option_spellings_passed_by_babs_set_the_right_setting(words, section, name, value):
    assert getattr(getattr(chosen(*words), section), name) == value


def test_babs_session_filter_file_selects_only_that_session(tmp_path):
    for session in ("1", "2"):
        folder = tmp_path / "bids" / "sub-01" / f"ses-{session}" / "anat"
        folder.mkdir(parents=True)
        (folder / f"sub-01_ses-{session}_T1w.nii.gz").touch()
    kinds = {
        "fmap": "fmap",
        "bold": "func",
        "sbref": "func",
        "flair": "anat",
        "t2w": "anat",
        "t1w": "anat",
        "roi": "anat",
    }
    suffix = {"flair": "FLAIR", "t2w": "T2w", "t1w": "T1w"}
    stated = {one: {"datatype": kind, "session": "2", "suffix": suffix.get(one, one)} for one, kind in kinds.items()}
    file = tmp_path / "filter.json"
    file.write_text(json.dumps(stated))
    one = chosen("--bids-filter-file", str(file))
    dataset = inputs.open_dataset(tmp_path / "bids", validate=False)
    scans = inputs.anatomical_scans(dataset, "01", filters=filters.read_filters(one, "t1w"))
    assert [scan.session for scan in scans] == ["2"]
