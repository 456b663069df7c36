"""ICA within folds: a node a fold to fit it, one to look at all fits, one a fold for everybody's dual regression.

Beside the folds there is one ICA of everybody. Its maps are what is known of people as a whole (copies, group means);
no prediction rests on it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from nipype.pipeline.engine import Node, Workflow

from bids_app.dataset import ica
from bids_app.dataset.folds import Split
from bids_app.dataset.grid import Grid
from bids_app.nodes.ica import EVERYBODY, FITTED, FOLDER, TOLD
from bids_app.planning.group import Analysis
from bids_app.planning.ica import key
from bids_app.preprocess.conform import plain
from bids_app.report import ica as report
from bids_app.settings import Settings
from bids_app.training import seeds
from bids_app.workflow import needs
from bids_app.workflow.call import node

Files = dict[str, Any]
STEPS = "bids_app.nodes.ica"


@dataclass(frozen=True)
class Arrays:
    """Where nodes of cells take maps from: `stacks` by map, of everybody; `fitted` by place of a fold."""

    stacks: dict[str, Node]
    fitted: dict[str, Node]
    maps: tuple[str, ...]

    def inputs(self, maps: Sequence[str], splits: Sequence[Split]) -> tuple[str, ...]:
        """The inputs of a node that gets these maps in these folds."""
        plain = tuple(f"array_{name}" for name in maps if name not in self.maps)
        return plain + tuple(f"fitted_{key(split)}" for split in splits if set(maps) & set(self.maps))

    def connect(
        self, graph: Workflow, cell_node: Node, maps: Sequence[str], splits: Sequence[Split], within: str = ""
    ) -> None:
        """Connect them: a map that is fitted comes from its fold alone; `within` names the outer fold of inner ones."""
        for name in self.inputs(maps, splits):
            kind, _, which = name.partition("_")
            source = self.stacks[which] if kind == "array" else self.fitted[within + which]
            graph.connect([(source, cell_node, [("out", name)])])


def places(splits: Sequence[Split], inner: dict[str, list[Split]]) -> dict[str, list[int]]:
    """Whom each ICA but everybody's is fitted on: rows by the place of the fold."""
    found = {key(split): list(split.train) for split in splits}
    return found | {outer + key(one): list(one.train) for outer, its in inner.items() for one in its}


def connect(
    graph: Workflow,
    analysis: Analysis,
    settings: Settings,
    grids: dict[str, Node],
    stacks: dict[str, Node],
    regions: dict[str, Node],
    inner: dict[str, list[Split]],
    work: Path,
) -> Arrays:
    """Add the nodes of fitted maps, if there are any, to those of `stacks`; `inner`: inner folds, by `within`.

    regions: the placed atlas over which a classifier takes means, by map.
    """
    plan = analysis.ica
    if plan is None:
        return Arrays(stacks, {}, ())
    voxels = needs.BRAIN_MM3 / analysis.resolutions[plan.maps[0]] ** 3
    series = node(
        "ica_series",
        f"{STEPS}:gather",
        mem_gb=1 + 2 * plan.gb,
        connected=("template", "parcellation"),
        maps=list(plan.maps),
        files=[[str(path) for path in paths] for paths in analysis.used[plan.maps[0]]],
        network_file=str(Path(plan.file).absolute()),
        sha256=plan.sha256,
        work=str(work),
    )
    graph.connect([(grids[analysis.grids[plan.maps[0]]], series, [("out", "template")])])
    if plan.maps[0] in regions:
        graph.connect([(regions[plan.maps[0]], series, [("out", "parcellation")])])
    rows = {EVERYBODY: list(range(len(analysis.used))), **places(analysis.splits, inner)}
    fits = {place: _fit(place, train, analysis, settings, voxels, work) for place, train in rows.items()}
    names = tuple(f"fit_{place}" for place in fits)
    looked = node("ica_check", f"{STEPS}:check", mem_gb=0.5, connected=names, plan=_stated(analysis), work=str(work))
    fitted = {}
    for place, one in fits.items():
        graph.connect([(series, one, [("out", "series")]), (one, looked, [("out", f"fit_{place}")])])
        fitted[place] = node(
            f"ica_maps_{place}",
            f"{STEPS}:transform",
            mem_gb=1.5 + 3 * plan.gb,
            connected=("series", "fitted", "numbers"),
            plan=_stated(analysis),
        )
        graph.connect([(series, fitted[place], [("out", "series")]), (one, fitted[place], [("out", "fitted")])])
        graph.connect([(looked, fitted[place], [("out", "numbers")])])
    own = {}
    for name in plan.maps:
        own[name] = node(f"stack_{name.replace('-', '')}", f"{STEPS}:of_everybody", mem_gb=0.5,
                            connected=("folder",), map_name=name, work=str(work))  # fmt: skip
        graph.connect([(fitted[EVERYBODY], own[name], [("out", "folder")])])
    return Arrays(stacks | own, fitted, plan.maps)


def _fit(place: str, rows: list[int], analysis: Analysis, settings: Settings, voxels: float, work: Path) -> Node:
    plan = analysis.ica
    runs = sum(len(analysis.used[plan.maps[0]][row]) for row in rows)
    table = plan.components * voxels * 1e-9
    return node(
        f"ica_fit_{place}",
        f"{STEPS}:fit",
        mem_gb=1.5 + 6 * plan.gb + table * (3 * 4 * runs + 10 * 8),
        n_procs=settings.compute.omp_nthreads,
        connected=("series",),
        rows=rows,
        components=plan.components,
        seed=seeds.derive(settings.compute.random_seed, "ica", place),
        work=str(work),
    )


def _stated(analysis: Analysis) -> Files:
    plan = analysis.ica
    return {
        "maps": list(plan.maps),
        "networks": list(plan.networks),
        "smoothing": {name: analysis.smoothing[name] for name in plan.maps},
        "forms": {name: analysis.forms[name] for name in plan.maps},
    }


def words(analysis: Analysis) -> str | None:
    """How the maps were made; None without ICA."""
    plan = analysis.ica
    if plan is None:
        return None
    fixed = {"smoothing_mm": ica.FWHM_MM, "least_r": ica.LEAST_R}
    return report.words(components=plan.components, networks=plan.file.name, **fixed)


def matched(analysis: Analysis, work: Path) -> list[report.Matched]:
    """Each map's component in the first fold beside its reference; nothing without ICA."""
    plan, first = analysis.ica, analysis.splits[0]
    if plan is None:
        return []
    told = pd.DataFrame(json.loads((work / FOLDER / TOLD).read_text())).set_index(["place", "network"])
    grid = Grid.read(work / f"grid_{plan.maps[0]}.npz")
    references = np.load(work / f"networks-{plan.sha256[:32]}.npy")
    found = []
    for name in plan.maps:
        network = name.partition("-")[2]
        with np.load(work / FOLDER / told.loc[(key(first), network), "folder"] / FITTED) as fitted:
            number = plan.networks.index(network)
            own = fitted["components"][fitted["component"][number]]
        images = (plain(grid.volume(values), grid.affine) for values in (own, references[:, number]))
        found.append(report.Matched(network, f"repeat {first.repeat}, fold {first.fold}", *images))
    return found


def table(analysis: Analysis, work: Path) -> pd.DataFrame | None:
    """repeat, fold, network, component (from 1), r and unconverged (of ten starts) by fold; None without ICA."""
    if analysis.ica is None:
        return None
    rows = pd.DataFrame(json.loads((work / FOLDER / TOLD).read_text())).set_index("place")
    parts = [
        rows.loc[[key(split)]].assign(repeat=split.repeat, fold=split.fold)[
            ["repeat", "fold", "network", "component", "r", "unconverged"]
        ]
        for split in analysis.splits
    ]
    return pd.concat(parts, ignore_index=True)
