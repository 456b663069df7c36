"""What a person's BOLD runs leave in OUT_DIR: maps, tables by region, series if wanted, pictures."""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np

from bids_app import __version__, catalogue
from bids_app.bids import outputs
from bids_app.nodes.bold_maps import read_labels
from bids_app.preprocess.conform import plain
from bids_app.report import methods_bold
from bids_app.report.person import Section

if TYPE_CHECKING:
    from bids_app.report import functional as drawing

Files = dict[str, Any]


def stage_run(
    stage: Path, who: tuple[str, str | None], told: Files, templates: Files, chosen: Files, tissues: Files | None
) -> Section:
    """Stage one run's outputs and return its part of the page.

    told: what the plan says of the run, `made` by `functional.series`, `maps` (files by map and name) and `atlases`
    (folder by name); chosen: settings that the outputs state; tissues: the person's own at the template, if known.
    """
    from bids_app.report import functional as drawing

    made = told["made"]
    mask = nib.load(made["mask"])
    entities = dict(pair.split("-", 1) for pair in told["label"].split("_"))
    resolution = _resolution(made)
    place = {**entities, "space": chosen["space"], "res": f"{resolution:g}".replace(".", "p")}
    folder = outputs.folder(stage, *who, "func")
    folder.mkdir(parents=True, exist_ok=True)
    facts = _facts(told, made)
    shown = []
    for name, files in told["maps"].items():
        part, options = catalogue.load("maps", name), chosen["parameters"][name]
        for key, file in files.items():
            stat, _, named = key.partition("_")
            spelled = {
                entity: value.format(stat=stat, name=named, **options) for entity, value in part.ENTITIES.items()
            }
            stem = outputs.filename(*who, part.SUFFIX, "", **place, **spelled)
            (folder / f"{stem}.nii.gz").write_bytes(Path(file).read_bytes())
            stated = {"Description": (part.__doc__ or "").splitlines()[0], "Units": part.UNIT, **facts}
            stated["MapParameters"] = _parameters(name, chosen, resolution)
            _json(folder / f"{stem}.json", stated)
            caption = f"{stated['Description']} {_caption(part, mask, options)}".strip()
            shown.append(drawing.Map(key, nib.load(file), part.UNIT, caption=caption))
            _regions(folder, who, entities, spelled, part.SUFFIX, file, mask, told["atlases"])
    if chosen["save_series"]:
        facts["MapParameters"] = _common("series", chosen, resolution)
        _series(folder, who, place, made, mask, facts)
    if told["source"] == "pellucid":
        _preprocessed(folder, who, entities, made)
    return _draw(stage, who, entities, told, shown, templates, chosen, tissues)


def describe_runs(runs: list[Files], chosen: Files) -> str:
    """How the maps of a person's runs were made, in words."""
    made = runs[0]["made"]
    options = methods_bold.Options(
        denoise=chosen["denoise"],
        band=made["band"],
        fd_threshold=chosen["fd_threshold"],
        dropped=sum(int((~np.load(run["made"]["kept"])).sum()) for run in runs),
        dummy_scans=sum(run["made"]["dummies"] for run in runs),
        slice_timing=any(run["made"].get("slice_time") is not None for run in runs),
        resampled=chosen["resampled"],
        parcellation=next(iter(chosen["atlases"]), ""),
        network_names=[name.partition("_")[2] for name in runs[0]["maps"].get("networks", {}) if "beta" in name],
        **methods_bold.map_options(chosen["parameters"].values()),
    )
    return methods_bold.participant(
        chosen["maps"], options, source=runs[0]["source"], space=chosen["space"], resolution=_resolution(made)
    )


def _caption(part: ModuleType, mask: nib.Nifti1Image, parameters: Files) -> str:
    """What a map has to say of itself in this mask, if anything."""
    if not hasattr(part, "caption"):
        return ""
    wanted = list(inspect.signature(part.caption).parameters)[1:]
    return str(part.caption(np.asarray(mask.dataobj) > 0.5, **{name: parameters[name] for name in wanted}))


def _resolution(made: Files) -> float:
    """Edge of a voxel, mm; of one that is no cube, that of the cube of the same volume."""
    return round(float(np.prod(nib.load(made["mask"]).header.get_zooms()[:3]) ** (1 / 3)), 2)


def _facts(told: Files, made: Files) -> Files:
    """What the sidecars say of a run beyond the parameters that all people share."""
    kept, fd = np.load(made["kept"]), np.load(made["fd"])
    known = fd[np.isfinite(fd)]
    return {
        "RepetitionTime": made["tr"],
        "NumberOfVolumes": int(kept.size) + made["dummies"],
        "NumberOfVolumesDiscardedByUser": made["dummies"],
        "NumberOfVolumesDropped": int((~kept).sum()),
        "DegreesOfFreedomInBand": made["freedom"],
        "MinutesLeft": round(float(kept.sum()) * made["tr"] / 60, 3),
        "MeanFramewiseDisplacement": round(float(known.mean()), 4) if known.size else None,
        "Confounds": made["confounds"],
        "Steps": _steps(told, made),
        "PreprocessingSource": told["source"],
        "TaskName": told["task"],
        "Scanner": told["scanner"],
        "Resolution": " x ".join(f"{mm:g}" for mm in nib.load(made["mask"]).header.get_zooms()[:3]) + " mm",
    }


def _steps(told: Files, made: Files) -> list[str]:
    """What was done to the series, in order."""
    steps = ["volumes before the steady state cut off"] if made["dummies"] else []
    if told["source"] == "pellucid":
        steps += ["slice times corrected"] if made["slice_time"] is not None else []
        steps.append("motion, alignment to the T1w and to the template in one interpolation")
    steps.append("read in the mask")
    steps += ["volumes of much motion dropped"] if not np.load(made["kept"]).all() else []
    steps += ["trend and confounds regressed out"] if made["confounds"] else []
    return [*steps, *(["band-pass (not for alff and falff)"] if made["band"] is not None else [])]


def _parameters(name: str, chosen: Files, resolution: float) -> Files:
    """All that has to be the same in every person of an analysis."""
    wanted = inspect.signature(catalogue.load("maps", name).compute).parameters
    own = {outputs.camel(key): value for key, value in chosen["parameters"][name].items() if key in wanted}
    if "NetworkMaps" in own:
        maps = Path(own["NetworkMaps"])
        own |= {"NetworkMaps": maps.name, "NetworkMapsSha256": hashlib.sha256(maps.read_bytes()).hexdigest()}
    return {**_common(name, chosen, resolution), **own}


def _common(name: str, chosen: Files, resolution: float) -> Files:
    """How series were made, whatever is made of them."""
    cleaned = {"Denoise": chosen["denoise"], "Band": chosen["band"], "FdThreshold": chosen["fd_threshold"]}
    place = {"Space": chosen["space"], "ResolutionMm": resolution, "Sloppy": chosen["sloppy"]}
    return {"Map": name, **place, **cleaned, "Version": __version__}


def _regions(
    folder: Path,
    who: tuple[str, str | None],
    entities: dict[str, str],
    spelled: dict[str, str],
    suffix: str,
    file: str,
    mask: nib.Nifti1Image,
    atlases: Files,
) -> None:
    """One table an atlas: the mean of the map in each region, over the voxels that have BOLD."""
    values, inside = np.asarray(nib.load(file).dataobj), np.asarray(mask.dataobj) > 0.5
    for placed in atlases.values():
        labels, names, called = read_labels(placed)
        here = labels[inside].astype(np.int64)
        count = np.bincount(here, minlength=max(names) + 1)
        total = np.bincount(here, weights=values[inside].astype(np.float64), minlength=max(names) + 1)
        lines = ["index\tname\tmean\tvoxels"]
        for index, name in names.items():
            mean = f"{total[index] / count[index]:.6g}" if count[index] else "n/a"
            lines.append(f"{index}\t{name}\t{mean}\t{count[index]}")
        stem = outputs.filename(*who, suffix, ".tsv", **entities, atlas=outputs.label(called), **spelled)
        (folder / stem).write_text("\n".join(lines) + "\n")


def _series(
    folder: Path, who: tuple[str, str | None], place: dict[str, str], made: Files, mask: nib.Nifti1Image, facts: Files
) -> None:
    """The series that `filtered` maps are made of, as `desc-denoised_bold`, with its mask."""
    inside = np.asarray(mask.dataobj) > 0.5
    values = np.load(made["filtered"], mmap_mode="r")
    whole = np.zeros((*inside.shape, values.shape[1]), np.float32)
    whole[inside] = values
    image = plain(whole, mask.affine)
    image.header.set_zooms((*mask.header.get_zooms()[:3], made["tr"]))
    image.header.set_xyzt_units("mm", "sec")
    stem = outputs.filename(*who, "bold", "", **place, desc="denoised")
    image.to_filename(folder / f"{stem}.nii.gz")
    _json(folder / f"{stem}.json", {**facts, "SkullStripped": True})
    stem = outputs.filename(*who, "mask", "", **place, desc="denoised")
    plain(inside.astype(np.uint8), mask.affine).to_filename(folder / f"{stem}.nii.gz")
    _json(folder / f"{stem}.json", {"Type": "Brain", "Resolution": facts["Resolution"]})


def _preprocessed(folder: Path, who: tuple[str, str | None], entities: dict[str, str], made: Files) -> None:
    """The confounds of a run that was raw, and how it lies in its T1w."""
    table = Path(made["confounds_file"])
    for suffix in (".tsv", ".json"):
        name = outputs.filename(*who, "timeseries", suffix, **entities, desc="confounds")
        shutil.copyfile(table.with_suffix(suffix), folder / name)
    name = outputs.filename(*who, "xfm", ".mat", **entities, from_="boldref", to="T1w", mode="image")
    shutil.copyfile(made["transform"], folder / name)


def _draw(
    stage: Path,
    who: tuple[str, str | None],
    entities: dict[str, str],
    told: Files,
    shown: list[drawing.Map],
    templates: Files,
    chosen: Files,
    tissues: Files | None,
) -> Section:
    from bids_app.report import functional as drawing

    made = told["made"]
    fd = np.load(made["fd"])
    run = drawing.Run(
        participant=who[0],
        session=who[1],
        entities=entities,
        series=np.load(made["series"], mmap_mode="r"),
        mask=nib.load(made["mask"]),
        tr=made["tr"],
        kept=np.load(made["kept"]),
        fd=fd if np.isfinite(fd).any() else None,
        dvars=np.load(made["dvars"]),
        denoised=np.load(made["filtered"], mmap_mode="r"),
        dummy_scans=made["dummies"],
        freedom=made["freedom"],
        overlap=made.get("overlap"),
    )
    images = {name: nib.load(templates[name]) for name in ("brain", "mask")}
    whose = "the template's" if tissues is None else "the person's"
    grey, white = (nib.load((tissues or templates)[name]) for name in ("gm", "wm"))
    drawn = drawing.tissues({1: grey, 2: white}, mask=images["mask"])
    place = drawing.Template(images["brain"], images["mask"], drawn, whose=whose)
    return drawing.draw(
        run,
        stage,
        template=place,
        maps=shown,
        fd_threshold=None if chosen["denoise"] == "none" else chosen["fd_threshold"] or None,
        radiological=chosen["radiological"],
    )


def _json(path: Path, content: Files) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
