"""Runs that are killed at random moments, each run again: the same files in the end, and no process left meanwhile.

Kill N is drawn by the seed N; PELLUCID_KILLS=3 runs the first three of each level, and `-k kill7-` repeats one.
"""

import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fuzz_inputs import GROUP, write_study
from test_processes_end import MARK, SECONDS, left_after, processes

from bids_app.phantom.write import write

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")]
PELLUCID = Path(sys.executable).parent / "pellucid"
KILLS = int(os.environ.get("PELLUCID_KILLS", "25"))  # of each level
PARTS = ("parent", "worker", "both", "server")
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)
UNCOMPARED = {"logs", ".work", ".tmp"}
PATIENCE = 600.0  # s
WHEN = re.compile(rb"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?|\d{8}-\d{6}")
MESSAGES = re.compile(rb'"messages": \[.*?\]|<h2 id="messages">.*</main>', re.DOTALL)  # of a killed server


@dataclass(frozen=True)
class Level:
    """A run of a level: its words after OUT, the state of OUT before, its files after, and how long it takes, s."""

    data: Path
    words: tuple[str, ...]
    before: Path
    files: dict[str, str]
    seconds: float


def files_of(out: Path) -> dict[str, str]:
    """The digest of every file that a run leaves, but for its logs and work folder, times of day and warnings."""
    return {
        str(file.relative_to(out)): hashlib.sha256(MESSAGES.sub(b"", WHEN.sub(b"", file.read_bytes()))).hexdigest()
        for file in sorted(out.rglob("*"))
        if file.is_file() and not UNCOMPARED & set(file.relative_to(out).parts)
    }


def start(level: Level, out: Path) -> "subprocess.Popen[str]":
    """Begin a run, whose processes can be found by OUT in their environment."""
    command = [PELLUCID, level.data, out, *level.words]
    return subprocess.Popen(command, env={**os.environ, MARK: str(out)}, stderr=subprocess.PIPE, text=True)


def finish(level: Level, out: Path) -> str:
    """Run to the end; returns what was shown."""
    with start(level, out) as run:
        _, shown = run.communicate(timeout=PATIENCE)
    assert run.returncode == 0, shown
    return shown


def prepare(data: Path, words: tuple[str, ...], before: Path) -> Level:
    """Run once without being interrupted, in a copy of OUT."""
    level = Level(data, words, before, {}, 0.0)
    out = before.with_name("reference")
    shutil.copytree(before, out)
    begin = time.monotonic()
    finish(level, out)
    return Level(data, words, before, files_of(out), time.monotonic() - begin)


@pytest.fixture(scope="module")
def participant_level(tmp_path_factory, with_template) -> Level:
    """Two phantoms, at 4 mm."""
    home = tmp_path_factory.mktemp("participant")
    write(home / "bids", people=4, resolution=5.0, random_seed=1)
    with_template(home / "before" / ".work")
    labels = sorted(folder.name for folder in (home / "bids").glob("sub-*"))[:2]
    words = ("participant", "--sloppy", "--resolution", "4", "--nprocs", "1", "--participant-label", *labels)
    return prepare(home / "bids", words, home / "before")


@pytest.fixture(scope="module")
def group_level(tmp_path_factory, with_template, invented_gm) -> Level:
    """A linear model on the simulated maps of eight participants."""
    study = write_study(tmp_path_factory.mktemp("group"), invented_gm)
    with_template(study.out / ".work")
    return prepare(study.bids, (*GROUP, "--random-seed", "3"), study.out)


def parent_of(pid: int) -> int:
    """The process that started another; 0 if that has ended."""
    try:
        return int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def choose(part: str, run: "subprocess.Popen[str]", out: Path) -> list[int]:
    """The processes to kill. Workers are forked from a server, which the run has started."""
    parents = {pid: parent_of(pid) for pid, words in processes(str(out)).items() if "forkserver" in words}
    servers = [pid for pid, parent in parents.items() if parent == run.pid]
    workers = [pid for pid, parent in parents.items() if parent in servers]
    return {
        "parent": [run.pid],
        "worker": workers[:1],
        "both": [*workers[:1], run.pid],
        "server": servers,
    }[part]


def kill(level: Level, out: Path, of: random.Random) -> str:
    """Begin a run and kill a part of it at a random moment; returns what was done. Nothing of it may go on."""
    part, number, wait = of.choice(PARTS), of.choice(SIGNALS), of.uniform(0.0, level.seconds)
    with start(level, out) as run:
        time.sleep(wait)
        pids = choose(part, run, out)
        for pid in pids:
            if pid == run.pid or parent_of(pid):
                os.kill(pid, number)
        what = f"{number.name} of {part} ({len(pids)}) after {wait:.1f} of {level.seconds:.1f} s"
        if run.pid in pids and number == signal.SIGKILL:
            assert left_after(str(out), SECONDS) == {}, what
        _, shown = run.communicate(timeout=PATIENCE)
    assert left_after(str(out), SECONDS) == {}, what
    assert run.returncode in {0, 1, -number, 128 + number}, f"{what}\n{shown}"
    assert "Traceback" not in shown, f"{what}\n{shown}"
    return f"{what}: exit code {run.returncode}"


@pytest.fixture
def out(tmp_path) -> Iterator[Path]:
    """OUT of one case; none of its processes outlives it."""
    yield tmp_path / "out"
    for pid in processes(str(tmp_path / "out")):
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(tmp_path / "out", ignore_errors=True)


@pytest.mark.parametrize("name", ["participant_level", "group_level"])
@pytest.mark.parametrize("seed", range(KILLS), ids=lambda seed: f"kill{seed}-")
def test_run_that_was_killed_leaves_the_same_files_when_it_is_run_again(request, out, name, seed):
    level: Level = request.getfixturevalue(name)
    shutil.copytree(level.before, out)
    what = kill(level, out, random.Random(f"{name} {seed}"))
    print(name, seed, what)
    shown = finish(level, out)
    assert files_of(out) == level.files, f"{what}\n{shown}"
    assert not list(out.glob(".tmp/*"))
