"""The nodes of the permutations."""

from pathlib import Path
from typing import Any

import numpy as np
from nipype.pipeline.engine import Node, Workflow

from bids_app.evaluation import permutation
from bids_app.graphs.function_node import make_node
from bids_app.graphs.ica import MapSources
from bids_app.nodes.permutations import score_linear, score_network
from bids_app.planning.group import Analysis, Cell
from bids_app.planning.permutations import LABELLINGS, count_labellings, exchangeable_labels, first_repeat, is_linear
from bids_app.settings import Settings

Files = dict[str, Any]


def write_labellings(analysis: Analysis, settings: Settings, work: Path) -> None:
    """Codes of classes (1 + labellings, people), the true ones first."""
    y, *rest = exchangeable_labels(analysis, settings)
    most = max(count_labellings(cell, settings) for cell in analysis.cells)
    drawn = permutation.shuffle_labels(y, *rest, count=most, seed=settings.compute.random_seed)
    np.save(work / LABELLINGS, np.concatenate([y[None].astype(drawn.dtype), drawn]))


def connect_permutations(
    graph: Workflow,
    cell: Cell,
    analysis: Analysis,
    sources: MapSources,
    trained: list[Node],
    plan: Files,
    most: int,
) -> None:
    """Add the nodes of one cell: a linear one's follows its folds, a network's are trainings of their own."""
    safe = trained[0].name.partition("_repeat_")[0].removeprefix("train_")
    told = {"cell": cell.name, "classifier": cell.classifier, "plan": plan}
    splits = [vars(split) for split in first_repeat(analysis)]
    if most and is_linear(cell):
        names = tuple(f"fold_{split['fold']}" for split in splits)
        made = make_node(f"null_{safe}", score_linear, mem_gb=1, connected=names, splits=splits, most=most, **told)
        for name, each in zip(names, trained, strict=False):
            graph.connect([(each, made, [("out", name)])])
        return
    for number in range(1, most + 1):
        made = make_node(
            f"null_{safe}_{number}",
            score_network,
            mem_gb=trained[0]._mem_gb,
            n_procs=plan["threads"],
            connected=sources.inputs(cell.maps, first_repeat(analysis)),
            maps=list(cell.maps),
            splits=splits,
            number=number,
            **told,
        )
        sources.connect(graph, made, cell.maps, first_repeat(analysis))
