"""--reports-only writes reports again from existing results, computes nothing, and names what is missing."""

import re
import shutil
from pathlib import Path

import pytest

from bids_app.run import main

COARSE = ("--sloppy", "--resolution", "4")
GROUP = ("group", "--sloppy", "--label", "group", "--classes", "control", "patient", "--classifiers", "svm",
         "--explainers", "weights", "--permutations", "0", "--folds", "2")  # fmt: skip


@pytest.fixture(scope="module")
def study(phantom_maps, tmp_path_factory):
    """A data set of eight simulated participants, and OUT_DIR of both levels."""
    bids, maps = phantom_maps
    out = shutil.copytree(maps, tmp_path_factory.mktemp("reports") / "out", ignore=shutil.ignore_patterns("group"))
    assert main([str(bids), str(out), *GROUP]) == 0
    return bids, out


def run(study: tuple[Path, Path], *words: str) -> int:
    return main([str(study[0]), str(study[1]), *words, "--reports-only"])


def written(out: Path, pattern: str) -> dict[Path, tuple[bytes, int]]:
    """Content and time of writing of files."""
    return {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in out.glob(pattern) if file.is_file()}


def test_damaged_pages_are_restored_and_maps_are_not_touched(study):
    _, out = study
    pages = {file: file.read_bytes() for file in (out / "sub-01.html", out / "index.html", out / "qc.tsv")}
    figures = {file: file.read_bytes() for file in out.glob("sub-01/figures/*")}
    maps, markers = written(out, "sub-*/anat/*"), written(out, "sub-*/log/*")
    for file in pages:
        file.write_text("damaged")
    for file in figures:
        file.unlink()
    assert run(study, "participant", *COARSE) == 0
    assert {file: file.read_bytes() for file in pages} == pages
    assert {file: file.read_bytes() for file in out.glob("sub-01/figures/*")} == figures
    assert written(out, "sub-*/anat/*") == maps
    assert written(out, "sub-*/log/*") == markers


def test_deleted_group_report_is_written_again_with_the_same_content(study):
    _, out = study
    folder = out / "group" / "group"
    before = {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    trained = written(out, ".work/analysis-*/folds/**/*")
    shutil.rmtree(folder)
    assert run(study, *GROUP) == 0
    after = {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert after.keys() == before.keys()
    option = re.compile(rb"reports_only = (true|false)")  # in the settings, which the report prints
    different = {str(name) for name in after if option.sub(b"", after[name]) != option.sub(b"", before[name])}
    assert different == set()
    assert written(out, ".work/analysis-*/folds/**/*") == trained
    assert not [*out.glob(".work/**/index.html"), *out.glob(".work/**/report.rst")]  # nipype's own


@pytest.mark.parametrize("changed", [("--random-seed", "5"), ("--analysis", "other")])
def test_analysis_that_was_not_computed_is_named_with_the_remedy(study, capsys, changed):
    assert run(study, *GROUP, *changed) == 66
    message = capsys.readouterr().err
    name = "other" if changed[0] == "--analysis" else "group"
    assert f"--reports-only: analysis {name} has not been computed with these settings" in message
    assert "run the same command without --reports-only" in message
    assert not (study[1] / "group" / "other").exists()


def test_without_any_complete_participant_nothing_is_written(study, tmp_path, capsys):
    assert run((study[0], tmp_path / "out"), "participant", *COARSE) == 66
    assert "sub-01: not complete with these settings: run the same command" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_incomplete_participants_are_named_and_the_others_are_written(study, caplog):
    _, out = study
    complete = (out / "sub-04.html").read_bytes()
    next(out.glob("sub-02/anat/*_probseg.nii.gz")).unlink()
    shutil.rmtree(next(out.glob(".work/participants/sub_03_*/segment")))
    (out / "sub-04.html").write_text("damaged")
    assert run(study, "participant", *COARSE) == 1
    assert "sub-02 failed: not complete with these settings" in caplog.text
    assert "sub-03 failed: the work folder lacks intermediate results: delete sub-03.html" in caplog.text
    assert (out / "sub-04.html").read_bytes() == complete
    assert not list(out.glob("sub-*/log/failed*"))


def test_participants_without_intermediate_results_are_all_named_if_none_is_left(study, capsys):
    shutil.rmtree(study[1] / ".work" / "participants")
    assert run(study, "participant", *COARSE) == 66
    message = capsys.readouterr().err
    assert "sub-01: the work folder lacks intermediate results" in message
    assert "sub-06: the work folder lacks" in message
