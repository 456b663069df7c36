"""The maps that stand in OUT_DIR, by person and session."""

from pathlib import Path
from types import ModuleType

import nibabel as nib

from bids_app import catalogue
from bids_app.bids import inputs, outputs
from bids_app.errors import UsageError
from bids_app.options.maps import map_parameters
from bids_app.planning import network_templates
from bids_app.settings import Settings

Found = dict[tuple[str, str | None], dict[str, tuple[Path, ...]]]


def datatype(part: ModuleType) -> str:
    """The BIDS folder of a map: `func` for maps of time series, `anat` for the others."""
    return "func" if part.SUFFIX == "boldmap" else "anat"


def names(settings: Settings) -> tuple[str, ...]:
    """The maps of the run; one that has several named images (networks) stands for all that are found."""
    every: list[str] = []
    for name in settings.participant.maps:
        part = catalogue.load("maps", name)
        if fitted(name):
            every += _fitted(name, settings)
            continue
        if "{name}" not in part.ENTITIES.get("desc", "") or "-" in name:
            every.append(name)
            continue
        labels = {(inputs.entities(path.name) or {}).get("desc", "") for path in _files(settings, f"{name}-*", part)}
        every += [f"{name}-{label}" for label in sorted(labels)] or [name]
    return tuple(dict.fromkeys(every))


def fitted(name: str) -> bool:
    """Whether a map is made at the group level, of series, by what is fitted on the training people of each fold."""
    return catalogue.has("maps", name, "FITTED")


def _fitted(name: str, settings: Settings) -> list[str]:
    """A map of each network of --network-maps, or the one that is named. Raises UsageError for a name not there."""
    base, _, wanted = name.partition("-")
    there = network_templates.labels(settings.participant.network_maps, base)
    if wanted and wanted not in there:
        raise UsageError(f"--maps {name}: --network-maps has no {wanted}; it has {', '.join(there)}")
    return [name] if wanted else [f"{base}-{label}" for label in there]


def maps(settings: Settings, chosen: tuple[str, ...], people: set[str] | None) -> Found:
    """Files by person and session, then map: the runs of one session in their order.

    Raises UsageError for several tasks or voxel sizes of which none was chosen.
    """
    sessions = {name.removeprefix("ses-") for name in settings.select.session_label}
    found: Found = {}
    for name in chosen:
        tasks, sizes = set(), set()
        for path in _files(settings, name, catalogue.load("maps", name)):
            who = inputs.entities(path.name) or {}
            key = (who["sub"], who.get("ses"))
            if (people is not None and key[0] not in people) or (sessions and key[1] not in sessions):
                continue
            tasks.add(who.get("task"))
            sizes.add(who.get("res"))
            files = found.setdefault(key, {}).get(name, ())
            found[key][name] = (*files, path)
        if len(tasks) > 1:
            raise UsageError(f"{name} was made of several tasks ({', '.join(map(str, tasks))}); choose with --task-id")
        if len(sizes) > 1:
            raise UsageError(f"{name} stands in several voxel sizes in OUT_DIR; choose one with --resolution")
    return found


def grid(path: Path) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Shape and affine of an image, comparable; only its header is read."""
    image = nib.load(path)
    return image.shape[:3], tuple(image.affine.round(4).ravel().tolist())


def _files(settings: Settings, name: str, part: ModuleType) -> list[Path]:
    chosen = settings.participant
    known = {**map_parameters(chosen, name), "stat": "beta", "name": name.partition("-")[2] or "*"}
    stated = {key: value.format(**known) for key, value in part.ENTITIES.items()}
    res = outputs.label(f"{chosen.resolution:g}".replace(".", "p")) if chosen.resolution else "*"
    run = f"*_task-{settings.select.task_id or '*'}_*" if datatype(part) == "func" else "*_"
    entities = "_".join(f"{key}-{value}" for key, value in stated.items())
    named = "desc-denoised_bold" if fitted(name) else f"{entities}_{part.SUFFIX}"
    pattern = f"sub-{run}space-{chosen.output_space}_res-{res}_{named}.nii.gz"
    folders = (f"sub-*/{datatype(part)}", f"sub-*/ses-*/{datatype(part)}")
    return sorted(path for folder in folders for path in settings.output_dir.glob(f"{folder}/{pattern}"))
