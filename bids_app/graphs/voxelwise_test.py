"""The nodes of the voxelwise test."""

import numpy as np
from nipype.pipeline.engine import Node, Workflow

from bids_app.graphs.function_node import make_node
from bids_app.graphs.memory import BRAIN_MM3
from bids_app.nodes.voxelwise_test import permute_contrast
from bids_app.planning.group import GroupPlan
from bids_app.planning.voxelwise_test import contrast_label, count_voxelwise_nodes, list_contrasts
from bids_app.planning.work_dir import WorkDir
from bids_app.settings import Settings
from bids_app.training import seeds

COPIES = 8  # of the participants' values in float64, at the peak


def connect_voxelwise_test(
    graph: Workflow, analysis: GroupPlan, settings: Settings, stacks: dict[str, Node], work_dir: WorkDir
) -> int:
    """Add a node for every PERMUTATIONS_PER_NODE permutations of each contrast; returns how many nodes."""
    count = settings.group.voxelwise_test
    sizes = [len(part) for part in np.array_split(np.arange(count), count_voxelwise_nodes(count))] if count else []
    for name, explained in list_contrasts(analysis):
        values = len(analysis.used) * BRAIN_MM3 / analysis.resolutions[name] ** 3
        for number, size in enumerate(sizes, start=1):
            node = make_node(
                f"voxelwise_{contrast_label(name, explained)}_{number}",
                permute_contrast,
                mem_gb=0.5 + COPIES * values * 8e-9,
                connected=("array",),
                map_name=name,
                explained=explained,
                classes=list(analysis.classes),
                columns=list(analysis.adjust[name]),
                permutations=size,
                seed=seeds.derive(settings.compute.random_seed, "voxelwise", number),  # the same for all comparisons
                number=number,
                work=str(work_dir.path),
            )
            graph.connect([(stacks[name], node, [("out", "array")])])
    return len(sizes) * len(list(list_contrasts(analysis)))
