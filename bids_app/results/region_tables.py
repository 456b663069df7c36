"""The table of a mean heatmap by the regions of an atlas, with ranks in participants and folds."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import pandas as pd

from bids_app.dataset.grid import Grid
from bids_app.regions import tables
from bids_app.training.results import MeanHeatmap

SMALL_GROUP_COLUMNS = (
    "mean_right",
    "mean_wrong",
    "fold_rank_best",
    "fold_rank_worst",
)  # of fewer participants than the class


def tabulate_regions(
    mean: MeanHeatmap,
    people: Iterable[tuple[int, np.ndarray]] | None,
    labels: np.ndarray,
    about: dict[str, Any],
    grid: Grid,
    *,
    p_size: np.ndarray,
    resolution_mm: float,
) -> tuple[pd.DataFrame, np.ndarray]:
    """The columns of `regions.tables.tabulate_regions` and more; and the region means of folds (folds, regions).

    people: the maps (voxels,) that the mean is of, each with the number of its fold; None for maps of the model itself.
    labels (X, Y, Z), named in `about`.
    p_size: by label, as strong as patches of its size (`size_matched_p`); below_resolution: whether a region is
    smaller than a cube of the resolution; fold_rank_best and fold_rank_worst: its rank in the maps of single folds;
    person_rank: the median of its ranks within each participant's map; person_maximum: the maximum (of magnitudes when
    both signs count) of each participant's map, the mean over a fold's participants, then over folds (Rafsani et al.
    2025); rank_by_person_maximum; mean_right and mean_wrong: the means over correctly and incorrectly
    classified participants.
    """
    names = {int(number): text for number, text in about["names"].items()}
    voxel_ml = float(np.prod(grid.voxel_mm)) / 1000
    volume = grid.volume(mean.values)
    sign: Literal["both", "positive"] = "both" if mean.sign == "both" else "positive"
    frame = tables.tabulate_regions(volume, labels, names, grid.mask, sign=sign, voxel_ml=voxel_ml)
    known, inside, both = frame["index"] > 0, grid.vector(labels), mean.sign == "both"
    index = frame.loc[known, "index"].to_numpy()
    of_folds = tables.region_means(mean.folds, inside, index)
    ranks = tables.rank_regions(of_folds, both=both)
    more = {
        "p_size": p_size[index],
        "below_resolution": (frame.loc[known, "volume_ml"] * 1000 < resolution_mm**3).to_numpy(),
        "fold_rank_best": ranks.min(axis=0),
        "fold_rank_worst": ranks.max(axis=0),
    }
    if people is not None:
        more |= _participant_columns(people, inside, index, both=both)
    for name, values in (("mean_right", mean.right), ("mean_wrong", mean.wrong)):
        if values is not None:
            more[name] = tables.region_means([values], inside, index)[0]
    return frame.join(pd.DataFrame(more, index=frame.index[known])), of_folds


def _participant_columns(
    people: Iterable[tuple[int, np.ndarray]], inside: np.ndarray, index: np.ndarray, *, both: bool
) -> dict[str, np.ndarray]:
    """Columns from each participant's map, read one at a time; inside: labels (voxels,)."""
    largest = tables.make_region_maximum(inside, index, both=both)
    means, maxima = [], defaultdict(list)
    for fold, values in people:
        means.append(tables.region_means([values], inside, index)[0])
        maxima[fold].append(largest(values))
    maximum = np.mean([np.mean(rows, axis=0, dtype=np.float64) for rows in maxima.values()], axis=0)
    return {
        "person_rank": np.median(tables.rank_regions(np.stack(means), both=both), axis=0),
        "person_maximum": maximum,
        "rank_by_person_maximum": tables.rank_regions(maximum[None], both=False)[0],
    }
