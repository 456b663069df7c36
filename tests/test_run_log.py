"""Log files: complete lines with time, participant and step, no machine paths, and the same on the screen."""

import io
import logging
import multiprocessing
import re
import sys
import time
from pathlib import Path

import pytest
from nipype.pipeline.engine import Workflow

from bids_app import run_log, settings
from bids_app.errors import DataError
from bids_app.graphs.function_node import make_node
from bids_app.graphs.run import format_duration, run_graph, set_crash_folder

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [A-Z]+ (-|sub-[\w-]+) (\w+): (.+)")


def succeed(*, label: str) -> str:
    return label


def fail(*, label: str) -> str:
    raise DataError(f"{label} is empty")


def work(*, label: str) -> str:
    """Half a second of computing with 300 MB more than the process had."""
    memory, end = bytearray(300_000_000), time.process_time() + 0.5
    while time.process_time() < end:
        memory[:: 1 << 12] = memory[:: 1 << 12]
    return label


def chosen(folder: Path, **options: object) -> settings.Settings:
    options = {"work_dir": folder / "work", "nprocs": 2, "verbose": 1, **options}
    return settings.build("participant", folder / "bids", folder / "out", options=options)


def run_participants(folder: Path, functions: dict[str, str], **options: object) -> None:
    """A graph of one step per participant."""
    whole = Workflow("participants", base_dir=str(folder / "work"))
    for name, function in functions.items():
        part = Workflow(f"{name}_0a1b")
        part.add_nodes([make_node("finish", globals()[function], mem_gb=0.2, label=name)])
        whole.add_nodes([part])
        (folder / "crashes").mkdir(exist_ok=True)
        set_crash_folder(part, folder / "crashes")
    chosen_options = chosen(folder, **options)
    run_graph(whole, chosen_options, last=("finish",), total=len(functions), what="participants", preload=[])


def lines(file: Path) -> list[re.Match[str]]:
    matches = [LINE.fullmatch(line) for line in file.read_text().splitlines()]
    assert None not in matches, file.read_text()
    return matches


@pytest.fixture
def logger():
    logger = logging.getLogger("pellucid")
    level = logger.level
    logger.setLevel(logging.DEBUG)
    yield logger
    logger.setLevel(level)


def test_step_durations_are_logged_in_run_and_participant_files(tmp_path, logger):
    with run_log.record_run(chosen(tmp_path)):
        run_participants(tmp_path, {"sub_01": "succeed", "sub_02_ses_a": "fail"})
    (run,) = (tmp_path / "out" / "logs").glob("pellucid_participant_*.log")
    steps = {(match[1], match[2]): match[3] for match in lines(run)}
    assert re.fullmatch(r"failed, \d+\.\d s", steps["sub-02_ses-a", "finish"])
    own = lines(tmp_path / "out" / "logs" / "sub-01.log")
    assert {match[1] for match in own} == {"sub-01"}
    assert own[0][3] == "started"
    assert re.fullmatch(r"done, \d+\.\d s", own[1][3])
    assert re.fullmatch(r"participants: 1 of 2, about \d+ s left", own[2][3])
    assert {match[0] for match in own} <= {match[0] for match in lines(run)}
    with run_log.record_run(chosen(tmp_path)):
        run_participants(tmp_path, {"sub_01": "succeed"})
    assert any(match[3] == "already computed" for match in lines(tmp_path / "out" / "logs" / "sub-01.log"))
    assert len(list((tmp_path / "out" / "logs").glob("pellucid_participant_*.log"))) == 2


def test_resource_monitor_logs_the_cpu_time_and_memory_of_each_step(tmp_path, logger):
    with run_log.record_run(chosen(tmp_path)):
        run_participants(tmp_path, {"sub_01": "work", "sub_02": "succeed"}, resource_monitor=True)
    used = {}
    for name in ("sub-01", "sub-02"):
        texts = [match[3] for match in lines(tmp_path / "out" / "logs" / f"{name}.log")]
        (match,) = filter(None, (re.fullmatch(r"(\d+\.\d) CPU s, at most (\d+) MB", text) for text in texts))
        used[name] = float(match[1]), int(match[2])
    assert 0.5 <= used["sub-01"][0] < 1.5
    assert used["sub-02"][0] < 0.3
    assert used["sub-01"][1] - used["sub-02"][1] == pytest.approx(300, abs=30)


def test_refused_run_writes_no_log_and_failed_run_logs_the_error(tmp_path, logger):
    with pytest.raises(DataError), run_log.record_run(chosen(tmp_path)):
        raise DataError("the table is empty")
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError), run_log.record_run(chosen(tmp_path)):  # noqa: PT012 - the block is what is recorded
        run_log.open_files()
        raise DataError(f"{tmp_path / 'bids' / 'participants.tsv'} is empty")
    (run,) = (tmp_path / "out" / "logs").glob("*.log")
    assert lines(run)[-1][3] == "ended by DataError: BIDS_DIR/participants.tsv is empty"


def test_log_contains_no_machine_paths(tmp_path, logger):
    elsewhere = tmp_path / "elsewhere"
    with run_log.record_run(chosen(tmp_path, derivatives={"fmriprep": elsewhere / "fmriprep"})):
        logger.info("report: %s", tmp_path / "out" / "group" / "report.html")
        logger.info("sub-03 failed: no file %s\nin two lines", elsewhere / "scan.nii")
        logger.info("%s, %s, svm/gm and 1/2", Path.home() / "secret" / "a.tsv", Path(sys.prefix) / "lib" / "b.py")
    (run,) = (tmp_path / "out" / "logs").glob("pellucid*.log")
    texts = [match[3] for match in lines(run)]
    assert "report: OUT_DIR/group/report.html" in texts
    assert "sub-03 failed: no file scan.nii in two lines" in texts
    assert "a.tsv, PYTHON/lib/b.py, svm/gm and 1/2" in texts
    assert str(tmp_path) not in run.read_text()
    assert "elsewhere" not in run.read_text()
    assert [match[1] for match in lines(tmp_path / "out" / "logs" / "sub-03.log")] == ["sub-03"]


def write_many(folder: Path, number: int) -> None:
    logging.getLogger("pellucid").setLevel(logging.DEBUG)
    with run_log.record_run(chosen(folder)):
        for _ in range(200):
            logging.getLogger("pellucid").info("sub-01 %s", str(number) * 500)


def test_parallel_runs_have_separate_logs_and_do_not_mix_lines(tmp_path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=write_many, args=(tmp_path, number)) for number in (1, 2, 3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    logs = tmp_path / "out" / "logs"
    assert len(list(logs.glob("pellucid_participant_*.log"))) == 3
    texts = [match[3] for match in lines(logs / "sub-01.log")]
    assert sorted(texts) == sorted(f"sub-01 {str(number) * 500}" for number in (1, 2, 3) for _ in range(200))


@pytest.mark.parametrize("verbose", [0, 1])
def test_screen_shows_log_lines_and_all_of_them_with_v(tmp_path, monkeypatch, verbose):
    root, screen = logging.getLogger(), io.StringIO()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(root, "level", root.level)
    run_log.show_on_screen(verbose)
    with run_log.record_run(chosen(tmp_path)):
        run_participants(tmp_path, {"sub_01": "succeed"})
    (run,) = (tmp_path / "out" / "logs").glob("pellucid*.log")
    written, shown = ([line for line in text.splitlines() if "settings" not in line]
                      for text in (run.read_text(), screen.getvalue()))  # fmt: skip
    assert [line for line in shown if line in written] == shown
    assert (len(shown) == len(written)) == bool(verbose)
    assert any("participants: 1 of 1" in line for line in shown)


@pytest.mark.parametrize(
    ("name", "context"),
    [
        ("participants.sub_01_ses_1_0a1b.native", {"participant": "sub-01_ses-1", "step": "native"}),
        ("participants.sub_01_0a1b.map_gm", {"participant": "sub-01", "step": "map_gm"}),
        ("pages.page_3_sub_01", {"participant": "sub-01", "step": "page_3_sub_01"}),
        ("group.subsets", {"participant": "-", "step": "subsets"}),
    ],
)
def test_node_name_gives_participant_and_step(name, context):
    assert run_log.node_context(name) == context


@pytest.mark.parametrize("home", ["/", "/data"])
def test_home_at_root_or_sharing_a_prefix_does_not_alter_other_paths(tmp_path, monkeypatch, home):
    monkeypatch.setenv("HOME", home)
    paths = run_log.private_paths(chosen(tmp_path))
    assert run_log.anonymise("svm/gm in /database/x", paths) == "svm/gm in /database/x"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (5400, "2 h"), (36000, "10 h")],
)
def test_durations_are_stated_in_the_largest_unit(seconds, expected):
    assert format_duration(seconds) == expected
