"""Heatmaps against a reference map (--reference-map), beside maps that know nothing of classifiers: overlap.tsv."""

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
from bids_app.nodes.ica import everybody
from bids_app.planning import available_maps
from bids_app.planning.group import Analysis
from bids_app.regions import ale, overlap, surrogates
from bids_app.report.heatmap import Heatmap
from bids_app.settings import Settings
from bids_app.training import seeds

log = logging.getLogger("pellucid")
SMOOTHING_MM = (0, 2, 4, 6, 8)
CHOSEN = "chosen on other folds"
SURROGATES = 99
CHOOSE_BY = "auprc"


def overlap_table(analysis: Analysis, settings: Settings, maps: list[Heatmap], work: Path) -> pd.DataFrame | None:
    """A row a heatmap and smoothing, and rows for each map's group mean and its t-map; None without a reference.

    `p`: the share of 99 surrogates, as smooth as the heatmap, whose AUPRC reaches the heatmap's, without smoothing.
    With --explain-checks also rows for each method's maps of models that learnt nothing.
    """
    file = settings.group.reference_map
    if file is None:
        return None
    found: list[dict[str, Any]] = []
    for name in analysis.smoothing:
        grid = Grid.read(work / f"grid_{name}.npz")
        reference, origin = _resample_reference(file, grid)
        inside, words = overlap.binarise_reference(reference, grid.mask)
        about = {
            "reference": f"{file.name}: {origin}{words}",
            "voxels": int(inside.sum()),
            "share": float(inside.mean()),
        }
        for title, values in _maps_without_classifier(analysis, name, grid, work).items():
            own = {"cell": name, "method": title, "explained": "n/a", **about}
            found += _rows(own, grid.volume(values), [], grid, inside, seed=settings.compute.random_seed)
        for one in maps:
            if first_map(one) == name:
                found += overlap_rows(one, about, grid, inside, seed=settings.compute.random_seed)
                log.info("overlap: %s, %s, %s", one.cell, one.method, one.explained)
    return pd.DataFrame(found)


def first_map(heatmap: Heatmap) -> str:
    """The map on whose grid a heatmap lies."""
    return heatmap.cell.partition("/")[2].partition("+")[0]


def overlap_rows(
    heatmap: Heatmap, about: dict[str, Any], grid: Grid, inside: np.ndarray, *, seed: int
) -> list[dict[str, Any]]:
    """The rows of one heatmap, and of those of models that learnt nothing, against a region (voxels of the grid,)."""
    own = {"cell": heatmap.cell, "method": heatmap.method, "explained": heatmap.explained, **about}
    strong = _strength(np.asarray(heatmap.image.dataobj), heatmap.sign)
    folds = [grid.volume(_strength(values, heatmap.sign)) for values in heatmap.folds]
    found = _rows(own, strong, folds, grid, inside, seed=seed)
    for kind, values in heatmap.nulls.items():
        null = {**own, "method": f"{heatmap.method} ({kind.replace('_', ' ')})"}
        found += _smoothings(null, grid.volume(_strength(values, heatmap.sign)), grid, inside)
    return found


def _rows(
    own: dict[str, Any], volume: np.ndarray, folds: list[np.ndarray], grid: Grid, inside: np.ndarray, *, seed: int
) -> list[dict[str, Any]]:
    rows = _smoothings(own, volume, grid, inside)
    null = [
        overlap.measure_overlap(one, inside)[CHOOSE_BY]
        for one in surrogates.generate_surrogates(
            grid.cropped.volume(grid.vector(volume)),
            grid.cropped.mask,
            count=SURROGATES,
            seed=seeds.derive(seed, "surrogates", own["cell"], own["method"], own["explained"]),
        )
    ]
    rows[0]["p"] = (1 + sum(value >= rows[0][CHOOSE_BY] for value in null)) / (1 + len(null))
    if len(folds) > 1:
        rows.append(
            {**own, "smoothing_mm": CHOSEN, **_smoothing_of_other_folds(folds, grid, inside), "p": float("nan")}
        )
    return rows


def _smoothings(own: dict[str, Any], volume: np.ndarray, grid: Grid, inside: np.ndarray) -> list[dict[str, Any]]:
    smoothed = {mm: overlap.smooth_in_mask(volume, grid.mask, grid.voxel_mm, mm) for mm in SMOOTHING_MM}
    return [
        {**own, "smoothing_mm": str(mm), **overlap.measure_overlap(values, inside), "p": float("nan")}
        for mm, values in smoothed.items()
    ]


def _smoothing_of_other_folds(folds: list[np.ndarray], grid: Grid, inside: np.ndarray) -> dict[str, float]:
    """The mean over folds of the measures of each fold's map, smoothed as was best for the others."""
    every = [
        [
            overlap.measure_overlap(overlap.smooth_in_mask(one, grid.mask, grid.voxel_mm, mm), inside)
            for mm in SMOOTHING_MM
        ]
        for one in folds
    ]
    scored = np.array([[found[CHOOSE_BY] for found in fold] for fold in every])
    best = [int(np.delete(scored, fold, axis=0).mean(axis=0).argmax()) for fold in range(len(folds))]
    return {key: float(np.mean([every[fold][at][key] for fold, at in enumerate(best)])) for key in every[0][0]}


def _resample_reference(file: Path, grid: Grid) -> tuple[np.ndarray, str]:
    """The reference on the maps' grid, and what was made of a table; it is taken to lie in their space.

    A map of two values keeps them; coordinates become their activation likelihood.
    """
    if foci.is_foci_table(file):
        studies, words = foci.read_foci(file)
        places = nib.affines.apply_affine(grid.affine, np.argwhere(grid.mask))
        return grid.volume(ale.activation_likelihood(places, studies)), f"{words}; "
    image = nib.load(file)
    values = np.nan_to_num(np.asarray(image.dataobj, np.float32))
    plain = nib.Nifti1Image(values, image.affine)
    if len(np.unique(values)) <= 2:
        return templates.nearest(values, image.affine, grid.mask.shape, grid.affine), ""
    return templates.resample(plain, grid.mask.shape, grid.affine, order="linear").get_fdata(dtype=np.float32), ""


def _maps_without_classifier(analysis: Analysis, name: str, grid: Grid, work: Path) -> dict[str, np.ndarray]:
    """The group mean of a map, and how its voxels differ between classes, without any classifier: (voxels,) each."""
    if available_maps.fitted(name):
        file = everybody(name, work)
    else:
        paths = [tuple(each) for each in analysis.used[name]]
        file = arrays.stack_images(paths, grid, work, smoothing_mm=analysis.smoothing[name], form=analysis.forms[name])
    x, classes = np.load(file, mmap_mode="r"), analysis.used["class"].to_numpy()
    groups = [np.asarray(x[classes == one]) for one in analysis.classes]
    if len(groups) == 2:
        differ = np.abs(stats.ttest_ind(*groups, axis=0, equal_var=False).statistic)
    else:
        differ = stats.f_oneway(*groups, axis=0).statistic
    return {"group mean": np.abs(np.mean(x, axis=0)), "t-map" if len(groups) == 2 else "F-map": np.nan_to_num(differ)}


def _strength(values: np.ndarray, sign: str) -> np.ndarray:
    return np.abs(values) if sign == "both" else np.maximum(values, 0)
