"""Which nodes of a graph may start: those whose last predecessor has finished, in the order of their participants."""

from bisect import insort
from collections.abc import Callable
from typing import Any

from networkx import DiGraph, descendants, topological_sort


class Schedule:
    """The nodes of a graph that are ready, updated as nodes finish; the graph is searched once."""

    def __init__(self, graph: DiGraph) -> None:
        self._graph = graph
        self._predecessors = dict(graph.in_degree())
        # All nodes of a workflow (a participant, a fold) come before those of the next, so that it is completed first.
        self._rank = {
            node: (node.fullname.rpartition(".")[0], place) for place, node in enumerate(topological_sort(graph))
        }
        self._ready: list[Any] = []
        for node, count in self._predecessors.items():
            if count == 0:
                self._add(node)

    def take(self, fits: Callable[[Any], bool]) -> Any:
        """Remove and return the first ready node that `fits`; None without one."""
        for place, node in enumerate(self._ready):
            if fits(node):
                return self._ready.pop(place)
        return None

    def finish(self, node: Any) -> None:
        """Make those of its successors ready that waited for this node alone."""
        for successor in self._graph.successors(node):
            self._predecessors[successor] -= 1
            if self._predecessors[successor] == 0:
                self._add(successor)

    def fail(self, node: Any) -> list[Any]:
        """The node and all that depend on it; none of them becomes ready."""
        return [node, *descendants(self._graph, node)]

    def _add(self, node: Any) -> None:
        insort(self._ready, node, key=self._rank.__getitem__)
