"""What the nodes of an analysis left -> tables, and mean maps with their regions."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from bids_app.dataset.grid import Grid
from bids_app.errors import UsageError
from bids_app.planning.group import Analysis, atlases
from bids_app.planning.work_dir import atlas_of, fold_folders
from bids_app.preprocess.conform import plain
from bids_app.regions import stability
from bids_app.regions.size_matched_null import RegionMap, size_matched_p
from bids_app.report.heatmap import Heatmap
from bids_app.results.region_tables import tabulate_regions
from bids_app.training import results

log = logging.getLogger("pellucid")
SEED = 1  # of the places that regions are compared with


def collect_predictions(analysis: Analysis, work: Path) -> pd.DataFrame:
    """All cells, out of fold."""
    return results.read_predictions(
        [folder for cell in analysis.cells for folder in fold_folders(analysis, cell, work)]
    )


def collect_heatmaps(analysis: Analysis, work: Path) -> list[Heatmap]:
    """Mean maps of every cell, method and class, each with the region tables of its map's atlases."""
    made = []
    for cell in analysis.cells:
        grid = Grid.read(work / f"grid_{cell.maps[0]}.npz")
        named = [atlas_of(work, analysis.grids[cell.maps[0]], name) for name in analysis.atlases[cell.maps[0]]]
        folders = fold_folders(analysis, cell, work)
        finest = max(*grid.voxel_mm, *(analysis.smoothing[name] for name in cell.maps))
        means = [one for one in results.average_heatmaps(folders, cell.name, analysis.classes) if _finite(one)]
        asked = [RegionMap(one.values, grid.vector(labels), one.sign == "both") for one in means for labels, _ in named]
        sized = iter(size_matched_p(asked, grid.mask, grid.voxel_mm, seed=SEED) if asked else ())
        for mean in means:
            resolution, regions, of_folds = max(finest, mean.unit_mm or 0.0), {}, []
            for labels, about in named:
                people = None if mean.people is None else results.iterate_heatmaps(folders, mean, analysis.classes)
                own = {"p_size": next(sized), "resolution_mm": resolution}
                regions[about["name"]], found = tabulate_regions(mean, people, labels, about, grid, **own)
                of_folds.append(found)
            told = vars(mean) | {"measured": {**_agreement(of_folds[0]), **mean.measured}}
            image = plain(grid.volume(mean.values), grid.affine)
            made.append(Heatmap(**told, image=image, regions=regions, resolution_mm=resolution))
    return made


def _finite(mean: results.MeanHeatmap) -> bool:
    """Whether a map has a number in every voxel; where it has not, it is said, and the map left out."""
    if finite := bool(np.isfinite(mean.values).all()):
        return finite
    log.warning("left out: %s, %s, explaining %s, is not finite everywhere", mean.cell, mean.method, mean.explained)
    return finite


def _agreement(of_folds: np.ndarray) -> dict[str, float]:
    """How far folds agree on the regions of the first atlas; nothing with one fold, or one region."""
    found = stability.measure_agreement(of_folds) if min(of_folds.shape) > 1 else {}
    return {f"folds_{name}": value for name, value in found.items()}


def atlas_notes(analysis: Analysis, work: Path) -> dict[str, str]:
    """What each atlas declares about its space, and what was done about it."""
    found = [atlas_of(work, place, name)[1] for place, name in atlases(analysis)]
    return {about["name"]: about["note"] for about in found}


def fold_table(analysis: Analysis) -> pd.DataFrame:
    """Who was in which role in which fold."""
    who = analysis.used[["participant_id", "session_id"]].fillna("n/a")
    rows = [
        {**who.iloc[row].to_dict(), "repeat": split.repeat, "fold": split.fold, "role": role}
        for split in analysis.splits
        for role, members in (("train", split.train), ("test", split.test))
        for row in members
    ]
    return pd.DataFrame(rows)


def region_table(maps: list[Heatmap]) -> pd.DataFrame:
    """Ranked regions of every cell, method, class and atlas."""
    parts = [
        rows.assign(cell=one.cell, method=one.method, explained=one.explained, atlas=atlas)
        for one in maps
        for atlas, rows in one.regions.items()
    ]
    if not parts:
        raise UsageError("--explainers: none of them suits a classifier of this analysis; see the log of refusals")
    whole = pd.concat(parts, ignore_index=True)
    first = ["cell", "method", "explained", "atlas"]
    return whole[[*first, *(column for column in whole if column not in first)]]
