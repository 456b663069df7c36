"""Graphs of plain functions: a killed node affects no other participant, and only missing nodes are rerun."""

import getpass
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from nipype.pipeline.engine import Workflow

from bids_app import settings
from bids_app.errors import DataError
from bids_app.graphs.function_node import make_node
from bids_app.graphs.multiproc import death_message
from bids_app.graphs.run import failure_reason, run_graph, set_crash_folder

HERE = __name__  # imported by every worker, so nothing heavy is imported above
GB = 0.2


def count(*, folder: str, label: str) -> str:
    """Append a line to the file of this label on each call."""
    with (Path(folder) / label).open("a") as file:
        file.write(f"{os.getpid()} {Path.cwd()}\n")
    return label


def last(*, folder: str, label: str, before: str) -> str:
    return count(folder=folder, label=f"{label}-after-{before}")


def die(*, folder: str, label: str) -> str:
    """End like a process killed by the kernel for lack of memory, unless the file `well` exists."""
    if not (Path(folder) / "well").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return count(folder=folder, label=label)


def refuse(*, folder: str, label: str) -> str:
    raise DataError(f"{label} cannot be used: it is empty")


def stumble(*, folder: str, label: str) -> str:
    return str({}["no such key"])


def wait(*, folder: str, label: str) -> str:
    count(folder=folder, label=label)
    time.sleep(60)
    return label


def chosen(folder: Path, *words: tuple[str, object]) -> settings.Settings:
    given = {"work_dir": folder / "work", "nprocs": 2, "verbose": 2, **dict(words)}
    return settings.build("participant", folder / "bids", folder / "out", options=given)


def person(folder: Path, name: str, function: str) -> Workflow:
    """Two nodes, the second of which needs the first."""
    part = Workflow(name)
    first = make_node(f"first_{name}", globals()[function], mem_gb=GB, folder=str(folder), label=name)
    second = make_node("finish", last, mem_gb=GB, connected=("before",), folder=str(folder), label=name)
    part.connect([(first, second, [("out", "before")])])
    return part


def run(folder: Path, people: dict[str, str], *words: tuple[str, object]) -> dict[str, str]:
    """Run a graph of participants; returns the failure reason of each participant without a final output."""
    whole = Workflow("whole", base_dir=str(folder / "work"))
    for name, function in people.items():
        part = person(folder, name, function)
        (folder / "log" / name).mkdir(parents=True, exist_ok=True)
        whole.add_nodes([part])
        set_crash_folder(part, folder / "log" / name)
    run_graph(whole, chosen(folder, *words), last=("finish",), total=len(people), what="people", preload=[])
    lacking = [name for name in people if not (folder / f"{name}-after-{name}").exists()]
    return {name: failure_reason(folder / "log" / name) for name in lacking}


@pytest.fixture
def templates() -> ModuleType:
    return importlib.import_module("bids_app.nodes.template")


def times(folder: Path, name: str) -> int:
    file = folder / name
    return len(file.read_text().splitlines()) if file.exists() else 0


def test_node_runs_the_function_in_a_separate_folder(tmp_path):
    made = make_node("one", count, mem_gb=GB, folder=str(tmp_path), label="a")
    made.base_dir = str(tmp_path / "work")
    assert made.run().outputs.out == "a"
    assert (tmp_path / "a").read_text().split()[1] == str(tmp_path / "work" / "one")


def test_a_function_that_workers_cannot_import_is_refused():
    def inner() -> str:
        return "a"

    with pytest.raises(ValueError, match="top level of its module"):
        make_node("one", inner, mem_gb=GB)


def test_killed_worker_fails_only_one_node_and_only_that_one_is_recomputed(tmp_path):
    people = {"a": "count", "b": "die", "c": "count", "d": "count"}
    failed = run(tmp_path, people)
    assert list(failed) == ["b"]
    assert "first_b ended by signal SIGKILL" in failed["b"]
    assert f"ran out of memory ({GB} GB" in failed["b"]
    assert len(list((tmp_path / "log" / "b").glob("crash-*.txt"))) == 1
    assert [times(tmp_path, f"{name}-after-{name}") for name in people] == [1, 0, 1, 1]

    (tmp_path / "well").touch()
    assert run(tmp_path, people) == {}
    assert [times(tmp_path, f"{name}-after-{name}") for name in people] == [1, 1, 1, 1]
    assert [times(tmp_path, name) for name in people] == [1, 1, 1, 1]
    assert list((tmp_path / "log" / "b").glob("crash-*")) == []


def test_failure_reason_is_the_error_in_one_line(tmp_path):
    failed = run(tmp_path, {"a": "refuse", "b": "stumble"})
    assert failed["a"].startswith("a cannot be used: it is empty [log/crash-")
    assert failed["b"].startswith("KeyError: 'no such key' [log/crash-")


def test_an_interrupted_run_leaves_no_process_behind(tmp_path):
    code = (
        f"import sys; from pathlib import Path; import {HERE} as here\n"
        f"try: here.run(Path({str(tmp_path)!r}), {{'a': 'wait', 'b': 'wait'}})\n"
        "except KeyboardInterrupt: sys.exit(130)\n"
    )
    environment = {**os.environ, "NIPYPE_NO_ET": "1", "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL) as whole:
        deadline = time.monotonic() + 180
        while times(tmp_path, "a") + times(tmp_path, "b") < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        whole.send_signal(signal.SIGINT)
        assert whole.wait(timeout=90) == 130
    workers = [int((tmp_path / name).read_text().split()[0]) for name in "ab"]
    assert [worker for worker in workers if Path(f"/proc/{worker}").exists()] == []


@pytest.mark.parametrize(
    ("code", "message"),
    [(-9, "by signal SIGKILL"), (-15, "by signal SIGTERM"), (1, "exit code 1"), (None, "exit code")],
)
def test_death_message_states_how_the_worker_ended(code, message):
    line = death_message(SimpleNamespace(fullname="whole.a.native", mem_gb=2.5), code)
    assert message in line
    assert "whole.a.native" in line
    assert "2.5 GB" in line


CRASH = """Node: participants.sub_01.native
Working directory: somewhere

Node inputs:

function = bids_app.nodes.anatomical:native

Traceback (most recent call last):
  File "multiproc.py", line 67, in run_node
nipype.pipeline.engine.nodes.NodeExecutionError: Exception raised while executing Node native.

Traceback:
	Traceback (most recent call last):
	{raised}
"""


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        ("bids_app.errors.DataError: sub-01_T1w.nii.gz is 0 everywhere", "sub-01_T1w.nii.gz is 0 everywhere"),
        ("bids_app.errors.MissingInputError: there is no mask", "there is no mask"),
        ("numpy.exceptions.AxisError: axis 3", "AxisError: axis 3"),
        ("ValueError: a: b", "ValueError: a: b"),
    ],
)
def test_failure_reason_is_the_last_error_of_the_crash_file(tmp_path, raised, message):
    (tmp_path / "crash-1.txt").write_text(CRASH.format(raised=raised))
    assert failure_reason(tmp_path) == f"{message} [log/crash-1.txt]"


def test_failure_reason_comes_from_the_newest_file_of_the_first_non_empty_folder(tmp_path):
    own, shared = tmp_path / "own", tmp_path / "shared"
    for folder, name, age in ((own, "old", 9), (own, "new", 5), (shared, "newest", 1)):
        folder.mkdir(exist_ok=True)
        file = folder / f"crash-{name}.txt"
        file.write_text(CRASH.format(raised=f"ValueError: {name}"))
        os.utime(file, (time.time() - age,) * 2)
    assert failure_reason(own, shared) == "ValueError: new [log/crash-new.txt]"
    assert failure_reason(tmp_path, shared) == "ValueError: newest [log/crash-newest.txt]"
    assert "there is no crash file" in failure_reason(tmp_path)


def test_template_made_meanwhile_by_another_process_is_used_and_nothing_is_left(tmp_path, monkeypatch, templates):
    asked = {"cache": str(tmp_path), "space": "MNI152NLin2009cAsym", "resolution": 8.0, "sloppy": True, "seed": 1}
    made = []

    def make(folder: Path, **how: object) -> None:
        made.append(how)
        (folder / "mask.nii.gz").write_text("ours")
        theirs = tmp_path / folder.name
        theirs.mkdir()
        (theirs / "mask.nii.gz").write_text("theirs")

    monkeypatch.setattr(templates, "_write_template", make)
    files = templates.prepare_template(**asked)
    assert Path(files["mask"]).read_text() == "theirs"
    assert {path.name for path in tmp_path.iterdir()} == {Path(files["mask"]).parent.name, ".tmp"}
    assert not any((tmp_path / ".tmp").iterdir())
    assert templates.prepare_template(**asked) == files
    assert len(made) == 1
    assert templates.prepare_template(**{**asked, "resolution": 6.0}) != files


def test_failed_template_is_not_kept(tmp_path, monkeypatch, templates):
    def make(folder: Path, **how: object) -> None:
        (folder / "mask.nii.gz").write_text("half")
        raise OSError("no space left")

    monkeypatch.setattr(templates, "_write_template", make)
    asked = {"cache": str(tmp_path), "space": "MNI152NLin2009cAsym", "resolution": 8.0, "sloppy": True, "seed": 1}
    with pytest.raises(OSError, match="no space left"):
        templates.prepare_template(**asked)
    monkeypatch.setattr(templates, "_write_template", lambda folder, **_: (folder / "mask.nii.gz").write_text("whole"))
    assert Path(templates.prepare_template(**asked)["mask"]).read_text() == "whole"


@pytest.mark.slow
def test_template_made_by_two_processes_at_once_is_complete(tmp_path, templates):
    asked = {"cache": str(tmp_path), "space": "MNI152NLin2009cAsym", "resolution": 8.0, "sloppy": True, "seed": 1}
    both = [
        multiprocessing.get_context("spawn").Process(target=templates.prepare_template, kwargs=asked) for _ in range(2)
    ]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert [one.exitcode for one in both] == [0, 0]
    (folder,) = (path for path in tmp_path.iterdir() if path.name != ".tmp")
    assert not any((tmp_path / ".tmp").iterdir())
    files = templates.prepare_template(**asked)
    assert {Path(file).parent for file in files.values()} == {folder}
    assert all(Path(file).is_file() for file in files.values())


def test_crash_files_contain_no_machine_paths_or_user_names(tmp_path):
    run(tmp_path, {"b": "stumble"})
    (file,) = (tmp_path / "log" / "b").glob("crash-*.txt")
    text = file.read_text()
    assert "KeyError: 'no such key'" in text
    assert "WORK_DIR" in text
    for private in (tmp_path / "work", sys.prefix, Path.home(), getpass.getuser()):
        assert str(private) not in file.name
    for private in (tmp_path / "work", sys.prefix, f"{Path.home()}/"):
        assert str(private) not in text
