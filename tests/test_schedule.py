"""The order in which nodes start, compared with a search of the whole graph after each node; what a start costs."""

import time
from dataclasses import dataclass

import networkx as nx
from hypothesis import given
from hypothesis import strategies as st
from nipype.pipeline.engine import Workflow
from nipype.utils.filemanip import loadpkl

from bids_app.graphs.function_node import make_node
from bids_app.graphs.multiproc import make_plugin
from bids_app.graphs.schedule import Schedule


@dataclass(frozen=True)
class Step:
    fullname: str
    gb: int = 1


def graph_of(edges, nodes):
    graph = nx.DiGraph()
    graph.add_nodes_from(nodes)
    graph.add_edges_from(edges)
    return graph


def take_all(schedule):
    return [node.fullname for node in iter(lambda: schedule.take(lambda _: True), None)]


@st.composite
def graphs(draw):
    nodes = [Step(f"whole.{draw(st.sampled_from('abc'))}.{number}") for number in range(draw(st.integers(1, 12)))]
    pairs = [(one, other) for place, one in enumerate(nodes) for other in nodes[place + 1 :]]
    return graph_of(draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else [], nodes)


@given(graphs(), st.randoms(), st.integers(0, 3))
def test_ready_nodes_are_those_whose_predecessors_have_all_finished(graph, random, failures):
    schedule, finished, lost, running = Schedule(graph), set(), set(), set()
    while True:
        while node := schedule.take(lambda _: True):
            running.add(node)
        waiting = set(graph) - finished - lost - running
        assert not {node for node in waiting if set(graph.predecessors(node)) <= finished}
        assert all(set(graph.predecessors(node)) <= finished for node in running)
        if not running:
            break
        node = random.choice(sorted(running, key=lambda node: node.fullname))
        running.discard(node)
        if failures:
            failures -= 1
            lost |= set(schedule.fail(node))
        else:
            finished.add(node)
            schedule.finish(node)
    assert finished | lost == set(graph)


def test_started_participants_are_finished_before_others_are_started():
    a, b = ([Step(f"whole.{name}.{step}") for step in ("native", "finish")] for name in "ab")
    schedule = Schedule(graph_of([b, a], [*b, *a]))
    assert schedule.take(lambda _: True) == a[0]
    schedule.finish(a[0])
    assert take_all(schedule) == ["whole.a.finish", "whole.b.native"]


def test_a_node_that_does_not_fit_lets_the_next_one_start():
    large, small = Step("whole.a.large", gb=8), Step("whole.b.small")
    schedule = Schedule(graph_of([], [large, small]))
    assert schedule.take(lambda node: node.gb < 2) == small
    assert schedule.take(lambda node: node.gb < 2) is None
    assert schedule.take(lambda _: True) == large


def test_a_worker_has_used_little_cpu_time_when_its_function_begins(tmp_path):
    graph = Workflow("clock", base_dir=str(tmp_path))
    graph.add_nodes([make_node(f"clock_{number}", time.process_time, mem_gb=0.1) for number in range(3)])
    graph.config["execution"] |= {"create_report": "false", "check_version": "false"}
    runner = make_plugin(nprocs=1, mem_mb=None, preload=[])
    runner._status_callback = lambda *_: None
    graph.run(plugin=runner)
    runner.stop()
    files = tmp_path.rglob("result_clock_*.pklz")
    assert min(loadpkl(str(file)).outputs.out for file in files) < 0.06  # 0.11 to 0.15 with modules still to import
