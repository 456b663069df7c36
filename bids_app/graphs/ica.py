"""ICA within folds: one node per fold to fit it, one to check all fits, one per fold for dual regression.

In addition there is one ICA of all participants. Its maps are used for analyses of all participants (duplicates, group
means), never for predictions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nipype.pipeline.engine import Node, Workflow

from bids_app.dataset.folds import Split
from bids_app.graphs.function_node import make_node
from bids_app.graphs.memory import BRAIN_MM3
from bids_app.nodes.ica import (
    EVERYBODY,
    check_components,
    dual_regress,
    fit_ica,
    gather_ica_series,
    stack_from_everybody,
)
from bids_app.planning.group import GroupPlan
from bids_app.planning.group_records import ComponentPlan
from bids_app.planning.ica import IcaPlan, fold_key
from bids_app.planning.work_dir import WorkDir
from bids_app.settings import Settings
from bids_app.training import seeds


@dataclass(frozen=True)
class MapSources:
    """The nodes that provide maps: `stacks` of all participants, by map; `fitted`, by fold."""

    stacks: dict[str, Node]
    fitted: dict[str, Node]
    maps: tuple[str, ...]

    def inputs(self, maps: Sequence[str], splits: Sequence[Split]) -> tuple[str, ...]:
        """The inputs of a node that uses these maps in these folds."""
        plain = tuple(f"array_{name}" for name in maps if name not in self.maps)
        return plain + tuple(f"fitted_{fold_key(split)}" for split in splits if set(maps) & set(self.maps))

    def connect(
        self, graph: Workflow, cell_node: Node, maps: Sequence[str], splits: Sequence[Split], within: str = ""
    ) -> None:
        """Connect a node's inputs: a fitted map comes from its fold alone; within: the prefix of inner folds."""
        for name in self.inputs(maps, splits):
            kind, _, which = name.partition("_")
            source = self.stacks[which] if kind == "array" else self.fitted[within + which]
            graph.connect([(source, cell_node, [("out", name)])])


def training_rows(splits: Sequence[Split], inner: dict[str, list[Split]]) -> dict[str, list[int]]:
    """The rows to which each ICA within folds is fitted, by fold."""
    rows = {fold_key(split): list(split.train) for split in splits}
    return rows | {
        prefix + fold_key(split): list(split.train) for prefix, inner_splits in inner.items() for split in inner_splits
    }


def connect_ica(
    graph: Workflow,
    analysis: GroupPlan,
    settings: Settings,
    grids: dict[str, Node],
    stacks: dict[str, Node],
    regions: dict[str, Node],
    inner: dict[str, list[Split]],
    work_dir: WorkDir,
) -> MapSources:
    """Add the nodes of fitted maps, if any, to those of `stacks`.

    regions: the node of the atlas over whose regions a classifier averages, by map; inner: inner folds, by
    `inner_prefix`.
    """
    plan = analysis.ica
    if plan is None:
        return MapSources(stacks, {}, ())
    first = plan.maps[0]
    series = _series_node(plan, analysis, work_dir)
    graph.connect([(grids[analysis.grids[first]], series, [("out", "template")])])
    if first in regions:
        graph.connect([(regions[first], series, [("out", "parcellation")])])
    rows = {EVERYBODY: list(range(len(analysis.used))), **training_rows(analysis.splits, inner)}
    fits = {place: _fit_node(place, train, plan, analysis, settings, work_dir) for place, train in rows.items()}
    fitted = _connect_fits(graph, series, fits, plan, _component_plan(plan, analysis), work_dir)
    overall = {}
    for name in plan.maps:
        overall[name] = make_node(
            f"stack_{name.replace('-', '')}",
            stack_from_everybody,
            mem_gb=0.5,
            connected=("folder",),
            map_name=name,
            work=str(work_dir.path),
        )
        graph.connect([(fitted[EVERYBODY], overall[name], [("out", "folder")])])
    return MapSources(stacks | overall, fitted, plan.maps)


def _connect_fits(
    graph: Workflow,
    series: Node,
    fits: dict[str, Node],
    plan: IcaPlan,
    components: ComponentPlan,
    work_dir: WorkDir,
) -> dict[str, Node]:
    """Connect every fit to the check of all and to its dual regression; returns the latter by place."""
    names = tuple(f"fit_{place}" for place in fits)
    check = make_node(
        "ica_check", check_components, mem_gb=0.5, connected=names, plan=components, work=str(work_dir.path)
    )
    fitted = {}
    for place, fit in fits.items():
        graph.connect([(series, fit, [("out", "series")]), (fit, check, [("out", f"fit_{place}")])])
        fitted[place] = make_node(
            f"ica_maps_{place}",
            dual_regress,
            mem_gb=1.5 + 3 * plan.gb,
            connected=("series", "fitted", "numbers"),
            plan=components,
        )
        graph.connect([(series, fitted[place], [("out", "series")]), (fit, fitted[place], [("out", "fitted")])])
        graph.connect([(check, fitted[place], [("out", "numbers")])])
    return fitted


def _series_node(plan: IcaPlan, analysis: GroupPlan, work_dir: WorkDir) -> Node:
    return make_node(
        "ica_series",
        gather_ica_series,
        mem_gb=1 + 2 * plan.gb,
        connected=("template", "parcellation"),
        maps=list(plan.maps),
        files=[[str(path) for path in paths] for paths in analysis.used[plan.maps[0]]],
        network_file=str(Path(plan.file).absolute()),
        sha256=plan.sha256,
        work=str(work_dir.path),
    )


def _fit_node(
    place: str, rows: list[int], plan: IcaPlan, analysis: GroupPlan, settings: Settings, work_dir: WorkDir
) -> Node:
    voxels = BRAIN_MM3 / analysis.resolutions[plan.maps[0]] ** 3
    runs = sum(len(analysis.used[plan.maps[0]][row]) for row in rows)
    table = plan.components * voxels * 1e-9
    return make_node(
        f"ica_fit_{place}",
        fit_ica,
        mem_gb=1.5 + 6 * plan.gb + table * (3 * 4 * runs + 10 * 8),
        n_procs=settings.compute.omp_nthreads,
        connected=("series",),
        rows=rows,
        components=plan.components,
        seed=seeds.derive(settings.compute.random_seed, "ica", place),
        work=str(work_dir.path),
    )


def _component_plan(plan: IcaPlan, analysis: GroupPlan) -> ComponentPlan:
    return {
        "maps": list(plan.maps),
        "networks": list(plan.networks),
        "smoothing": {name: analysis.smoothing[name] for name in plan.maps},
        "forms": {name: analysis.forms[name] for name in plan.maps},
    }
