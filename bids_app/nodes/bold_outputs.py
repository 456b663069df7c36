"""Outputs of a participant's BOLD runs in OUT_DIR: maps, tables by region, series if requested, figures."""

from __future__ import annotations

import hashlib
import inspect
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np

from bids_app import __version__, catalogue
from bids_app.bids import outputs
from bids_app.bids.names import parse_entities, resolution_label
from bids_app.bids.outputs import write_json
from bids_app.nodes.atlas import ResampledAtlas
from bids_app.nodes.bold_maps import describe_map
from bids_app.planning.participant_records import BoldRun, BoldSettings, CleanedRun, TemplateFiles, WarpedAnatomy
from bids_app.preprocess.conform import read_image, to_nifti
from bids_app.preprocess.timing import HEADER
from bids_app.report.methods_bold import BoldOptions, describe_bold, map_options
from bids_app.report.participant import RunSection

if TYPE_CHECKING:
    from bids_app.report.bold_run import RunMap

Session = tuple[str, str | None]  # participant and session, without their prefixes


@dataclass(frozen=True)
class ProcessedRun:
    """A run as planned and as denoised, the files of its maps by map and name, and the folders of its atlases."""

    plan: BoldRun
    cleaned: CleanedRun
    maps: dict[str, dict[str, str]]
    atlases: dict[str, str]

    @property
    def entities(self) -> dict[str, str]:
        """The entities that distinguish it from the session's other runs."""
        return parse_entities(self.plan["label"])

    @property
    def mask(self) -> nib.Nifti1Image:
        """The mask (X, Y, Z) of its series."""
        return read_image(self.cleaned["mask"])

    @property
    def resolution(self) -> float:
        """Edge of a voxel, mm; for anisotropic voxels, that of a cube of the same volume."""
        return round(float(np.prod(nib.affines.voxel_sizes(self.mask.affine)) ** (1 / 3)), 2)


def stage_run(
    stage: Path,
    session: Session,
    run: ProcessedRun,
    templates: TemplateFiles,
    settings: BoldSettings,
    tissues: WarpedAnatomy | None,
) -> RunSection:
    """Stage one run's outputs and return its part of the report; tissues: in template space, if known."""
    from bids_app.report.bold_run import RunMap

    space = {**run.entities, "space": settings["space"], "res": resolution_label(run.resolution)}
    folder = outputs.folder(stage, *session, "func")
    folder.mkdir(parents=True, exist_ok=True)
    fields = _sidecar_fields(run)
    maps = []
    for name, files in run.maps.items():
        part, parameters = catalogue.load("maps", name), settings["parameters"][name]
        for key, file in files.items():
            stat, _, network = key.partition("_")
            entities = {
                entity: value.format(stat=stat, name=network, **parameters) for entity, value in part.ENTITIES.items()
            }
            stem = outputs.filename(*session, part.SUFFIX, "", **{**space, **entities})
            (folder / f"{stem}.nii.gz").write_bytes(Path(file).read_bytes())
            sidecar = {"Description": (part.__doc__ or "").splitlines()[0], "Units": part.UNIT, **fields}
            sidecar["MapParameters"] = _map_parameters(name, settings, run.resolution)
            write_json(folder / f"{stem}.json", sidecar)
            caption = f"{sidecar['Description']} {describe_map(part, run.cleaned, parameters)}".strip()
            maps.append(RunMap(key, read_image(file), part.UNIT, caption=caption))
            _write_region_tables(folder, session, run, entities, part.SUFFIX, file)
    if settings["save_series"]:
        fields["MapParameters"] = _series_parameters("series", settings, run.resolution)
        _write_series(folder, session, space, run, fields)
    if run.plan["source"] == "pellucid":
        _write_preprocessing(folder, session, run)
    return _draw(stage, session, run, maps, templates, settings, tissues)


def describe_runs(runs: list[ProcessedRun], settings: BoldSettings) -> str:
    """A description of how the maps of a participant's runs were computed."""
    first = runs[0]
    options = BoldOptions(
        denoise=settings["denoise"],
        band=first.cleaned["band"],
        fd_threshold=settings["fd_threshold"],
        dropped=sum(int((~np.load(run.cleaned["sample_mask"])).sum()) for run in runs),
        dummy_scans=sum(run.cleaned["dummies"] for run in runs),
        slice_timing=any(run.cleaned["slice_time"] is not None for run in runs),
        resampled=settings["resampled"],
        parcellation=next(iter(settings["atlases"]), ""),
        network_names=[name.partition("_")[2] for name in first.maps.get("networks", {}) if "beta" in name],
        **map_options(settings["parameters"].values()),
    )
    return describe_bold(
        settings["maps"], options, source=first.plan["source"], space=settings["space"], resolution=first.resolution
    )


def _sidecar_fields(run: ProcessedRun) -> dict[str, Any]:
    """Sidecar fields of a run beyond the parameters that all participants share."""
    cleaned = run.cleaned
    sample_mask, fd = np.load(cleaned["sample_mask"]), np.load(cleaned["fd"])
    known = fd[np.isfinite(fd)]
    return {
        "RepetitionTime": cleaned["tr"],
        "RepetitionTimeSource": run.plan["tr_source"],
        **({"DelayTime": run.plan["delay"]} if run.plan["delay"] else {}),
        "NumberOfVolumes": int(sample_mask.size) + cleaned["dummies"],
        "NumberOfVolumesDiscardedByUser": cleaned["dummies"],
        "NumberOfVolumesDropped": int((~sample_mask).sum()),
        "DegreesOfFreedomInBand": cleaned["freedom"],
        "MinutesLeft": round(float(sample_mask.sum()) * cleaned["tr"] / 60, 3),
        "MeanFramewiseDisplacement": round(float(known.mean()), 4) if known.size else None,
        "Confounds": cleaned["confound_columns"],
        "Steps": _list_steps(run),
        "PreprocessingSource": run.plan["source"],
        "RawScan" if run.plan["source"] == "pellucid" else "PreprocessedScan": run.plan["scan"],
        "TaskName": run.plan["task"],
        "Scanner": run.plan["scanner"],
        "Resolution": " x ".join(f"{mm:g}" for mm in nib.affines.voxel_sizes(run.mask.affine)) + " mm",
    }


def _list_steps(run: ProcessedRun) -> list[str]:
    """The processing steps of the series, in order."""
    cleaned = run.cleaned
    steps = ["non-steady-state volumes removed"] if cleaned["dummies"] else []
    if run.plan["source"] == "pellucid":
        steps += ["slice timing corrected"] if cleaned["slice_time"] is not None else []
        steps.append("motion correction, coregistration to the T1w image and normalisation in one interpolation")
    steps.append("masked")
    steps += ["high-motion volumes censored"] if not np.load(cleaned["sample_mask"]).all() else []
    steps += ["trend and confounds regressed out"] if cleaned["confound_columns"] else []
    return [*steps, *(["band-pass filtered (not for alff and falff)"] if cleaned["band"] is not None else [])]


def _map_parameters(name: str, settings: BoldSettings, resolution: float) -> dict[str, Any]:
    """All parameters that must be the same in every participant of an analysis."""
    names = inspect.signature(catalogue.load("maps", name).compute).parameters
    options = {outputs.camel(key): value for key, value in settings["parameters"][name].items() if key in names}
    if "NetworkMaps" in options:
        maps = Path(options["NetworkMaps"])
        options |= {"NetworkMaps": maps.name, "NetworkMapsSha256": hashlib.sha256(maps.read_bytes()).hexdigest()}
    return {**_series_parameters(name, settings, resolution), **options}


def _series_parameters(name: str, settings: BoldSettings, resolution: float) -> dict[str, Any]:
    """How series were processed, whatever is computed from them."""
    grid = {"Space": settings["space"], "ResolutionMm": resolution}
    grid |= {"Anatomy": settings["anatomy"], "Sloppy": settings["sloppy"]}
    denoising = {"Denoise": settings["denoise"], "Band": settings["band"], "FdThreshold": settings["fd_threshold"]}
    return {"Map": name, **grid, **denoising, "Version": __version__}


def _write_region_tables(
    folder: Path, session: Session, run: ProcessedRun, entities: dict[str, str], suffix: str, file: str
) -> None:
    """One table per atlas: the mean of the map in each region, over the voxels with BOLD."""
    values, inside = np.asarray(read_image(file).dataobj), np.asarray(run.mask.dataobj) > 0.5
    for atlas_folder in run.atlases.values():
        atlas = ResampledAtlas.read(atlas_folder)
        labels = atlas.labels[inside].astype(np.int64)
        count = np.bincount(labels, minlength=max(atlas.names) + 1)
        total = np.bincount(labels, weights=values[inside].astype(np.float64), minlength=max(atlas.names) + 1)
        lines = ["index\tname\tmean\tvoxels"]
        for label, name in atlas.names.items():
            mean = f"{total[label] / count[label]:.6g}" if count[label] else "n/a"
            lines.append(f"{label}\t{name}\t{mean}\t{count[label]}")
        labels_of_file = {**run.entities, "atlas": outputs.label(atlas.name), **entities}
        (folder / outputs.filename(*session, suffix, ".tsv", **labels_of_file)).write_text("\n".join(lines) + "\n")


def _write_series(
    folder: Path, session: Session, space: dict[str, str], run: ProcessedRun, sidecar: dict[str, Any]
) -> None:
    """The series from which `filtered` maps are computed, as `desc-denoised_bold`, with its mask."""
    mask = run.mask
    inside = np.asarray(mask.dataobj) > 0.5
    values = np.load(run.cleaned["filtered"], mmap_mode="r")
    volumes = np.zeros((*inside.shape, values.shape[1]), np.float32)
    volumes[inside] = values
    image = to_nifti(volumes, mask.affine)
    image.header.set_zooms((*nib.affines.voxel_sizes(mask.affine), run.cleaned["tr"]))
    image.header.set_xyzt_units("mm", "sec")
    stem = outputs.filename(*session, "bold", "", **space, desc="denoised")
    image.to_filename(folder / f"{stem}.nii.gz")
    write_json(folder / f"{stem}.json", {**sidecar, "SkullStripped": True})
    stem = outputs.filename(*session, "mask", "", **space, desc="denoised")
    to_nifti(inside.astype(np.uint8), mask.affine).to_filename(folder / f"{stem}.nii.gz")
    write_json(folder / f"{stem}.json", {"Type": "Brain", "Resolution": sidecar["Resolution"]})


def _write_preprocessing(folder: Path, session: Session, run: ProcessedRun) -> None:
    """The confounds of a run that was raw, and how it lies in its T1w."""
    table = Path(run.cleaned["confounds"])
    for extension in (".tsv", ".json"):
        name = outputs.filename(*session, "timeseries", extension, **run.entities, desc="confounds")
        shutil.copyfile(table.with_suffix(extension), folder / name)
    name = outputs.filename(*session, "xfm", ".mat", **run.entities, from_="boldref", to="T1w", mode="image")
    shutil.copyfile(str(run.cleaned["transform"]), folder / name)


def _draw(
    stage: Path,
    session: Session,
    run: ProcessedRun,
    maps: list[RunMap],
    templates: TemplateFiles,
    settings: BoldSettings,
    tissues: WarpedAnatomy | None,
) -> RunSection:
    from bids_app.report.bold_run import RunData, TemplateImages
    from bids_app.report.bold_section import draw_run, label_tissues

    cleaned = run.cleaned
    fd = np.load(cleaned["fd"])
    drawn_run = RunData(
        participant=session[0],
        session=session[1],
        entities=run.entities,
        series=np.load(cleaned["series"], mmap_mode="r"),
        mask=run.mask,
        tr=cleaned["tr"],
        sample_mask=np.load(cleaned["sample_mask"]),
        fd=fd if np.isfinite(fd).any() else None,
        dvars=np.load(cleaned["dvars"]),
        denoised=np.load(cleaned["filtered"], mmap_mode="r"),
        dummy_scans=cleaned["dummies"],
        freedom=cleaned["freedom"],
        overlap=cleaned["overlap"],
    )
    brain, mask = read_image(templates["brain"]), read_image(templates["mask"])
    files = templates if tissues is None else tissues
    segmentation = label_tissues({1: read_image(files["gm"]), 2: read_image(files["wm"])}, mask=mask)
    whose = "the template's" if tissues is None else "the participant's"
    section = draw_run(
        drawn_run,
        stage,
        template=TemplateImages(brain, mask, segmentation, whose=whose),
        maps=maps,
        fd_threshold=None if settings["denoise"] == "none" else settings["fd_threshold"] or None,
        radiological=settings["radiological"],
    )
    return replace(section, checks=[*section.checks, *_timing_checks(run)])


def _timing_checks(run: ProcessedRun) -> list[str]:
    """What the page says of a repetition time that no sidecar states."""
    if run.plan["tr_source"] != HEADER:
        return []
    seconds = f"{run.cleaned['tr']:g} s"
    return [
        f"{run.plan['label']}: no sidecar states the repetition time; {seconds} is that of the image header: check it"
    ]
