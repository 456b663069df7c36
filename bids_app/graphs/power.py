"""The nodes of --power N."""

from pathlib import Path
from typing import Any

import numpy as np
from nipype.pipeline.engine import Node, Workflow

from bids_app.bids import outputs
from bids_app.evaluation import permutation, power
from bids_app.graphs.function_node import make_node
from bids_app.graphs.memory import BRAIN_MM3, LIBRARIES_GB
from bids_app.nodes.power import simulate_studies
from bids_app.planning.group import Analysis
from bids_app.planning.permutations import exchangeable_labels, first_repeat
from bids_app.planning.power import LABELLINGS, STUDIES_PER_NODE, class_counts, linear_cells_by_map
from bids_app.settings import Settings
from bids_app.training import seeds

COPIES = 6  # of the people's values in float32, at the peak


def connect_power(
    graph: Workflow,
    analysis: Analysis,
    settings: Settings,
    stacks: dict[str, Node],
    placed: dict[tuple[str, str], Node],
    plan: dict[str, Any],
    work: Path,
) -> int:
    """Add the nodes, CHUNK simulated studies each; returns how many. placed: atlases by grid and name."""
    count = settings.group.power
    if count is None:
        return 0
    _write_power_labellings(analysis, settings, work)
    made = 0
    for name, cells in linear_cells_by_map(analysis):
        atlas = analysis.grids[name], analysis.atlases[name][0]
        values = len(analysis.used) * BRAIN_MM3 / analysis.resolutions[name] ** 3
        for first in range(0, count, STUDIES_PER_NODE):
            simulated = make_node(
                f"power_{outputs.label(name)}_{first}",
                simulate_studies,
                mem_gb=LIBRARIES_GB + COPIES * values * 4e-9,
                connected=("array", "atlas"),
                map_name=name,
                cells=[cell.classifier for cell in cells],
                splits=[vars(split) for split in first_repeat(analysis)],
                studies=[first, min(first + STUDIES_PER_NODE, count)],
                sizes=power.effect_sizes(class_counts(analysis)),
                plan=plan,
            )
            graph.connect(
                [(stacks[name], simulated, [("out", "array")]), (placed[atlas], simulated, [("out", "atlas")])]
            )
            made += 1
    return made


def _write_power_labellings(analysis: Analysis, settings: Settings, work: Path) -> None:
    """Who is planted in, (studies, people): the classes exchanged as in permutations, by a seed of its own."""
    exchanged = exchangeable_labels(analysis, settings)
    seed = seeds.derive(settings.compute.random_seed, "power")
    np.save(work / LABELLINGS, permutation.shuffle_labels(*exchanged, count=settings.group.power or 0, seed=seed))
