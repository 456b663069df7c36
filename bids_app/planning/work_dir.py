"""Where the nodes of an analysis leave what others read."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from bids_app.atlases import atlas
from bids_app.bids import outputs
from bids_app.planning.group import Analysis, Cell
from bids_app.settings import Settings


def atlas_link(work: Path, place: str, name: str) -> Path:
    """The file that names where an atlas on a grid is kept."""
    return work / "atlases" / outputs.label(place) / outputs.label(atlas.name(name))


def fold_folder(work: Path, cell: str, repeat: int, number: int) -> Path:
    """Where a fold's results are kept."""
    return work / "folds" / cell / f"repeat-{repeat}_fold-{number}"


def fold_folders(analysis: Analysis, cell: Cell, work: Path) -> list[Path]:
    """Where each fold of a cell was kept."""
    return [fold_folder(work, cell.name, split.repeat, split.fold) for split in analysis.splits]


def atlas_of(work: Path, place: str, name: str) -> tuple[np.ndarray, dict[str, Any]]:
    """Labels (X, Y, Z) on the maps' grid, and what atlas.json says."""
    kept = work.parent / atlas_link(work, place, name).read_text()
    return np.asarray(nib.load(kept / "labels.nii.gz").dataobj), json.loads((kept / "atlas.json").read_text())


def folder(analysis: Analysis, settings: Settings) -> Path:
    """Where everything of this analysis that can be computed again is kept."""
    return settings.work_dir / f"analysis-{analysis.name}-{analysis.key}"
