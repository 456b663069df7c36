"""The table of --power N, from what its nodes left."""

from pathlib import Path

import numpy as np
import pandas as pd

from bids_app.evaluation import power
from bids_app.planning.group import Analysis
from bids_app.planning.permutations import is_linear
from bids_app.planning.power import FOLDER, STUDIES_PER_NODE, class_counts, linear_cells_by_map
from bids_app.settings import Settings


def power_table(analysis: Analysis, settings: Settings, work: Path) -> pd.DataFrame | None:
    """The rows of `power.table` of every map; None without --power."""
    count = settings.group.power or 0
    if not count:
        return None
    linear = [cell for cell in analysis.cells if is_linear(cell)]
    least = power.critical_accuracy([np.load(work / "nulls" / cell.name / "all.npy")[1:] for cell in linear])
    parts = []
    for name, cells in linear_cells_by_map(analysis):
        loaded = [np.load(work / FOLDER / name / f"{first}.npz") for first in range(0, count, STUDIES_PER_NODE)]
        scores, percent = (np.concatenate([one[key] for one in loaded]) for key in ("scores", "percent"))
        names = [cell.name for cell in cells]
        planted = power.effect_sizes(class_counts(analysis))
        seed = settings.compute.random_seed
        parts.append(power.tabulate_power(name, names, scores, percent, planted, least, seed=seed))
    return pd.concat(parts, ignore_index=True)
