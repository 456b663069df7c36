"""The CPU time of the process that starts nodes, beside nipype's own loop: trivial nodes, three per participant."""

import itertools
import os
import time
from pathlib import Path

import pytest
from nipype.pipeline.engine import Workflow
from nipype.pipeline.plugins.multiproc import MultiProcPlugin

from bids_app.graphs.function_node import make_node
from bids_app.graphs.multiproc import OneProcessEach, make_plugin

pytestmark = pytest.mark.slow
STEPS = 3


def idle(*, seconds: float, before: str) -> str:
    """A node that only waits."""
    time.sleep(seconds)
    return before


def whole(folder: Path, participants: int, seconds: float) -> Workflow:
    """A chain of `STEPS` nodes per participant, and one node that waits for all of them."""
    graph = Workflow("whole", base_dir=str(folder))
    for number in range(participants):
        part = Workflow(f"sub_{number:05}")
        nodes = [make_node("step_0", idle, mem_gb=0.1, seconds=seconds, before="")]
        nodes += [
            make_node(f"step_{step}", idle, mem_gb=0.1, connected=("before",), seconds=seconds)
            for step in range(1, STEPS)
        ]
        part.add_nodes(nodes)
        for one, other in itertools.pairwise(nodes):
            part.connect(one, "out", other, "before")
        graph.add_nodes([part])
    return graph


class PolledByNipype(OneProcessEach):
    """The same workers, under nipype's loop."""

    run = MultiProcPlugin.run


def cost(folder: Path, participants: int, plugin: type[OneProcessEach], seconds: float) -> dict[str, float]:
    """CPU and wall seconds of this process for a graph of so many participants."""
    built = time.process_time()
    graph = whole(folder, participants, seconds)
    graph.config["execution"] |= {"poll_sleep_duration": "0.1", "create_report": "false", "check_version": "false"}
    built = time.process_time() - built
    runner = make_plugin(nprocs=2, mem_mb=None, preload=[])
    runner.__class__ = plugin
    runner._status_callback = lambda *_: None
    start, wall = time.process_time(), time.monotonic()
    graph.run(plugin=runner)
    result = {"build": built, "cpu": time.process_time() - start, "wall": time.monotonic() - wall}
    runner.stop()
    return result


@pytest.mark.parametrize("participants", [int(word) for word in os.environ.get("PARTICIPANTS", "24").split()])
def test_starting_nodes_takes_less_of_a_core_than_nipypes_own_loop(tmp_path, participants):
    loops = {"ours": OneProcessEach, "nipype": PolledByNipype}
    seconds = {name: cost(tmp_path / name, participants, loop, 0.2) for name, loop in loops.items()}
    for name, parts in seconds.items():
        shown = ", ".join(f"{part} {value:.1f} s" for part, value in parts.items())
        print(f"\n{participants} participants, {name}: {shown}, {parts['cpu'] / parts['wall']:.1%} of a core")
    assert seconds["ours"]["cpu"] < seconds["nipype"]["cpu"] / 2
