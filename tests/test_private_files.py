"""Nothing of the environment, the host, the login or the user's folders is in the files of a run."""

import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from nipype.pipeline.engine import Node, Workflow
from nipype.pipeline.plugins.base import SGELikeBatchManagerBase

from bids_app import settings
from bids_app.graphs.function_node import make_node
from bids_app.graphs.private_files import PrivateFiles
from bids_app.graphs.run import run_graph, set_crash_folder
from bids_app.phantom.write import write

HERE = __name__
SECRET, HOST, LOGIN = "s3cr3t-0f-the-environment", "planted-host-name", "planted-login"
PELLUCID = Path(sys.executable).parent / "pellucid"
NEEDS_HOST = pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(["unshare", "-u", "hostname", HOST], capture_output=True, check=False).returncode != 0,
    reason="a host name of one's own is not allowed here",
)


def succeed(*, source: str) -> str:
    assert os.environ["PLANTED_TOKEN"] == SECRET
    return source


def fail(*, source: str) -> str:
    raise ValueError(f"{source}/sub-01/file.nii.gz cannot be read")


def die(*, source: str) -> str:
    os.kill(os.getpid(), 9)
    return source


def run(folder: Path) -> None:
    """A graph with a node that succeeds, one that fails and one that is killed, all with the path given with -d."""
    given = {"work_dir": folder / "work", "nprocs": 2, "derivatives": {"fmriprep": folder / "of a hospital" / "prep"}}
    chosen = settings.build("participant", folder / "bids", folder / "out", options=given)
    graph = Workflow("nodes", base_dir=str(folder / "work"))
    source = str(chosen.select.derivatives["fmriprep"])
    graph.add_nodes([make_node(f.__name__, f, mem_gb=0.1, source=source) for f in (succeed, fail, die)])
    set_crash_folder(graph, folder / "out" / "log")
    run_graph(graph, chosen, last=("succeed",), total=1, what="nodes", preload=[])


def planted(command: list[str | Path], **more: str) -> "subprocess.CompletedProcess[str]":
    """Run a command with a secret in the environment, on a host and with a login that can be recognised."""
    words = ["unshare", "-u", "sh", "-c", f'hostname {HOST}; exec "$@"', "sh", *map(str, command)]
    names = dict.fromkeys(("LOGNAME", "USER", "LNAME", "USERNAME"), LOGIN)
    environment = {**os.environ, **names, "PLANTED_TOKEN": SECRET, "NIPYPE_NO_ET": "1", **more}
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)


def files_with(folder: Path, text: str) -> list[str]:
    """The files below a folder whose names or contents, unpacked where they are gzipped, hold a text."""
    found = []
    for file in (path for path in folder.rglob("*") if path.is_file()):
        content = file.read_bytes()
        content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
        if text in file.name or text.encode() in content:
            found.append(str(file.relative_to(folder)))
    return found


@NEEDS_HOST
def test_nodes_leave_no_environment_host_login_or_path_of_derivatives(tmp_path):
    code = f"from pathlib import Path; import {HERE} as here; here.run(Path({str(tmp_path)!r}))"
    done = planted([sys.executable, "-c", code], PYTHONPATH=str(Path(__file__).parent))
    assert done.returncode == 0, done.stderr
    crash_files = list((tmp_path / "out" / "log").glob("crash-*.txt"))
    assert len(crash_files) == 2
    assert len(list((tmp_path / "work").rglob("result_*.pklz"))) == 2
    for private in (SECRET, HOST, LOGIN):
        assert files_with(tmp_path, private) == []
    assert files_with(tmp_path / "out", "of a hospital") == []
    assert any("DERIVATIVES_fmriprep/sub-01/file.nii.gz cannot be read" in file.read_text() for file in crash_files)


@NEEDS_HOST
@pytest.mark.slow
def test_both_levels_leave_no_environment_host_or_login(tmp_path, with_template):
    write(tmp_path / "bids", people=8, resolution=4.0, random_seed=1)
    with_template(tmp_path / "out" / ".work")
    common = [PELLUCID, tmp_path / "bids", tmp_path / "out"]
    sloppy = ["--sloppy", "--nprocs", "2"]
    first = planted([*common, "participant", *sloppy, "--resolution", "4"])
    assert first.returncode == 0, first.stderr
    words = ["--label", "group", "--classes", "control", "patient", "--classifiers", "svm", "--permutations", "0"]
    second = planted([*common, "group", *sloppy, *words, "--folds", "2", "--explainers", "weights"])
    assert second.returncode == 0, second.stderr
    for private in (SECRET, HOST, LOGIN):
        assert files_with(tmp_path / "out", private) == []


class LocalBatch(SGELikeBatchManagerBase):
    """A batch system that runs each job where it is submitted."""

    def _submit_batchtask(self, scriptfile: str, node: Node) -> int:
        taskid = len(self._pending) + 1
        subprocess.run(["bash", scriptfile], check=True, capture_output=True)
        self._pending[taskid] = node.output_dir()
        return taskid

    def _is_pending(self, taskid: int) -> bool:  # noqa: ARG002 - nipype passes it
        return False


class PrivateBatch(PrivateFiles, LocalBatch):
    pass


def run_as_jobs(folder: Path) -> None:
    """A node that succeeds and one that fails, each a job of a batch system."""
    graph = Workflow("nodes", base_dir=str(folder / "work"))
    graph.add_nodes([make_node(f.__name__, f, mem_gb=0.1, source=str(folder)) for f in (succeed, fail)])
    set_crash_folder(graph, folder / "out" / "log")
    plugin = PrivateBatch("", {})
    plugin.keep_private(settings.build("participant", folder / "bids", folder / "out", options={}))
    with pytest.raises(RuntimeError, match="raised"):
        graph.run(plugin=plugin)


@NEEDS_HOST
def test_jobs_of_a_cluster_leave_no_environment_host_or_login(tmp_path):
    code = f"from pathlib import Path; import {HERE} as here; here.run_as_jobs(Path({str(tmp_path)!r}))"
    done = planted([sys.executable, "-c", code], PYTHONPATH=str(Path(__file__).parent))
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out" / "log").glob("crash-*.txt"))) == 1
    assert len(list((tmp_path / "work").rglob("crashstore.pklz"))) == 1
    for private in (SECRET, HOST, LOGIN):
        assert files_with(tmp_path, private) == []
