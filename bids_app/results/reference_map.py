"""Overlap of heatmaps, and of maps without a classifier, with a reference map (--reference-map)."""

import logging
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from scipy import stats

from bids_app.atlases import templates
from bids_app.dataset import arrays, foci
from bids_app.dataset.grid import Grid
from bids_app.planning import available_maps
from bids_app.planning.group import GroupPlan
from bids_app.planning.reference_map import read_reference
from bids_app.planning.work_dir import WorkDir
from bids_app.regions import ale, overlap, surrogates
from bids_app.report.heatmap import Heatmap
from bids_app.settings import Settings
from bids_app.training import seeds

log = logging.getLogger("pellucid")
SMOOTHING_MM = (0, 2, 4, 6, 8)
SELECTED = "chosen on other folds"
SURROGATES = 99
SELECTION_MEASURE = "auprc"


def overlap_table(
    analysis: GroupPlan, settings: Settings, maps: list[Heatmap], work_dir: WorkDir
) -> pd.DataFrame | None:
    """A row per heatmap and smoothing, and rows for each map's group mean and its t-map; None without a reference.

    `p`: the share of 99 surrogates, as smooth as the heatmap, whose AUPRC reaches the heatmap's, without smoothing.
    With --explainer-checks also rows for each method's maps of null models.
    """
    file = settings.group.reference_map
    if file is None:
        return None
    rows: list[dict[str, Any]] = []
    for name in analysis.smoothing:
        grid = Grid.read(work_dir.grid(name))
        reference, origin = _resample_reference(file, grid)
        inside, words = overlap.binarise_reference(reference, grid.mask)
        about = {
            "reference": f"{file.name}: {origin}{words}",
            "voxels": int(inside.sum()),
            "share": float(inside.mean()),
        }
        for title, values in _maps_without_classifier(analysis, name, grid, work_dir).items():
            key = {"cell": name, "method": title, "explained": "n/a", **about}
            rows += _rows(key, grid.volume(values), [], grid, inside, seed=settings.compute.random_seed)
        for heatmap in maps:
            if first_map(heatmap) == name:
                rows += overlap_rows(heatmap, about, grid, inside, seed=settings.compute.random_seed)
                log.info("overlap: %s, %s, %s", heatmap.cell, heatmap.method, heatmap.explained)
    return pd.DataFrame(rows)


def first_map(heatmap: Heatmap) -> str:
    """The map whose grid a heatmap has."""
    return heatmap.cell.partition("/")[2].partition("+")[0]


def overlap_rows(
    heatmap: Heatmap, about: dict[str, Any], grid: Grid, inside: np.ndarray, *, seed: int
) -> list[dict[str, Any]]:
    """The rows of one heatmap, and of its null maps, against a region (voxels,)."""
    key = {"cell": heatmap.cell, "method": heatmap.method, "explained": heatmap.explained, **about}
    strong = _strength(np.asarray(heatmap.image.dataobj), heatmap.sign)
    folds = [grid.volume(_strength(values, heatmap.sign)) for values in heatmap.folds]
    rows = _rows(key, strong, folds, grid, inside, seed=seed)
    for kind, values in heatmap.nulls.items():
        null = {**key, "method": f"{heatmap.method} ({kind.replace('_', ' ')})"}
        rows += _smoothings(null, grid.volume(_strength(values, heatmap.sign)), grid, inside)
    return rows


def _rows(
    key: dict[str, Any], volume: np.ndarray, folds: list[np.ndarray], grid: Grid, inside: np.ndarray, *, seed: int
) -> list[dict[str, Any]]:
    rows = _smoothings(key, volume, grid, inside)
    null = [
        overlap.measure_overlap(values, inside)[SELECTION_MEASURE]
        for values in surrogates.generate_surrogates(
            grid.cropped.volume(grid.vector(volume)),
            grid.cropped.mask,
            count=SURROGATES,
            seed=seeds.derive(seed, "surrogates", key["cell"], key["method"], key["explained"]),
        )
    ]
    rows[0]["p"] = (1 + sum(value >= rows[0][SELECTION_MEASURE] for value in null)) / (1 + len(null))
    if len(folds) > 1:
        rows.append(
            {**key, "smoothing_mm": SELECTED, **_smoothing_of_other_folds(folds, grid, inside), "p": float("nan")}
        )
    return rows


def _smoothings(key: dict[str, Any], volume: np.ndarray, grid: Grid, inside: np.ndarray) -> list[dict[str, Any]]:
    smoothed = {mm: overlap.smooth_in_mask(volume, grid.mask, grid.voxel_mm, mm) for mm in SMOOTHING_MM}
    return [
        {**key, "smoothing_mm": str(mm), **overlap.measure_overlap(values, inside), "p": float("nan")}
        for mm, values in smoothed.items()
    ]


def _smoothing_of_other_folds(folds: list[np.ndarray], grid: Grid, inside: np.ndarray) -> dict[str, float]:
    """The mean over folds of the measures of each fold's map, with the smoothing that was best for the others."""
    every = [
        [
            overlap.measure_overlap(overlap.smooth_in_mask(volume, grid.mask, grid.voxel_mm, mm), inside)
            for mm in SMOOTHING_MM
        ]
        for volume in folds
    ]
    scored = np.array([[measures[SELECTION_MEASURE] for measures in fold] for fold in every])
    best = [int(np.delete(scored, fold, axis=0).mean(axis=0).argmax()) for fold in range(len(folds))]
    return {key: float(np.mean([every[fold][at][key] for fold, at in enumerate(best)])) for key in every[0][0]}


def _resample_reference(file: Path, grid: Grid) -> tuple[np.ndarray, str]:
    """The reference on the maps' grid, and a note on a table's coordinates; it is assumed to lie in the maps' space.

    A binary map is unchanged; coordinates become their activation likelihood.
    """
    if foci.is_foci_table(file):
        studies, words = foci.read_foci(file)
        places = nib.affines.apply_affine(grid.affine, np.argwhere(grid.mask))
        return grid.volume(ale.activation_likelihood(places, studies)), f"{words}; "
    values, affine = read_reference(file)
    plain = nib.Nifti1Image(values, affine)
    if len(np.unique(values)) <= 2:
        return templates.nearest(values, affine, grid.mask.shape, grid.affine), ""
    return templates.resample(plain, grid.mask.shape, grid.affine, order="linear").get_fdata(dtype=np.float32), ""


def _maps_without_classifier(analysis: GroupPlan, name: str, grid: Grid, work_dir: WorkDir) -> dict[str, np.ndarray]:
    """The group mean of a map, and its t- or F-map between classes, (voxels,) each."""
    if available_maps.is_fitted(name):
        file = work_dir.overall_map(name)
    else:
        paths = [tuple(runs) for runs in analysis.used[name]]
        file = arrays.stack_images(
            paths, grid, work_dir.path, smoothing_mm=analysis.smoothing[name], form=analysis.forms[name]
        )
    x, classes = np.load(file, mmap_mode="r"), analysis.used["class"].to_numpy()
    groups = [np.asarray(x[classes == name]) for name in analysis.classes]
    if len(groups) == 2:
        title, statistic = "t-map", np.abs(stats.ttest_ind(*groups, axis=0, equal_var=False).statistic)
    else:
        title, statistic = "F-map", stats.f_oneway(*groups, axis=0).statistic
    return {"group mean": np.abs(np.mean(x, axis=0)), title: np.nan_to_num(statistic)}


def _strength(values: np.ndarray, sign: str) -> np.ndarray:
    return np.asarray(np.abs(values) if sign == "both" else np.maximum(values, 0))
