"""The maps in OUT_DIR, by participant and session."""

from pathlib import Path
from types import ModuleType
from typing import Any

from bids_app import catalogue
from bids_app.bids import annex, images
from bids_app.bids.names import BidsFile, resolution_label
from bids_app.dataset import scans
from bids_app.errors import DataError, MissingInputError, UsageError
from bids_app.options.maps import map_parameters
from bids_app.planning import network_templates
from bids_app.settings import Settings

MapFiles = dict[tuple[str, str | None], dict[str, tuple[Path, ...]]]


def datatype(part: ModuleType) -> str:
    """The BIDS folder of a map: `func` for maps of time series, `anat` for the others."""
    return "func" if part.SUFFIX == "boldmap" else "anat"


def map_names(settings: Settings) -> tuple[str, ...]:
    """The names of the maps of the run; a map with several named images (networks) stands for all of them."""
    every: list[str] = []
    for name in settings.participant.maps:
        part = catalogue.load("maps", name)
        if is_fitted(name):
            every += _fitted_names(name, settings)
            continue
        if "{name}" not in part.ENTITIES.get("desc", "") or "-" in name:
            every.append(name)
            continue
        files = (BidsFile.parse(path.name) for path in _find_files(settings, f"{name}-*", part))
        labels = {file.entities.get("desc", "") for file in files if file is not None}
        every += [f"{name}-{label}" for label in sorted(labels)] or [name]
    return tuple(dict.fromkeys(every))


def is_fitted(name: str) -> bool:
    """Whether a map is computed at the group level, by components fitted to the training participants of each fold."""
    return catalogue.has("maps", name, "FITTED")


def _fitted_names(name: str, settings: Settings) -> list[str]:
    """A map of each network of --network-templates, or the one named. Raises UsageError for an unknown name."""
    base, _, wanted = name.partition("-")
    there = network_templates.read_labels(settings.participant.network_templates, base)
    if wanted and wanted not in there:
        raise UsageError(f"--maps {name}: --network-templates has no {wanted}; it has {', '.join(there)}")
    return [name] if wanted else [f"{base}-{label}" for label in there]


def find_maps(settings: Settings, names: tuple[str, ...], people: set[str] | None) -> MapFiles:
    """Files by participant and session, then by map, the runs of a session in order.

    Raises UsageError for several tasks or voxel sizes if none was selected, MissingInputError for a broken link.
    """
    sessions = {name.removeprefix("ses-") for name in settings.select.session_label}
    files_by_session: MapFiles = {}
    for name in names:
        tasks, sizes = set(), set()
        for path in _find_files(settings, name, catalogue.load("maps", name)):
            file = BidsFile.parse(path.name)
            if file is None or file.participant is None:
                continue
            key = (file.participant, file.session)
            if (people is not None and key[0] not in people) or (sessions and key[1] not in sessions):
                continue
            if not path.is_file() and (reason := annex.why_unreadable(path, settings.output_dir)):
                raise MissingInputError(reason)
            tasks.add(file.entities.get("task"))
            sizes.add(file.entities.get("res"))
            files_by_map = files_by_session.setdefault(key, {})
            files_by_map[name] = (*files_by_map.get(name, ()), path)
        if len(tasks) > 1:
            raise UsageError(
                f"{name} was computed for several tasks ({', '.join(map(str, tasks))}); select one with --task-id"
            )
        if len(sizes) > 1:
            raise UsageError(f"{name} has several voxel sizes in OUT_DIR; select one with --resolution")
    return files_by_session


def read_grid(path: Path) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Shape and affine of an image, hashable; only the header is read. Raises DataError for one that cannot be used."""
    image = images.open_image(path, axes=(3, 4))
    return image.shape[:3], tuple(image.affine.round(4).ravel().tolist())


def read_map_parameters(path: Path) -> dict[str, Any]:
    """The parameters and the task in a map's sidecar, without those that are null, which TOML cannot hold."""
    sidecar = scans.read_sidecar(path)
    if sidecar.get("MapParameters") is None:
        raise DataError(
            f"the sidecar of {path.name} does not state how the map was computed; run the participant level again"
        )
    parameters = sidecar["MapParameters"] | {"TaskName": sidecar.get("TaskName")}
    return {name: value for name, value in parameters.items() if value is not None}


def _find_files(settings: Settings, name: str, part: ModuleType) -> list[Path]:
    options = settings.participant
    known = {**map_parameters(options, name), "stat": "beta", "name": name.partition("-")[2] or "*"}
    part_entities = {key: value.format(**known) for key, value in part.ENTITIES.items()}
    res = resolution_label(options.resolution) if options.resolution else "*"
    run = f"*_task-{settings.select.task_id or '*'}_*" if datatype(part) == "func" else "*_"
    entities = "_".join(f"{key}-{value}" for key, value in part_entities.items())
    named = "desc-denoised_bold" if is_fitted(name) else f"{entities}_{part.SUFFIX}"
    pattern = f"sub-{run}space-{options.output_space}_res-{res}_{named}.nii.gz"
    folders = (f"sub-*/{datatype(part)}", f"sub-*/ses-*/{datatype(part)}")
    return sorted(path for folder in folders for path in settings.output_dir.glob(f"{folder}/{pattern}"))
