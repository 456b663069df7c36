"""No process outlives the run that started it, however and whenever the run is ended."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from nipype.pipeline.engine import Workflow

from bids_app import settings
from bids_app.graphs.function_node import make_node
from bids_app.graphs.run import run_graph, set_crash_folder

HERE = __name__
MARK = "PELLUCID_TEST_RUN"  # in the environment of a run, which all of its processes inherit
SECONDS = 5.0
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")


def sleep(*, folder: str, label: str) -> str:
    (Path(folder) / label).write_text(str(os.getpid()))
    time.sleep(120)
    return label


def sleep_at_first(*, folder: str, label: str) -> str:
    """Last for minutes, unless it has been started before."""
    return label if (Path(folder) / label).exists() else sleep(folder=folder, label=label)


def kill_the_server(*, folder: str, label: str) -> str:
    with (Path(folder) / label).open("a") as file:
        file.write("started\n")
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(120)
    return label


def hold_the_interpreter(*, folder: str, label: str) -> str:
    """Like a long call of a compiled library, during which no thread of Python runs."""
    import ctypes

    (Path(folder) / label).write_text(str(os.getpid()))
    ctypes.PyDLL(None).sleep(120)
    return label


def run(folder: Path, function: str, preload: list[str]) -> None:
    graph = Workflow("whole", base_dir=str(folder / "work"))
    for label in "ab":
        graph.add_nodes([make_node(label, globals()[function], mem_gb=0.1, folder=str(folder), label=label)])
    set_crash_folder(graph, folder / "log")
    given = {"work_dir": folder / "work", "nprocs": 2}
    chosen = settings.build("participant", folder / "bids", folder / "out", options=given)
    run_graph(graph, chosen, last=("a", "b"), total=2, what="nodes", preload=preload)


CODE = """
import signal, sys, pathlib
from bids_app import run
signal.signal(signal.SIGTERM, run._terminate)
import {here} as here
print("ready", flush=True)
here.run(pathlib.Path({folder!r}), {function!r}, {preload!r})
"""


def processes(mark: str) -> dict[int, str]:
    """The command lines of all living processes of a run, wherever they hang in the tree."""
    found = {}
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                if f"{MARK}={mark}".encode() in (place / "environ").read_bytes().split(b"\0"):
                    found[int(place.name)] = (place / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue  # it has ended
    return found


def left_after(mark: str, seconds: float) -> dict[int, str]:
    """What is left of a run when these seconds have passed, or nothing as soon as that is so."""
    deadline = time.monotonic() + seconds
    while (left := processes(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


@pytest.fixture
def start(tmp_path) -> Iterator:
    """A function that starts a run of two nodes; returns its process."""
    mark, started = str(tmp_path), []

    def begin(function: str, preload: list[str]) -> "subprocess.Popen[str]":
        code = CODE.format(here=HERE, folder=str(tmp_path), function=function, preload=preload)
        environment = {**os.environ, MARK: mark, "NIPYPE_NO_ET": "1", "PYTHONPATH": str(Path(__file__).parent)}
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", code],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        )
        return started[0]

    yield begin
    for pid in processes(mark):
        os.kill(pid, signal.SIGKILL)
    for one in started:
        one.stdout.close()
        one.wait()


def wait_for_nodes(folder: Path) -> None:
    deadline = time.monotonic() + 120
    while not all((folder / label).exists() for label in "ab") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (folder / "a").exists()


@pytest.mark.parametrize("function", ["sleep", "hold_the_interpreter"])
def test_no_process_outlives_a_killed_run(start, tmp_path, function):
    run = start(function, [])
    wait_for_nodes(tmp_path)
    assert len(processes(str(tmp_path))) >= 4  # the run, the server and two workers
    run.kill()
    assert left_after(str(tmp_path), SECONDS) == {}


def test_no_process_outlives_a_terminated_run(start, tmp_path):
    run = start("sleep", [])
    wait_for_nodes(tmp_path)
    run.terminate()
    assert run.wait(timeout=30) == 143
    assert left_after(str(tmp_path), SECONDS) == {}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("seconds", [0.0, 0.3, 1.0])
def test_no_process_outlives_a_run_ended_while_it_starts(start, tmp_path, number, seconds):
    run = start("sleep", ["bids_app.training.fold"])  # the server takes seconds to import it
    assert run.stdout.readline() == "ready\n"
    time.sleep(seconds)
    run.send_signal(number)
    assert run.wait(timeout=30) == (143 if number == signal.SIGTERM else -number)
    assert left_after(str(tmp_path), SECONDS) == {}


def server_of(run: "subprocess.Popen[str]", mark: str) -> int:
    """The process from which the workers of a run are forked."""
    (server,) = [
        pid for pid, command in processes(mark).items() if "forkserver" in command and start_of(pid)[0] == run.pid
    ]
    return server


def start_of(pid: int) -> tuple[int, int]:
    """The parent of a process, and when it was started, in ticks."""
    fields = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return int(fields[1]), int(fields[19])


def test_nodes_of_a_killed_server_are_started_again_by_a_new_one(start, tmp_path):
    run = start("sleep_at_first", [])
    wait_for_nodes(tmp_path)
    os.kill(server_of(run, str(tmp_path)), signal.SIGKILL)
    assert run.wait(timeout=60) == 0
    assert left_after(str(tmp_path), SECONDS) == {}


def test_node_whose_server_is_killed_each_time_fails_after_three_attempts(start, tmp_path):
    run = start("kill_the_server", [])
    assert run.wait(timeout=120) == 0
    reasons = [file.read_text() for file in (tmp_path / "log").glob("crash-*")]
    assert any("MemoryError: the process that starts workers was killed several times" in text for text in reasons)
    assert max(len((tmp_path / label).read_text().splitlines()) for label in "ab" if (tmp_path / label).exists()) <= 3
    assert left_after(str(tmp_path), SECONDS) == {}


def test_run_whose_server_is_killed_before_it_has_started_a_node_finishes(start, tmp_path):
    run = start("sleep_at_first", ["bids_app.training.fold"])  # the server takes seconds to import it
    for label in "ab":
        (tmp_path / label).write_text("started before")
    assert run.stdout.readline() == "ready\n"
    deadline = time.monotonic() + 30
    while not any("forkserver" in command for command in processes(str(tmp_path)).values()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.3)
    os.kill(server_of(run, str(tmp_path)), signal.SIGKILL)
    assert run.wait(timeout=60) == 0


def test_no_process_outlives_a_killed_run_whose_server_was_started_again(start, tmp_path):
    run = start("sleep", [])
    wait_for_nodes(tmp_path)
    first = {(tmp_path / label).read_text() for label in "ab"}
    os.kill(server_of(run, str(tmp_path)), signal.SIGKILL)
    deadline = time.monotonic() + 60
    while first & {(tmp_path / label).read_text() for label in "ab"} and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(processes(str(tmp_path))) >= 4
    run.kill()
    assert left_after(str(tmp_path), SECONDS) == {}


WATCHED = """
import multiprocessing, os, time
from bids_app.graphs.parent_death import watch_parent

def work():
    watch_parent()
    print(os.getpid(), flush=True)
    time.sleep(120)

if __name__ == "__main__":
    context = multiprocessing.get_context("forkserver")
    context.Process(target=work).start()
    time.sleep(120)
"""


def test_worker_ends_with_its_run_where_the_kernel_does_not_see_to_it(tmp_path):
    (tmp_path / "watched.py").write_text(WATCHED)
    environment = {**os.environ, MARK: str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, tmp_path / "watched.py"], env=environment, stdout=subprocess.PIPE, text=True
    ) as run:
        assert int(run.stdout.readline()) in processes(str(tmp_path))
        run.kill()
        left = left_after(str(tmp_path), SECONDS)
    assert left == {}
