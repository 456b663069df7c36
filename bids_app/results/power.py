"""The table of --power N."""

import numpy as np
import pandas as pd

from bids_app.evaluation import power
from bids_app.planning.group import GroupPlan
from bids_app.planning.permutations import is_linear
from bids_app.planning.power import STUDIES_PER_NODE, class_counts, linear_cells_by_map
from bids_app.planning.work_dir import WorkDir
from bids_app.settings import Settings


def power_table(analysis: GroupPlan, settings: Settings, work_dir: WorkDir) -> pd.DataFrame | None:
    """The rows of `power.tabulate_power` for every map; None without --power."""
    count = settings.group.power or 0
    if not count:
        return None
    linear = [cell for cell in analysis.cells if is_linear(cell)]
    least = power.critical_accuracy([np.load(work_dir.null_scores(cell.name))[1:] for cell in linear])
    parts = []
    for name, cells in linear_cells_by_map(analysis):
        loaded = [np.load(work_dir.power_scores(name, first)) for first in range(0, count, STUDIES_PER_NODE)]
        scores, percent = (np.concatenate([studies[key] for studies in loaded]) for key in ("scores", "percent"))
        names = [cell.name for cell in cells]
        planted = power.effect_sizes(class_counts(analysis))
        seed = settings.compute.random_seed
        parts.append(power.tabulate_power(name, names, scores, percent, planted, least, seed=seed))
    return pd.concat(parts, ignore_index=True)
