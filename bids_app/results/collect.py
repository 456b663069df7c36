"""The results of all folds: predictions, mean heatmaps and their region tables."""

import logging

import numpy as np
import pandas as pd

from bids_app.dataset.grid import Grid
from bids_app.errors import UsageError
from bids_app.planning.group import GroupPlan, atlases_by_grid
from bids_app.planning.work_dir import WorkDir
from bids_app.preprocess.conform import to_nifti
from bids_app.regions import stability
from bids_app.regions.size_matched_null import RegionMap, size_matched_p
from bids_app.report.heatmap import Heatmap
from bids_app.results.region_tables import tabulate_regions
from bids_app.training import results

log = logging.getLogger("pellucid")
SEED = 1  # of the patches with which regions are compared


def collect_predictions(analysis: GroupPlan, work_dir: WorkDir) -> pd.DataFrame:
    """The out-of-fold predictions of all cells."""
    return results.read_predictions(
        [files.folder for cell in analysis.cells for files in work_dir.folds(cell.name, analysis.splits)]
    )


def collect_heatmaps(analysis: GroupPlan, work_dir: WorkDir) -> list[Heatmap]:
    """Mean maps of every cell, method and class, each with the region tables of its map's atlases."""
    heatmaps = []
    for cell in analysis.cells:
        first = cell.maps[0]
        grid = Grid.read(work_dir.grid(first))
        atlases = [work_dir.read_atlas(analysis.grids[first], name) for name in analysis.atlases[first]]
        folders = [files.folder for files in work_dir.folds(cell.name, analysis.splits)]
        finest = max(*grid.voxel_mm, *(analysis.smoothing[name] for name in cell.maps))
        means = [mean for mean in results.average_heatmaps(folders, cell.name, analysis.classes) if _is_finite(mean)]
        requests = [
            RegionMap(mean.values, grid.vector(labels), mean.sign == "both") for mean in means for labels, _ in atlases
        ]
        p_sizes = iter(size_matched_p(requests, grid.mask, grid.voxel_mm, seed=SEED) if requests else ())
        for mean in means:
            resolution, regions, fold_means = max(finest, mean.unit_mm or 0.0), {}, []
            for labels, about in atlases:
                sample_maps = None if mean.people is None else results.iterate_heatmaps(folders, mean, analysis.classes)
                regions[about["name"]], means_of_folds = tabulate_regions(
                    mean, sample_maps, labels, about, grid, p_size=next(p_sizes), resolution_mm=resolution
                )
                fold_means.append(means_of_folds)
            fields = vars(mean) | {"measured": {**_agreement(fold_means[0]), **mean.measured}}
            image = to_nifti(grid.volume(mean.values), grid.affine)
            heatmaps.append(Heatmap(**fields, image=image, regions=regions, resolution_mm=resolution))
    return heatmaps


def _is_finite(mean: results.MeanHeatmap) -> bool:
    """Whether a map is finite in every voxel; logs a warning if it is not."""
    if finite := bool(np.isfinite(mean.values).all()):
        return finite
    log.warning("excluded: heatmap of %s, %s, class %s, has non-finite values", mean.cell, mean.method, mean.explained)
    return finite


def _agreement(fold_means: np.ndarray) -> dict[str, float]:
    """The agreement of folds on the regions of the first atlas; empty with one fold, or one region."""
    agreement = stability.measure_agreement(fold_means) if min(fold_means.shape) > 1 else {}
    return {f"folds_{name}": value for name, value in agreement.items()}


def atlas_notes(analysis: GroupPlan, work_dir: WorkDir) -> dict[str, str]:
    """A note on each atlas: its space, and how it was resampled."""
    atlases = [work_dir.read_atlas(grid_name, name)[1] for grid_name, name in atlases_by_grid(analysis)]
    return {about["name"]: about["note"] for about in atlases}


def fold_table(analysis: GroupPlan) -> pd.DataFrame:
    """The role of each sample in each fold."""
    sessions = analysis.used[["participant_id", "session_id"]].fillna("n/a")
    rows = [
        {**sessions.iloc[row].to_dict(), "repeat": split.repeat, "fold": split.fold, "role": role}
        for split in analysis.splits
        for role, members in (("train", split.train), ("test", split.test))
        for row in members
    ]
    return pd.DataFrame(rows)


def region_table(maps: list[Heatmap]) -> pd.DataFrame:
    """Ranked regions of every cell, method, class and atlas."""
    parts = [
        rows.assign(cell=heatmap.cell, method=heatmap.method, explained=heatmap.explained, atlas=atlas)
        for heatmap in maps
        for atlas, rows in heatmap.regions.items()
    ]
    if not parts:
        raise UsageError("--explainers: none of them supports a classifier of this analysis; see the log")
    whole = pd.concat(parts, ignore_index=True)
    first = ["cell", "method", "explained", "atlas"]
    return whole[[*first, *(column for column in whole if column not in first)]]
