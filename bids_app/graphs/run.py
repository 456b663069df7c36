"""Runs a graph with a plugin, and determines why nodes failed."""

import itertools
import logging
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nipype import config
from nipype import logging as nipype_logging
from nipype.pipeline.engine import Node, Workflow
from tqdm import tqdm

from bids_app import environment, run_log
from bids_app.bids import outputs
from bids_app.errors import UsageError
from bids_app.graphs.function_node import describe_resources
from bids_app.graphs.multiproc import OneProcessEach, make_plugin, memory_gb
from bids_app.graphs.private_files import PrivateFiles
from bids_app.graphs.slurm import Slurm
from bids_app.nodes.cache import cached_folder
from bids_app.settings import Settings, read_plugin

log = logging.getLogger("pellucid")
ERROR_LINE = re.compile(r"^\s*(?:\w+\.)*(\w*(?:Error|Exception|Interrupt)): (.+)$", flags=re.MULTILINE)
# of every node and of the graph: nobody reads them, and they have the environment and the host of whoever ran it
NO_REPORTS = {"create_report": "false", "write_provenance": "false"}


def set_crash_folder(part: Workflow | Node, folder: Path) -> None:
    """Send the crash files of these nodes to `folder`, as text, and remove those of an earlier run.

    Workers know a node's own configuration only: what affects its hash has to be here, or it is computed twice.
    """
    for old in folder.glob("crash-*"):
        old.unlink(missing_ok=True)  # a run of other participants may do so at the same time
    for node in [part] if isinstance(part, Node) else part._get_all_nodes():
        node.config = {
            "execution": {
                "crashdump_dir": str(folder),
                "crashfile_format": "txt",
                "remove_unnecessary_outputs": False,
                **NO_REPORTS,
            }
        }


def run_graph(
    graph: Workflow, settings: Settings, *, last: tuple[str, ...], total: int, what: str, preload: list[str]
) -> int:
    """Run the graph; a bar counts the nodes whose names begin with one of `last`. Failed nodes leave crash files.

    Returns how many nodes were computed now rather than in an earlier run.
    """
    run_log.open_files()
    configure_graph(graph, settings)
    if settings.other.write_graph:  # `dot` is written without graphviz; rendering is left to the user
        graph.write_graph(dotfilename=str(settings.work_dir / f"{graph.name}.dot"), graph2use="orig", format="dot")
    copy_compiled_kernels(settings.work_dir)
    computed: list[str] = []
    with tqdm(total=total, desc=what, unit="", disable=None, leave=False) as bar:
        runner = _build_plugin(settings, _follow_nodes(bar, last, what, total, settings, computed), preload)
        runner.keep_private(settings)
        try:
            graph.run(plugin=runner)
        except RuntimeError as error:  # raised by nipype at the end if nodes failed; their crash files say why
            log.debug("%s", str(error).strip().rpartition("\n")[2].strip())
        finally:
            if isinstance(runner, OneProcessEach | Slurm):
                runner.stop()
            for place in (settings.output_dir, settings.work_dir):
                outputs.sweep(place)
    return len(computed)


def configure_graph(graph: Workflow, settings: Settings) -> None:
    """Set how nipype runs a graph, and leave out its own messages unless -vv asks for them."""
    config.update_config({"logging": dict.fromkeys(("workflow_level", "interface_level", "utils_level"), "CRITICAL")})
    if settings.other.verbose < 2:
        nipype_logging.update_logging(config)
    # The graph has a copy of nipype's configuration from when it was made, and its plugin reads that.
    graph.config["execution"] |= {
        "stop_on_first_crash": str(settings.compute.stop_on_first_crash).lower(),
        "crashfile_format": "txt",
        "crashdump_dir": str(settings.work_dir / "log"),
        "remove_unnecessary_outputs": "false",
        **NO_REPORTS,
        "poll_sleep_duration": "0.1",
        "check_version": "false",
    }


def copy_compiled_kernels(work: Path) -> None:
    """Copy the kernels that numba compiled when the image was built to a writable cache."""
    if compiled := os.environ.get(environment.COMPILED):
        cached_folder(str(work), "numba", lambda to: shutil.copytree(compiled, to, dirs_exist_ok=True))


def failure_reason(*folders: Path) -> str:
    """The error in the newest crash file of the first folder that has one, in one line, with the file's name."""
    files_by_folder = [sorted(folder.glob("crash-*"), key=lambda file: file.stat().st_mtime) for folder in folders]
    files = next((files for files in files_by_folder if files), [])
    if not files:
        return "it was not computed, and there is no crash file"
    errors = ERROR_LINE.findall(files[-1].read_text(errors="replace"))
    kind, message = errors[-1] if errors else ("Error", "see the file")
    text = message if kind in ("DataError", "MissingInputError", "MemoryError") else f"{kind}: {message}"
    return f"{text.strip()} [log/{files[-1].name}]"


def _follow_nodes(
    bar: tqdm, last: tuple[str, ...], what: str, total: int, settings: Settings, computed: list[str]
) -> Callable[[Any, str], None]:
    """Called by nipype when a node starts and ends: logs its duration, counts the last nodes, states the time left.

    The name of each node that has run is added to `computed`.
    """
    since = " after it was submitted" if settings.compute.use_plugin else ""
    starts: dict[str, float] = {}
    ended = itertools.count(1)
    begun = time.monotonic()

    def follow(node: Any, status: str) -> None:
        context = run_log.node_context(node.fullname)
        start = starts.pop(node.fullname, None)
        if status == "start":
            starts[node.fullname] = time.monotonic()
            log.debug("started", extra=context)
            bar.set_postfix_str(f"{context['participant']} {context['step']}".removeprefix(f"{run_log.NOBODY} "))
            if node.name.startswith("templates_"):
                log.info("preparing the template and its tissue priors, once for all participants", extra=context)
        elif start is None:
            log.debug("already computed" if status == "end" else "failed", extra=context)
        else:
            computed.append(node.fullname)
            outcome = "done" if status == "end" else "failed"
            log.debug("%s, %.1f s%s", outcome, time.monotonic() - start, since, extra=context)
            if status == "end" and settings.other.resource_monitor:
                log.debug("%s", describe_resources(node), extra=context)
        if status == "end" and node.name.startswith(last):
            bar.update()
            count = next(ended)
            left = (total - count) * (time.monotonic() - begun) / count
            estimate = f", about {format_duration(left)} left" if left else ""
            log.info("%s: %d of %d%s", what, count, total, estimate, extra=context)

    return follow


def format_duration(seconds: float) -> str:
    """A duration in its largest unit: 45 s, 12 min, 3 h."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _build_plugin(settings: Settings, callback: Callable[[Any, str], None], preload: list[str]) -> Any:
    file = settings.compute.use_plugin
    if file is None:
        plugin = make_plugin(nprocs=settings.compute.nprocs, mem_mb=settings.compute.mem_mb, preload=preload)
        plugin._status_callback = callback
        return plugin
    name, plugin_arguments = read_plugin(file)
    arguments = {**plugin_arguments, "status_callback": callback}
    if name == "SLURM":
        return Slurm({**arguments, "memory_gb": memory_gb(settings.compute)})
    module = __import__("nipype.pipeline.plugins", fromlist=[name])
    if not hasattr(module, f"{name}Plugin"):
        raise UsageError(f"--use-plugin {file.name}: nipype has no plugin {name}")
    private = type(f"Private{name}Plugin", (PrivateFiles, getattr(module, f"{name}Plugin")), {})
    try:
        return private(plugin_args=arguments)
    except Exception as error:  # whatever nipype's plugin does with arguments of a wrong type
        raise UsageError(f"--use-plugin {file.name}: {name} does not accept its plugin_args: {error}") from error
