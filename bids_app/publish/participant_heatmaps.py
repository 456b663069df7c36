"""Heatmaps of the held-out participants, copied from their folds into the participants' folders."""

import shutil
from pathlib import Path

import pandas as pd

from bids_app.training.fold_files import FoldFiles


def stage_participant_heatmaps(staged: Path, folds: list[FoldFiles]) -> pd.DataFrame:
    """Copy the participants' heatmaps of these folds into a staged OUT_DIR. Returns the table of them."""
    for files in folds:
        if files.participant_heatmaps.is_dir():
            shutil.copytree(files.participant_heatmaps, staged, dirs_exist_ok=True)
    tables = [files.participant_heatmap_table for files in folds]
    return pd.concat([pd.read_csv(table, sep="\t", dtype=str, keep_default_na=False) for table in tables])


def remove_participant_heatmaps(out: Path, analysis: str, old: Path) -> None:
    """Move participants' heatmaps of an earlier run of an analysis out of OUT_DIR, to be removed."""
    listed = out / "group" / analysis / "heatmaps.tsv"
    if not listed.is_file():
        return
    for file in pd.read_csv(listed, sep="\t", dtype=str)["file"]:
        for path in (out / file, _sidecar_file(out / file)):
            if path.is_file():
                path.rename(old / path.name)


def _sidecar_file(image: Path) -> Path:
    return image.with_name(image.name.removesuffix(".nii.gz") + ".json")
