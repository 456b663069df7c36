"""The section 'About' of reports: how results were computed, recorded once, and nothing private."""

import hashlib
import html
import json
import logging
import re
import sys
import time
from dataclasses import replace
from pathlib import Path

import nibabel
import nilearn
import numpy
import pytest
import scipy

from bids_app import __version__, run_log, settings
from bids_app.atlases import templates
from bids_app.planning.provenance import (
    PARTICIPANT_SOFTWARE,
    describe_container,
    describe_run,
    read_record,
    shorten_command,
)
from bids_app.report.participant import write_participant_report
from bids_app.run import main


def chosen(folder: Path, *command: object) -> settings.Settings:
    run = settings.build("participant", folder / "study of x" / "bids", folder / "out", options={})
    return replace(run, command=tuple(map(str, command)))


def about(page: Path) -> str:
    """The section of a page, as text."""
    section = page.read_text().partition('<h2 id="about">')[2].partition("<footer>")[0]
    return html.unescape(re.sub(r"<[^>]+>", " ", section))


def test_command_has_each_path_reduced_to_its_last_part_and_everything_else_as_given(tmp_path):
    words = [
        "pellucid", tmp_path / "study of x" / "bids", tmp_path / "out", "participant", "-w", "/scratch/of/me/work",
        "-d", "fmriprep=/hospital/prep", "--network-templates=/secret/n.nii.gz", "--atlas", "~/a.nii.gz", "aal",
        "--classes", "patient=MDD/AD", "--mem", "32G", "--bids-filter-file", "../elsewhere/f.json",
    ]  # fmt: skip
    assert shorten_command(chosen(tmp_path, *words)) == (
        "pellucid bids OUT_DIR participant -w work -d fmriprep=prep --network-templates=n.nii.gz --atlas a.nii.gz aal "
        "--classes patient=MDD/AD --mem 32G --bids-filter-file f.json"
    )


def test_relative_path_of_an_existing_file_is_reduced(tmp_path, monkeypatch):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "list.tsv").touch()
    monkeypatch.chdir(tmp_path)
    assert (
        shorten_command(chosen(tmp_path, "pellucid", "--exclude", "secret/list.tsv")) == "pellucid --exclude list.tsv"
    )


def test_record_has_the_versions_of_the_imported_software_and_the_hashes_of_template_files(tmp_path):
    files = templates.source_files("MNI152NLin2009cAsym")
    record = describe_run(chosen(tmp_path), software=(*PARTICIPANT_SOFTWARE, "no-such-thing"), templates=files)
    software = record["software"]
    assert software["Pellucid"] == __version__
    assert software["Python"] == sys.version.split()[0]
    for module in (numpy, scipy, nibabel, nilearn):
        assert software[module.__name__] == module.__version__
    assert "no-such-thing" not in software
    prior = "mni_icbm152_gm_tal_nlin_sym_09a_converted.nii.gz"
    file = Path(nilearn.__file__).parent / "datasets" / "data" / prior
    assert record["templates"][prior] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert len(record["templates"]) == 4
    assert str(tmp_path) not in json.dumps(record)
    assert record["dataset"] == "bids"


def test_container_is_named_by_what_the_image_and_the_runtime_hand_in(monkeypatch):
    for name in ("PELLUCID_IMAGE", "PELLUCID_IMAGE_DIGEST", "APPTAINER_NAME", "SINGULARITY_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("bids_app.planning.provenance.RUNTIMES", {})
    assert describe_container() == "no container"
    monkeypatch.setenv("PELLUCID_IMAGE", "pellucid 0.1.0 ")  # without a revision
    monkeypatch.setenv("PELLUCID_IMAGE_DIGEST", "sha256:0a1b")
    assert describe_container() == "pellucid 0.1.0, sha256:0a1b"
    monkeypatch.setenv("APPTAINER_NAME", "pellucid.sif")
    assert describe_container() == "pellucid 0.1.0, sha256:0a1b, pellucid.sif, Apptainer"


def test_image_hands_its_version_in_as_an_environment_variable():
    dockerfile = (Path(__file__).parents[1] / "Dockerfile").read_text()
    assert 'PELLUCID_IMAGE="pellucid ${VERSION} ${REVISION}"' in dockerfile.rpartition("FROM")[2]


def test_problems_of_a_log_are_its_warnings_and_errors_since_the_start_once_each(tmp_path):
    log = logging.getLogger("pellucid")
    for turn in range(2):
        with run_log.record_run(chosen(tmp_path)):
            start = run_log.start_time()
            log.info("computing: nothing")
            log.warning("sub-01: turn %d, two: colons", turn)
            log.warning("sub-01: turn %d, two: colons", turn)
            log.error("the disk is slow")
            assert run_log.list_problems() == [
                ("sub-01", f"warning: sub-01: turn {turn}, two: colons"), ("-", "error: the disk is slow"),
            ]  # fmt: skip
        if turn == 0:
            time.sleep(1.1)  # lines of a log state seconds
    own = tmp_path / "out" / "logs" / "sub-01.log"
    assert len(run_log.read_problems(own)) == 2
    assert run_log.read_problems(own, start=start) == [("sub-01", "warning: sub-01: turn 1, two: colons")]
    assert run_log.read_problems(tmp_path / "none.log") == []


def test_page_lists_messages_escaped_and_has_no_section_without_a_record(tmp_path):
    page = {"participant": "01", "session": None, "figures": [], "measures": {}, "facts": {}, "checks": [],
            "methods": "Done.", "references": [], "version": "1"}  # fmt: skip
    record = describe_run(chosen(tmp_path, "pellucid"), software=(), templates=())
    record["messages"] = ["warning: <script>"]
    write_participant_report(tmp_path / "with.html", **page, about=record)
    write_participant_report(tmp_path / "without.html", **page)
    assert "warning: &lt;script&gt;" in (tmp_path / "with.html").read_text()
    assert 'id="about"' not in (tmp_path / "without.html").read_text()


def test_damaged_record_counts_as_none(tmp_path):
    for content in ("", "[]", '{"date": "today"}'):
        (tmp_path / "provenance.json").write_text(content)
        assert read_record(tmp_path / "provenance.json") is None
    assert read_record(tmp_path / "none.json") is None


def test_participant_page_states_the_run_that_computed_it(phantom_maps):
    bids, out = phantom_maps
    record = read_record(out / "sub-01" / "log" / "provenance.json")
    text = about(out / "sub-01.html")
    assert record["command"] == "pellucid bids OUT_DIR participant --sloppy --resolution 4 --nprocs 2"
    for value in (record["date"], record["command"], f"numpy {numpy.__version__}", *record["templates"].values()):
        assert value in text
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", record["date"])
    assert str(bids.parent) not in text


@pytest.mark.slow
def test_group_report_keeps_the_command_of_the_computation_when_it_is_written_again(phantom_maps):
    bids, out = phantom_maps
    words = ["group", "--sloppy", "--label", "group", "--classes", "control", "patient", "--classifiers", "svm",
             "--explainers", "weights", "--permutations", "0", "--folds", "2", "--analysis", "about"]  # fmt: skip
    sections = []
    for nprocs in ("2", "1"):
        assert main([str(bids), str(out), *words, "--nprocs", nprocs]) == 0
        sections.append(about(out / "group" / "about" / "report.html"))
    assert "--analysis about --nprocs 2" in sections[0]
    assert "torch" in sections[0]
    assert sections[1] == sections[0]
