"""The nodes of the permutations."""

import numpy as np
from nipype.pipeline.engine import Node, Workflow

from bids_app.evaluation import permutation
from bids_app.graphs.function_node import make_node
from bids_app.graphs.ica import MapSources
from bids_app.nodes.permutations import score_linear, score_network
from bids_app.planning.group import GroupPlan, ModelSpec
from bids_app.planning.group_records import TrainingPlan, to_rows
from bids_app.planning.permutations import count_labellings, exchangeable_labels, first_repeat, is_linear
from bids_app.planning.work_dir import WorkDir
from bids_app.settings import Settings


def write_labellings(analysis: GroupPlan, settings: Settings, work_dir: WorkDir) -> None:
    """Write the labellings (`WorkDir.labellings`)."""
    y, *rest = exchangeable_labels(analysis, settings)
    most = max(count_labellings(cell, settings) for cell in analysis.cells)
    labellings = permutation.shuffle_labels(y, *rest, count=most, seed=settings.compute.random_seed)
    np.save(work_dir.labellings, np.concatenate([y[None].astype(labellings.dtype), labellings]))


def connect_permutations(
    graph: Workflow,
    cell: ModelSpec,
    analysis: GroupPlan,
    sources: MapSources,
    trained: list[Node],
    plan: TrainingPlan,
    most: int,
) -> None:
    """Add the nodes of one cell: one after the folds of a linear model, one for each permutation of a network."""
    safe = trained[0].name.partition("_repeat_")[0].removeprefix("train_")
    inputs = {"cell": cell.name, "classifier": cell.classifier, "plan": plan}
    splits = [to_rows(split) for split in first_repeat(analysis)]
    if most and is_linear(cell):
        names = tuple(f"fold_{split['fold']}" for split in splits)
        node = make_node(f"null_{safe}", score_linear, mem_gb=1, connected=names, splits=splits, most=most, **inputs)
        for name, train in zip(names, trained, strict=False):
            graph.connect([(train, node, [("out", name)])])
        return
    for number in range(1, most + 1):
        node = make_node(
            f"null_{safe}_{number}",
            score_network,
            mem_gb=trained[0]._mem_gb,
            n_procs=plan["threads"],
            connected=sources.inputs(cell.maps, first_repeat(analysis)),
            maps=list(cell.maps),
            splits=splits,
            number=number,
            **inputs,
        )
        sources.connect(graph, node, cell.maps, first_repeat(analysis))
