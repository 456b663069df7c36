"""The SLURM plugin of nipype on a real SLURM: requested resources, concurrency and killed jobs."""

import getpass
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from nipype.pipeline.engine import Workflow

from bids_app import settings
from bids_app.graphs.function_node import make_node
from bids_app.graphs.run import failure_reason, run_graph, set_crash_folder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("sinfo") is None or subprocess.run(["sinfo"], capture_output=True, check=False).returncode != 0,
        reason="no SLURM runs here",
    ),
]
HERE = __name__


@pytest.fixture(autouse=True)
def named(monkeypatch):
    """As the program sets it at the start."""
    monkeypatch.setenv("LOGNAME", getpass.getuser())


def tell(*, folder: str, label: str, seconds: float) -> str:
    """Record the resources that SLURM gave this job, and its start and end."""
    begin = time.time()
    time.sleep(seconds)
    given = {name: os.environ.get(name, "") for name in ("SLURM_JOB_ID", "SLURM_MEM_PER_NODE", "SLURM_CPUS_PER_TASK")}
    (Path(folder) / label).write_text(yaml.safe_dump({**given, "begin": begin, "end": time.time()}))
    return label


def die(*, folder: str, label: str, seconds: float) -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return label


def run(folder: Path, *, mem_gb: dict[str, float], function: str = "tell", mem_mb: int | None = None, sbatch: str = ""):
    """One job for each name, all at once; returns what each left."""
    plugin = folder / "slurm.yml"
    export = f"--export=ALL,PYTHONPATH={Path(__file__).parent}"
    plugin.write_text(yaml.safe_dump({"plugin": "SLURM", "plugin_args": {"sbatch_args": f"{export} {sbatch}"}}))
    given = {"work_dir": folder / "work", "use_plugin": plugin, "mem_mb": mem_mb}
    chosen = settings.build("participant", folder / "bids", folder / "out", options=given)
    graph = Workflow("jobs", base_dir=str(folder / "work"))
    graph.add_nodes(
        [
            make_node(f"job_{name}", f"{HERE}:{function}", mem_gb=gb, folder=str(folder), label=name, seconds=4.0)
            for name, gb in mem_gb.items()
        ]
    )
    set_crash_folder(graph, folder / "log")
    run_graph(graph, chosen, last=("job_",), total=len(mem_gb), what="jobs", preload=[])
    return {name: yaml.safe_load((folder / name).read_text()) for name in mem_gb if (folder / name).is_file()}


def at_once(told: dict[str, dict[str, float]]) -> int:
    """The largest number of concurrent jobs."""
    return max(sum(two["begin"] <= one["begin"] < two["end"] for two in told.values()) for one in told.values())


def test_jobs_request_the_memory_and_cpus_declared_by_the_node(tmp_path):
    jobs = run(tmp_path, mem_gb={"a": 0.5, "b": 1.25})
    assert {name: entry["SLURM_MEM_PER_NODE"] for name, entry in jobs.items()} == {"a": "500", "b": "1250"}
    assert {entry["SLURM_CPUS_PER_TASK"] for entry in jobs.values()} == {"1"}
    assert len({entry["SLURM_JOB_ID"] for entry in jobs.values()}) == 2


def test_user_sbatch_arguments_are_kept(tmp_path):
    jobs = run(tmp_path, mem_gb={"a": 0.5}, sbatch="--mem=700M")
    assert jobs["a"]["SLURM_MEM_PER_NODE"] == "700"


@pytest.mark.parametrize(("mem_mb", "most"), [(1000, 1), (None, 2)])
def test_concurrent_jobs_stay_within_mem_mb(tmp_path, mem_mb, most):
    jobs = run(tmp_path, mem_gb=dict.fromkeys("abc", 0.6), mem_mb=mem_mb)
    assert len(jobs) == 3
    assert at_once(jobs) == most


def test_killed_job_fails_with_an_out_of_memory_message(tmp_path):
    assert run(tmp_path, mem_gb={"a": 0.5}, function="die") == {}
    said = failure_reason(tmp_path / "log")
    assert "ran out of memory (0.5 GB were planned)" in said
    assert "job_a" in said


def test_pending_jobs_are_cancelled_when_a_run_is_interrupted(tmp_path):
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stopped)
    try:
        signal.alarm(6)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, mem_gb=dict.fromkeys("abcdefgh", 0.5))
    finally:
        signal.signal(signal.SIGALRM, before)
    time.sleep(3)
    left = subprocess.run(["squeue", "--noheader", "--format=%j"], capture_output=True, text=True, check=True).stdout
    assert "job_" not in left
