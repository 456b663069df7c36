"""Options of the machine, and those that change no result."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bids_app import values
from bids_app.options.declaration import declare

compute = partial(declare, topic="compute")
other = partial(declare, topic="other")


@dataclass(frozen=True)
class Compute:
    """Processors, memory, device and work folder."""

    nprocs: int = compute(
        1,
        "processes at once ({default})",
        metavar="N",
        minimum=1,
        aliases=("--nthreads", "--n-cpus"),
        common=True,
    )
    omp_nthreads: int = compute(
        1,
        "threads per process ({default}); results depend on it",
        "It is recorded, since the last digits can differ",
        metavar="N",
        minimum=1,
    )
    mem_mb: int | None = compute(
        None,
        "memory of all processes together; `32G` works too",
        (
            "A bare number under 512 is rejected. A network whose training would exceed it is reported with its "
            "requirement before any computation (exit code 65)"
        ),
        metavar="MB",
        minimum=512,
        aliases=("--mem",),
        convert=values.megabytes,
        common=True,
    )
    device: str = compute(
        "auto",
        "where networks are trained ({default})",
        metavar="auto|cpu|cuda",
        choices=("auto", "cpu", "cuda"),
    )
    use_plugin: Path | None = compute(
        None,
        "YAML file of a nipype plugin: SLURM, PBS, SGE and others",
        "As for fMRIPrep. With SLURM each job asks for the memory and threads of its step, and `--mem-mb` limits all "
        "of them together. [Clusters](clusters.md)",
        metavar="FILE",
    )
    work_dir: Path | None = compute(None, "work folder (`OUT_DIR/.work`)", metavar="DIR", aliases=("-w",), common=True)
    random_seed: int = compute(1, "seed of all random numbers ({default})", metavar="N", minimum=0)
    stop_on_first_crash: bool = compute(False, "stop as soon as one step fails")


@dataclass(frozen=True)
class Other:
    """What changes no result."""

    config_file: Path | None = other(None, "settings in TOML; the command line overrides them", metavar="FILE")
    reports_only: bool = other(
        False,
        "write reports, figures, index.html and qc.tsv again from existing results, and compute nothing",
        "Add it to the command that computed the results; it requires their work folder",
    )
    radiological: bool = other(False, "show the left of the participant on the right of pictures")
    write_graph: bool = other(False, "write the graph of steps as `.dot` into the work folder")
    resource_monitor: bool = other(
        False, "write the CPU time and the peak memory of every step into the log files in `OUT_DIR/logs`"
    )
    notrack: bool = other(False, "accepted without effect; there is no tracking")
    verbose: int = other(0, "show every step on the screen; `-vv` also nipype's own messages", aliases=("-v",))
