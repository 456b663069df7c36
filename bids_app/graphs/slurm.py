"""nipype's SLURM plugin; each job requests the memory and processors that its node declares."""

import math
import os
import subprocess
import time
from typing import Any

from nipype.pipeline.engine import Node
from nipype.pipeline.plugins.slurm import SLURMPlugin

from bids_app.graphs.private_files import PrivateFiles

POLL_SECONDS = 2.0


class Slurm(PrivateFiles, SLURMPlugin):
    """SLURM with `--mem` and `--cpus-per-task` for each job, unless the user's `sbatch_args` specify them.

    `memory_gb`, of the arguments: the maximum requested by all jobs together; None leaves it to SLURM.
    """

    def __init__(self, plugin_args: dict[str, Any]) -> None:
        super().__init__(plugin_args=plugin_args)
        self._memory_gb = plugin_args["memory_gb"]
        self._job_gb: dict[int, float] = {}
        self._queue: set[str] = set()
        self._queue_time = 0.0

    def stop(self) -> None:
        """Cancel pending and running jobs, after an interrupt or at the first crash."""
        if left := [str(taskid) for taskid in self._pending if self._is_pending(taskid)]:
            subprocess.run(["scancel", *left], check=False)

    def _is_pending(self, taskid: int) -> bool:
        """Whether a job is pending or running. nipype would query SLURM about every job, ten times a second."""
        if time.monotonic() - self._queue_time > POLL_SECONDS:
            command = ["squeue", "--noheader", f"--user={os.getuid()}", "--format=%A"]
            reply = subprocess.run(command, capture_output=True, text=True, check=False)
            if reply.returncode != 0:
                return True  # SLURM is busy: queried again at the next poll
            self._queue, self._queue_time = set(reply.stdout.split()), time.monotonic()
        return str(taskid) in self._queue

    def _submit_batchtask(self, scriptfile: str, node: Node) -> int:
        self._wait_for(node.mem_gb)
        wanted = {"--mem": f"{math.ceil(1000 * node.mem_gb)}M", "--cpus-per-task": node.n_procs or 1}
        sbatch_args = " ".join(
            f"{name}={value}" for name, value in wanted.items() if name not in (self._sbatch_args or "")
        )
        node.plugin_args = {**node.plugin_args, "sbatch_args": sbatch_args}
        taskid: int = super()._submit_batchtask(scriptfile, node)
        self._job_gb[taskid] = node.mem_gb
        self._queue.add(str(taskid))
        return taskid

    def _wait_for(self, memory_gb: float) -> None:
        """Wait until a job of this memory fits beside those in SLURM; a job that never fits runs alone."""
        while self._memory_gb is not None:
            running = [
                gb for taskid, gb in self._job_gb.items() if taskid in self._pending and self._is_pending(taskid)
            ]
            if not running or sum(running) + memory_gb <= self._memory_gb:
                return
            time.sleep(POLL_SECONDS)

    def _get_result(self, taskid: int) -> dict[str, Any] | None:
        result: dict[str, Any] | None = super()._get_result(taskid)
        if result and "results file does not exist" in str(result["traceback"]):
            result["traceback"] = [
                (
                    f"MemoryError: SLURM job {taskid} ended without a result; unless it was cancelled or reached its "
                    f"time limit, it ran out of memory ({self._job_gb[taskid]:g} GB were planned). `sacct -j {taskid}` "
                    "may show more; --mem in the sbatch_args of --use-plugin provides more memory\n"
                )
            ]
        return result
