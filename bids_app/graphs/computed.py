"""What a graph would have to compute, since the work folder lacks it: for --reports-only, which computes nothing."""

from typing import Any

from networkx import DiGraph, topological_sort
from nipype.pipeline.engine import Node, Workflow

from bids_app.errors import MissingInputError
from bids_app.graphs.run import configure_graph
from bids_app.planning.reports_only import REMEDY
from bids_app.settings import Settings

REPORT_NODES = ("finish", "page_")  # beginnings of the names of nodes that only write reports


class CacheCheck:
    """A plugin of nipype that runs no node: it lists those whose results are missing or were computed otherwise."""

    def __init__(self) -> None:
        self.plugin_args: dict[str, Any] = {}
        self.missing: list[Node] = []

    def run(self, graph: DiGraph, **_: Any) -> None:
        """Check each node after those it depends on."""
        for node in topological_sort(graph):
            if node.name.startswith(REPORT_NODES):
                continue
            if any(source in self.missing for source in graph.predecessors(node)) or node.is_cached() != (True, True):
                self.missing.append(node)


def list_missing(graph: Workflow, settings: Settings) -> list[str]:
    """The full names of the nodes that would be computed."""
    configure_graph(graph, settings)
    check = CacheCheck()
    graph.run(plugin=check)
    return [node.fullname for node in check.missing]


def check_computed(graph: Workflow, settings: Settings, what: str) -> None:
    """With --reports-only, raise MissingInputError if anything of the graph would be computed."""
    if settings.other.reports_only and (missing := list_missing(graph, settings)):
        raise MissingInputError(
            f"--reports-only: {what} has not been computed with these settings and maps, or its work folder was "
            f"removed ({len(missing)} steps are missing): {REMEDY}"
        )
