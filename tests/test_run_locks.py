"""Two runs of one analysis or participant do not disturb each other: the second ends with a message; others go on."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from bids_app import settings
from bids_app.bids import run_locks
from bids_app.errors import BusyError
from bids_app.phantom.write import write

PELLUCID = Path(sys.executable).parent / "pellucid"
HOLD = """
import sys, time
from pathlib import Path
from bids_app import settings
from bids_app.bids import run_locks
folder, name, inputs = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
chosen = settings.build("group", folder / "bids", folder / "out", options={})
with run_locks.released_after():
    run_locks.lock(chosen, name, inputs)
    print("held", flush=True)
    time.sleep(120)
"""


@pytest.fixture
def chosen(tmp_path) -> settings.Settings:
    return settings.build("group", tmp_path / "bids", tmp_path / "out", options={})


@pytest.fixture
def other_run(tmp_path) -> "Iterator[subprocess.Popen[str]]":
    """Another process that holds the lock of an analysis."""
    command = [sys.executable, "-c", HOLD, str(tmp_path), "analysis dx", "0a1b"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def lock_files(chosen: settings.Settings) -> list[Path]:
    return sorted(chosen.output_dir.rglob("lock_*"))


def test_second_run_of_an_analysis_is_refused_and_the_first_is_named(chosen, other_run):
    with run_locks.released_after(), pytest.raises(BusyError) as told:
        run_locks.lock(chosen, "analysis dx", "0a1b")
    assert told.value.code == 73
    assert f"analysis dx is being computed by another run: process {other_run.pid} of this machine" in str(told.value)
    assert len(lock_files(chosen)) == 2  # those of the first


def test_same_inputs_in_another_output_folder_are_refused_where_the_work_folder_is_shared(chosen, other_run, tmp_path):
    given = {"work_dir": chosen.work_dir}
    elsewhere = settings.build("group", tmp_path / "bids", tmp_path / "another", options=given)
    with run_locks.released_after(), pytest.raises(BusyError, match="analysis dx"):
        run_locks.lock(elsewhere, "analysis dx", "0a1b")
    assert lock_files(elsewhere) == []
    with run_locks.released_after():
        run_locks.lock(elsewhere, "analysis dx", "2c3d")


def test_other_analyses_and_participants_are_not_hindered(chosen, other_run):
    with run_locks.released_after():
        for name in ("analysis dx2", "sub-01", "sub-01_ses-1", "sub-01_ses-2"):
            run_locks.lock(chosen, name, "0a1b")
        assert len(lock_files(chosen)) == 10
    assert len(lock_files(chosen)) == 2


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_lock_of_a_process_of_this_machine_that_has_died_is_taken_over(chosen, other_run, number):
    other_run.send_signal(number)
    other_run.wait()
    assert len(lock_files(chosen)) == 2
    with run_locks.released_after():
        run_locks.lock(chosen, "analysis dx", "0a1b")
    assert lock_files(chosen) == []


def test_locks_left_by_killed_runs_are_removed_and_those_of_others_are_not(chosen, other_run):
    folders = (chosen.output_dir, chosen.work_dir)
    with run_locks.released_after(*folders):
        pass
    assert len(lock_files(chosen)) == 2
    other_run.kill()
    other_run.wait()
    with run_locks.released_after(*folders):
        run_locks.lock(chosen, "sub-01", "2c")  # not that of the killed run
    assert lock_files(chosen) == []
    assert list(chosen.output_dir.glob(".tmp/*")) == []


def test_lock_of_a_dead_process_whose_number_is_used_again_is_taken_over(chosen):
    with run_locks.released_after():
        run_locks.lock(chosen, "sub-01", "0a1b")
        files = [(file, json.loads(file.read_text())) for file in lock_files(chosen)]
    for file, content in files:
        file.write_text(json.dumps({**content, "start": 1, "id": "of an earlier process"}))
    with run_locks.released_after():
        run_locks.lock(chosen, "sub-01", "0a1b")
        owners = [json.loads(file.read_text())["id"] for file in lock_files(chosen)]
    assert len(owners) == 2
    assert "of an earlier process" not in owners


@pytest.mark.parametrize(("seconds", "free"), [(0, False), (run_locks.STALE_SECONDS + 5, True)])
def test_lock_of_another_machine_is_free_when_it_has_not_been_touched_for_minutes(chosen, seconds, free):
    with run_locks.released_after():
        run_locks.lock(chosen, "sub-01", "0a1b")
        file, work = (next(folder.glob("lock_*")) for folder in (chosen.output_dir / ".tmp", chosen.work_dir / ".tmp"))
        content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "host": "elsewhere", "id": "of another machine"}))
    os.utime(file, (time.time() - seconds,) * 2)
    assert not work.exists()
    with run_locks.released_after():
        if free:
            run_locks.lock(chosen, "sub-01", "0a1b")
        else:
            with pytest.raises(BusyError, match=rf"of another machine .* 5 minutes later, or delete {file}"):
                run_locks.lock(chosen, "sub-01", "0a1b")


def test_lock_in_use_is_touched(chosen, monkeypatch):
    monkeypatch.setattr(run_locks, "TOUCH_SECONDS", 0.05)
    with run_locks.released_after():
        run_locks.lock(chosen, "sub-01", "0a1b")
        for file in lock_files(chosen):
            os.utime(file, (1.0, 1.0))
        time.sleep(1.0)
        assert all(file.stat().st_mtime > 1.0 for file in lock_files(chosen))


def take(folder: str, begin: float, queue: "multiprocessing.Queue[int]", ended: Event) -> None:
    chosen = settings.build("group", Path(folder) / "bids", Path(folder) / "out", options={})
    with run_locks.released_after():
        time.sleep(max(0.0, begin - time.time()))
        try:
            run_locks.lock(chosen, "sub-01", "0a1b")
        except BusyError:
            queue.put(0)
        else:
            queue.put(1)
            ended.wait(60)


def test_one_of_many_that_take_over_an_abandoned_lock_at_once_gets_it(chosen, tmp_path, other_run):
    other_run.kill()
    other_run.wait()
    abandoned = {file: file.read_text() for file in lock_files(chosen)}
    for file, content in abandoned.items():
        file.with_name(file.name.replace("analysis-dx", "sub-01")).write_text(content)
    context = multiprocessing.get_context("fork")
    queue, ended = context.Queue(), context.Event()
    begin = time.time() + 0.5
    runs = [context.Process(target=take, args=(str(tmp_path), begin, queue, ended)) for _ in range(12)]
    for run in runs:
        run.start()
    got = [queue.get(timeout=60) for _ in runs]
    ended.set()
    for run in runs:
        run.join()
    assert sum(got) == 1


@pytest.mark.slow
def test_participant_in_two_runs_at_once_is_refused_and_another_is_computed(tmp_path, with_template):
    data = tmp_path / "bids"
    write(data, people=4, resolution=4.0, random_seed=1)
    with_template(tmp_path / "work")
    words = [PELLUCID, data, tmp_path / "out", "participant", "--sloppy", "--resolution", "4", "-w", tmp_path / "work"]
    labels = sorted(folder.name for folder in data.glob("sub-*"))
    first = subprocess.Popen([*words, "--participant-label", *labels[:2]], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "out").glob(".tmp/lock_*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    others = {
        name: subprocess.run([*words, "--participant-label", name], capture_output=True, text=True, check=False)
        for name in labels[1:3]
    }
    assert others[labels[1]].returncode == 73, others[labels[1]].stderr
    assert f"{labels[1]} is being computed by another run: process {first.pid}" in others[labels[1]].stderr
    assert others[labels[2]].returncode == 0, others[labels[2]].stderr
    _, told = first.communicate()
    assert first.returncode == 0, told
    assert list((tmp_path / "out").glob(".tmp/lock_*")) == []
