"""A full or protected disk ends a run with exit code 73 and what to do; OUT_DIR has nothing incomplete."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from nipype.pipeline.engine import Workflow

from bids_app import settings
from bids_app.bids import outputs, write_errors
from bids_app.errors import CannotWriteError, DataError
from bids_app.graphs.function_node import make_node
from bids_app.graphs.run import failure_reason, run_graph, set_crash_folder
from bids_app.phantom.write import write

PELLUCID = Path(sys.executable).parent / "pellucid"
MB = 1 << 20


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def write_bytes(*, folder: str) -> str:
    (Path(folder) / "large.bin").write_bytes(os.urandom(4 * MB))
    return folder


def write_array(*, folder: str) -> str:
    """numpy reports how many values were written, without the error's number."""
    np.save(Path(folder) / "large.npy", np.random.default_rng(1).random(MB))
    return folder


def publish(*, folder: str) -> str:
    """As the last step of a participant does."""
    with outputs.staging(Path(folder)) as stage:
        (stage / "sub-01").mkdir()
        (stage / "sub-01" / "large.nii").write_bytes(os.urandom(4 * MB))
        outputs.publish(stage, Path(folder))
    return folder


def fill(*, folder: str) -> str:
    """Leave no space even for what nipype stores about a node that failed."""
    with (Path(folder) / "large.bin").open("wb", buffering=0) as file:
        while True:
            file.write(os.urandom(512))


def refuse(*, folder: str) -> str:
    raise DataError("the image is empty")


def read(*, folder: str) -> str:
    raise PermissionError(13, "Permission denied", "/data/sub-01_T1w.nii.gz")


def run(function, work: Path, out: Path, folder: Path) -> settings.Settings:
    chosen = settings.build("participant", work.parent / "bids", out, options={"work_dir": work, "nprocs": 2})
    graph = Workflow("whole", base_dir=str(work))
    graph.add_nodes([make_node("node", function, mem_gb=0.1, folder=str(folder))])
    set_crash_folder(graph, out / "log")
    run_graph(graph, chosen, last=("node",), total=1, what="nodes", preload=[])
    return chosen


@pytest.mark.parametrize("function", [write_bytes, write_array, fill])
def test_full_work_folder_is_named_with_what_to_do(tmp_path, small_disk, function):
    with pytest.raises(CannotWriteError) as told:
        run(function, small_disk / "work", tmp_path / "out", small_disk)
    assert f"the work folder {small_disk}/work cannot be written (No space left on device)" in str(told.value)
    assert "free space on its disk, or choose another work folder with --work-dir" in str(told.value)
    assert told.value.code == 73


def test_full_output_folder_is_named_and_nothing_incomplete_stays(tmp_path, small_disk):
    with pytest.raises(CannotWriteError, match=f"the output folder {small_disk}/out cannot be written"):
        run(publish, tmp_path / "work", small_disk / "out", small_disk / "out")
    assert [path for path in (small_disk / "out").rglob("*") if path.is_file()] == []


def test_read_only_disk_is_named(tmp_path, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(CannotWriteError, match="Read-only file system"):
        run(write_bytes, tmp_path / "work", tmp_path / "out", small_disk)


@pytest.mark.parametrize(("function", "reason"), [(refuse, "the image is empty"), (read, "Permission denied")])
def test_other_failures_of_nodes_are_not_mistaken_for_a_full_disk(tmp_path, function, reason):
    run(function, tmp_path / "work", tmp_path / "out", tmp_path)
    assert reason in failure_reason(tmp_path / "out" / "log")


@pytest.mark.parametrize("place", ["out", "work"])
def test_permission_denied_within_the_folders_of_a_run_is_one_of_writing(tmp_path, place):
    given = {"work_dir": tmp_path / "work"}
    chosen = settings.build("participant", tmp_path / "bids", tmp_path / "out", options=given)
    error = PermissionError(13, "Permission denied", str(tmp_path / place / "file"))
    found = write_errors.explain_error(error, chosen)
    assert found is not None
    assert str(tmp_path / place) in str(found)
    assert write_errors.explain_error(PermissionError(13, "Permission denied", "/data/file"), chosen) is None


def test_program_ends_with_73_where_the_work_folder_is_full(small_disk, tmp_path):
    data = tmp_path / "bids"
    write(data, people=4, resolution=4.0, random_seed=1)
    (small_disk / "filling").write_bytes(os.urandom(2 * MB - 65536))
    words = [
        PELLUCID,
        data,
        tmp_path / "out",
        "participant",
        "--sloppy",
        "--resolution",
        "4",
        "-w",
        small_disk / "work",
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 73, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("pellucid: ") == 1
    assert "No space left on device" in done.stderr
    assert {path.suffix for path in (tmp_path / "out").rglob("sub-*") if path.is_file()} <= {".log"}
