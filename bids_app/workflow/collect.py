"""What the nodes of an analysis left -> tables, and mean maps with their regions."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from bids_app.dataset.grid import Grid
from bids_app.errors import UsageError
from bids_app.preprocess.conform import plain
from bids_app.regions.tables import table
from bids_app.report.heatmap import Heatmap
from bids_app.training import results
from bids_app.workflow.analysis import Analysis, Cell, atlases
from bids_app.workflow.training import atlas_link, fold_folder


def fold_folders(analysis: Analysis, cell: Cell, work: Path) -> list[Path]:
    """Where each fold of a cell was kept."""
    return [fold_folder(work, cell.name, split.repeat, split.fold) for split in analysis.splits]


def predictions(analysis: Analysis, work: Path) -> pd.DataFrame:
    """All cells, out of fold."""
    return results.predictions([folder for cell in analysis.cells for folder in fold_folders(analysis, cell, work)])


def heatmaps(analysis: Analysis, work: Path) -> list[Heatmap]:
    """Mean maps of every cell, method and class, each with the region tables of its map's atlases."""
    made = []
    for cell in analysis.cells:
        grid = Grid.read(work / f"grid_{cell.maps[0]}.npz")
        place = analysis.grids[cell.maps[0]]
        named = {name: _atlas(work, place, name) for name in analysis.atlases[cell.maps[0]]}
        for mean in results.means(fold_folders(analysis, cell, work), cell.name, analysis.classes):
            volume = grid.volume(mean.values)
            regions = {
                about["name"]: _regions(volume, labels, about, grid, mean.sign) for labels, about in named.values()
            }
            image = plain(volume, grid.affine)
            whose = (mean.cell, mean.method, mean.explained, mean.people, mean.unit, mean.sign)
            made.append(
                Heatmap(*whose, image, regions, checks=mean.checks, randomised=mean.randomised, folds=mean.folds)
            )
    return made


def atlas_notes(analysis: Analysis, work: Path) -> dict[str, str]:
    """What each atlas declares about its space, and what was done about it."""
    found = [_atlas(work, place, name)[1] for place, name in atlases(analysis)]
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


def _atlas(work: Path, place: str, name: str) -> tuple[np.ndarray, dict[str, Any]]:
    """Labels (X, Y, Z) on the maps' grid, and what atlas.json says."""
    kept = work.parent / atlas_link(work, place, name).read_text()
    return np.asarray(nib.load(kept / "labels.nii.gz").dataobj), json.loads((kept / "atlas.json").read_text())


def _regions(volume: np.ndarray, labels: np.ndarray, about: dict[str, Any], grid: Grid, sign: str) -> pd.DataFrame:
    names = {int(number): text for number, text in about["names"].items()}
    return table(volume, labels, names, grid.mask, sign=sign, voxel_ml=float(np.prod(grid.voxel_mm)) / 1000)
