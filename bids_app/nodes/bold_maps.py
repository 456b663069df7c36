"""BOLD processing steps as called by nodes: files in, files out; the mathematics is elsewhere."""

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bids_app import catalogue
from bids_app.errors import DataError
from bids_app.maps import caption_keywords, keywords
from bids_app.nodes.atlas import ResampledAtlas, resample_atlas
from bids_app.planning import network_templates
from bids_app.planning.participant_records import CleanedRun, DenoisingSettings, PreprocessedRun, TemplateFiles
from bids_app.preprocess import denoise, strategies
from bids_app.preprocess import series as images
from bids_app.preprocess.conform import read_image, to_nifti

if TYPE_CHECKING:
    import pandas as pd


def clean_series(*, run: PreprocessedRun, settings: DenoisingSettings, grid: list[Any] | None) -> CleanedRun:
    """Read a run's voxels, drop volumes, denoise.

    Non-steady-state volumes are removed first, so that only volumes censored later leave gaps in time. `grid` is
    [shape, affine] of another grid to resample to, or None. Raises DataError where no volume is left.
    """
    bold, confounds = Path(run["bold"]), Path(run["confounds"])
    onto = None if grid is None else (tuple(grid[0]), np.array(grid[1]))
    values, inside, affine = images.load(bold, Path(run["mask"]), onto=onto)
    tr = run["tr"]
    denoises = settings["denoise"] != "none"
    table, sample_mask = strategies.choose(
        settings["denoise"], confounds, bold=bold, fd_threshold=settings["fd_threshold"]
    )
    frame = strategies.read_confounds(confounds)
    fd, dvars = _column(frame, "framewise_displacement"), _column(frame, "std_dvars")
    if denoises and settings["fd_threshold"] > 0:
        sample_mask = sample_mask & strategies.sample_mask(fd, threshold=settings["fd_threshold"])
    band = None if settings["band"] is None else (float(settings["band"][0]), float(settings["band"][1]))
    first = max(run["skipped"], strategies.count_non_steady_state(frame) if denoises else 0)
    if first >= len(sample_mask):
        raise DataError(f"{bold.name} has {len(sample_mask)} volumes, and --dummy-scans removes {first}")
    if first:
        values, sample_mask, fd, dvars = values[:, first:].copy(), sample_mask[first:], fd[first:], dvars[first:]
        table = None if table is None else table[first:]
    denoised, filtered = denoise.clean(values, tr=tr, confounds=table, sample_mask=sample_mask, band=band)
    to_nifti(inside.astype(np.float32), affine).to_filename("mask.nii.gz")
    columns = [] if table is None else [str(name) for name in table.columns]
    freedom = None if band is None else 2 * denoise.bins(int(sample_mask.sum()), tr=tr, band=band) - len(columns)
    return {
        "series": _save("series", values),
        "denoised": _save("denoised", denoised),
        "filtered": _save("filtered", filtered),
        "sample_mask": _save("sample_mask", sample_mask),
        "fd": _save("fd", fd),
        "dvars": _save("dvars", dvars),
        "mask": str(Path.cwd() / "mask.nii.gz"),
        "tr": tr,
        "band": band,
        "confounds": run["confounds"],
        "confound_columns": columns,
        "dummies": first + run.get("dummies", 0),
        "freedom": freedom,
        "slice_time": run.get("slice_time"),
        "transform": run.get("transform"),
        "overlap": run.get("overlap"),
    }


def resample_atlas_to_run(
    *,
    atlas_name: str,
    run: CleanedRun,
    templates: TemplateFiles,
    cache: str,
    stamp: str,
    space: str,
    seed: int,
    sloppy: bool,
) -> str:
    """An atlas on the grid of a run (`nodes.atlas.resample_atlas`). Returns its folder."""
    template: TemplateFiles = {**templates, "mask": run["mask"]}
    return resample_atlas(
        cache=cache, name=atlas_name, stamp=stamp, template=template, space=space, seed=seed, sloppy=sloppy
    )


def make_bold_map(*, map_name: str, run: CleanedRun, parameters: dict[str, Any], parcels: str) -> dict[str, str]:
    """The files of a map, or of its several named images, by name; `maps.KEYWORDS` lists the arguments of `compute`.

    `parameters`: the values of its options; `parcels`: the folder of an atlas on the grid of the run.
    """
    part = catalogue.load("maps", map_name)
    names = keywords(part)
    supplied = {**parameters, **describe_series(run)}
    inside = supplied["mask"]
    if "parcels" in names:
        supplied["parcels"] = ResampledAtlas.read(parcels).labels[inside].astype(np.int32)
    if "network_maps" in names:
        file = Path(parameters["network_maps"])
        supplied["network_maps"] = network_templates.resample_networks(file, read_image(run["mask"]), inside)
        supplied["network_names"] = network_templates.read_names(file)
    files = {"denoised": run["denoised"], "filtered": run["filtered"]}
    values = part.compute(np.load(files[part.INPUT]), **{name: supplied[name] for name in names})
    maps = values if isinstance(values, dict) else {map_name: values}
    paths = {}
    for name, voxels in maps.items():
        volume = np.zeros(inside.shape, np.float32)
        volume[inside] = voxels
        paths[name] = str(Path.cwd() / f"{name}.nii.gz")
        to_nifti(volume, supplied["affine"]).to_filename(paths[name])
    return paths


def describe_series(run: CleanedRun) -> dict[str, Any]:
    """What maps may ask for about a run's series, by the names in `maps.KEYWORDS`."""
    mask = read_image(run["mask"])
    return {
        "mask": np.asarray(mask.dataobj) > 0.5,
        "affine": mask.affine,
        "tr": run["tr"],
        "band": run["band"],
        "sample_mask": np.load(run["sample_mask"]),
    }


def describe_map(part: ModuleType, run: CleanedRun, parameters: dict[str, Any]) -> str:
    """The caption of a run's map, "" if its file has none; `parameters`: the values of its options."""
    if not hasattr(part, "caption"):
        return ""
    supplied = {**parameters, **describe_series(run)}
    return str(part.caption(supplied["mask"], **{name: supplied[name] for name in caption_keywords(part)}))


def _save(name: str, array: NDArray[Any]) -> str:
    """Write an array in the node's folder; returns its file."""
    np.save(f"{name}.npy", array)
    return str(Path.cwd() / f"{name}.npy")


def _column(frame: "pd.DataFrame", name: str) -> NDArray[np.float64]:
    """A column of the confounds (time,), NaN where the table lacks it."""
    return frame[name].to_numpy(np.float64) if name in frame else np.full(len(frame), np.nan)
