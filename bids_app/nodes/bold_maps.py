"""The steps of a BOLD run as nodes call them: files in, files out; the mathematics is in other rooms."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from bids_app import catalogue
from bids_app.errors import DataError
from bids_app.maps import keywords
from bids_app.nodes.atlas import resample_atlas
from bids_app.planning import network_templates
from bids_app.preprocess import denoise, strategies
from bids_app.preprocess import series as images
from bids_app.preprocess.conform import plain

Files = dict[str, Any]
SERIES = ("series", "denoised", "filtered", "kept", "fd", "dvars")


def clean_series(*, run: Files, chosen: Files, grid: list[Any] | None) -> Files:
    """Read a run's voxels, drop volumes, denoise -> `.npy` files, `mask`, and facts (`tr`, `band`, `dummies`, ...).

    Volumes before the steady state are cut off, so that only those dropped later leave gaps in time. `grid` is [shape,
    affine] of another grid to bring it to, or None.
    """
    onto = None if grid is None else (tuple(grid[0]), np.array(grid[1]))
    values, inside, affine = images.load(Path(run["bold"]), Path(run["mask"]), onto=onto)
    tr = images.repetition_time(Path(run["bold"]), stated=run["tr"])
    confounds = Path(run["confounds"])
    table, kept = strategies.choose(
        chosen["denoise"], confounds, bold=Path(run["bold"]), fd_threshold=chosen["fd_threshold"]
    )
    frame = strategies.read_confounds(confounds)
    fd, dvars = (_column(frame, name) for name in ("framewise_displacement", "std_dvars"))
    if chosen["denoise"] != "none" and chosen["fd_threshold"] > 0:
        kept = kept & strategies.censored(fd, threshold=chosen["fd_threshold"])
    band = None if chosen["band"] is None else (float(chosen["band"][0]), float(chosen["band"][1]))
    first = max(run["skipped"], 0 if chosen["denoise"] == "none" else strategies.unsteady(frame))
    if first >= len(kept):
        raise DataError(f"{Path(run['bold']).name} has {len(kept)} volumes, and --dummy-scans leaves out {first}")
    if first:
        values, kept, fd, dvars = values[:, first:].copy(), kept[first:], fd[first:], dvars[first:]
        table = None if table is None else table[first:]
    denoised, filtered = denoise.clean(values, tr=tr, confounds=table, kept=kept, band=band)
    arrays = {"series": values, "denoised": denoised, "filtered": filtered, "kept": kept, "fd": fd, "dvars": dvars}
    for name, array in arrays.items():
        np.save(f"{name}.npy", array)
    plain(inside.astype(np.float32), affine).to_filename("mask.nii.gz")
    files = {name: str(Path.cwd() / f"{name}.npy") for name in arrays}
    columns = [] if table is None else [str(name) for name in table.columns]
    freedom = None if band is None else 2 * denoise.bins(int(kept.sum()), tr=tr, band=band) - len(columns)
    facts = {"tr": tr, "band": band, "confounds": columns, "dummies": first + run.get("dummies", 0), "freedom": freedom}
    return {**run, **files, **facts, "confounds_file": run["confounds"], "mask": str(Path.cwd() / "mask.nii.gz")}


def resample_atlas_to_run(*, atlas_name: str, run: Files, templates: Files, **chosen: Any) -> str:
    """An atlas on the grid of a run (`spaces.place`). Returns its folder."""
    return resample_atlas(name=atlas_name, template={**templates, "mask": run["mask"]}, **chosen)


def make_bold_map(*, map_name: str, run: Files, parameters: Files, parcels: str) -> Files:
    """A map of the catalogue, or its several named ones: file by name; `maps.KEYWORDS` says what `compute` may ask for.

    `parameters`: the values of its options; `parcels`: the folder of an atlas on the grid of the run.
    """
    part = catalogue.load("maps", map_name)
    mask = nib.load(run["mask"])
    inside = np.asarray(mask.dataobj) > 0.5
    wanted = keywords(part)
    supplied = {
        **parameters,
        "mask": inside,
        "affine": mask.affine,
        "tr": run["tr"],
        "band": run["band"],
        "sample_mask": np.load(run["kept"]),
    }
    if "parcels" in wanted:
        supplied["parcels"] = read_labels(parcels)[0][inside].astype(np.int32)
    if "network_maps" in wanted:
        file = Path(parameters["network_maps"])
        supplied["network_maps"], supplied["network_names"] = (
            network_templates.placed(file, mask, inside),
            network_templates.names(file),
        )
    values = part.compute(np.load(run[part.INPUT]), **{name: supplied[name] for name in wanted})
    found = values if isinstance(values, dict) else {map_name: values}
    files = {}
    for name, each in found.items():
        volume = np.zeros(inside.shape, np.float32)
        volume[inside] = each
        files[name] = str(Path.cwd() / f"{name}.nii.gz")
        plain(volume, mask.affine).to_filename(files[name])
    return files


def read_labels(folder: str) -> tuple[np.ndarray, dict[int, str], str]:
    """A placed atlas: labels (X, Y, Z), names by label, and what it is called."""
    about = json.loads((Path(folder) / "atlas.json").read_text())
    names = {int(label): text for label, text in about["names"].items()}
    return np.asarray(nib.load(Path(folder) / "labels.nii.gz").dataobj), names, about["name"]


def _column(frame: Any, name: str) -> np.ndarray:
    """A column of the confounds (time,), NaN where the table lacks it."""
    return frame[name].to_numpy(np.float64) if name in frame else np.full(len(frame), np.nan)
