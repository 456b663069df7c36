"""The nodes of --power N."""

import numpy as np
from nipype.pipeline.engine import Node, Workflow

from bids_app.bids import outputs
from bids_app.evaluation import permutation, power
from bids_app.graphs.function_node import make_node
from bids_app.graphs.memory import BRAIN_MM3, LIBRARIES_GB
from bids_app.nodes.power import simulate_studies
from bids_app.planning.group import GroupPlan
from bids_app.planning.group_records import TrainingPlan, to_rows
from bids_app.planning.permutations import exchangeable_labels, first_repeat
from bids_app.planning.power import STUDIES_PER_NODE, class_counts, linear_cells_by_map
from bids_app.planning.work_dir import WorkDir
from bids_app.settings import Settings
from bids_app.training import seeds

COPIES = 6  # of the participants' values in float32, at the peak


def connect_power(
    graph: Workflow,
    analysis: GroupPlan,
    settings: Settings,
    stacks: dict[str, Node],
    atlas_nodes: dict[tuple[str, str], Node],
    plan: TrainingPlan,
    work_dir: WorkDir,
) -> int:
    """Add the nodes, STUDIES_PER_NODE simulated studies each; returns their number. atlas_nodes: by grid and atlas."""
    count = settings.group.power
    if count is None:
        return 0
    _write_power_labellings(analysis, settings, work_dir)
    n_nodes = 0
    for name, cells in linear_cells_by_map(analysis):
        atlas = analysis.grids[name], analysis.atlases[name][0]
        values = len(analysis.used) * BRAIN_MM3 / analysis.resolutions[name] ** 3
        for first in range(0, count, STUDIES_PER_NODE):
            node = make_node(
                f"power_{outputs.label(name)}_{first}",
                simulate_studies,
                mem_gb=LIBRARIES_GB + COPIES * values * 4e-9,
                connected=("array", "atlas"),
                map_name=name,
                cells=[cell.classifier for cell in cells],
                splits=[to_rows(split) for split in first_repeat(analysis)],
                studies=[first, min(first + STUDIES_PER_NODE, count)],
                sizes=power.effect_sizes(class_counts(analysis)),
                plan=plan,
            )
            graph.connect([(stacks[name], node, [("out", "array")]), (atlas_nodes[atlas], node, [("out", "atlas")])])
            n_nodes += 1
    return n_nodes


def _write_power_labellings(analysis: GroupPlan, settings: Settings, work_dir: WorkDir) -> None:
    """Write which samples get the simulated effect, (studies, samples): classes permuted with a separate seed."""
    exchanged = exchangeable_labels(analysis, settings)
    seed = seeds.derive(settings.compute.random_seed, "power")
    np.save(
        work_dir.power_labellings, permutation.shuffle_labels(*exchanged, count=settings.group.power or 0, seed=seed)
    )
