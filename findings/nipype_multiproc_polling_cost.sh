#!/usr/bin/env bash
# nipype 1.11.0: while one node runs and nothing else can, MultiProc's parent uses a large part of a core.
#
# One node runs for 20 s, and all others wait for it. At every poll (here 0.1 s, for which short nodes are set) the loop
# sums the sparse matrix of dependencies, which has a row and a column for each node, and collects garbage, although
# neither can have changed. It grows with the graph, and the workers lack it. A longer `poll_sleep_duration` only trades
# it for workers that wait. The plugin can be replaced by one that waits on the futures.
#
# Seen on x86-64 Linux with Python 3.11: CPU seconds of the parent in 20 s of waiting: 8.5 with
# 10 waiting nodes, 17.4 with 2000 (a busy machine).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet nipype==1.11.0 networkx==3.6.1 numpy==2.3.5 scipy==1.15.3
cd "$folder"
cat > measure.py <<'PY'
import sys
import time

import nipype
from nipype import Function, Node, Workflow, config
from nipype.pipeline.plugins import MultiProcPlugin


def wait(seconds):
    import time

    time.sleep(seconds)
    return seconds


def pause(seconds):
    return seconds


def parent_seconds(folder, nodes):
    """CPU seconds of this process while one node runs for 20 s and `nodes` others wait for it."""
    graph = Workflow("graph", base_dir=folder)
    first = Node(Function(["seconds"], ["seconds"], wait), "first")
    first.inputs.seconds = 20
    for number in range(nodes):
        graph.connect(first, "seconds", Node(Function(["seconds"], ["seconds"], pause), f"next_{number}"), "seconds")
    graph.config["execution"] = {"poll_sleep_duration": "0.1", "create_report": "false"}

    class Stop(Exception):
        pass

    class Measured(MultiProcPlugin):
        def _task_finished_cb(self, jobid, cached=False):  # the first node has ended
            raise Stop

    runner = Measured(plugin_args={"n_procs": 2})
    started = []
    runner._status_callback = lambda node, status: started.append(time.process_time())
    try:
        graph.run(plugin=runner)
    except Stop:
        return time.process_time() - started[0]


if __name__ == "__main__":
    config.update_config({"logging": {"workflow_level": "CRITICAL"}})
    small, large = (parent_seconds(f"{sys.argv[1]}/{nodes}", nodes) for nodes in (10, 2000))
    print(f"nipype {nipype.__version__}: parent with 10 waiting nodes {small:.1f} CPU s, with 2000 {large:.1f} CPU s")
    assert small > 1, small
    assert large > 1.3 * small, (small, large)
PY
NIPYPE_NO_ET=1 venv/bin/python measure.py "$folder/work"
echo "as described"
