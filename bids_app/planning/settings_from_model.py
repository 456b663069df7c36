"""The parameters of the maps that a model was trained on, as settings of the participant level."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np

from bids_app import catalogue
from bids_app.atlases import templates
from bids_app.bids import outputs
from bids_app.errors import DataError, UsageError
from bids_app.options.maps import read_map_options
from bids_app.options.participant import Participant
from bids_app.planning.group_records import IcaSettings
from bids_app.settings import Settings
from bids_app.training.model_metadata import find_models
from bids_app.values import option

# sidecar names of participant-level settings, in addition to the options that maps declare
SETTINGS_BY_KEY = {
    "Space": "output_space", "ResolutionMm": "resolution", "Sloppy": "sloppy", "Anatomy": "anatomy",
    "Denoise": "denoise", "Band": "band",
    "FdThreshold": "fd_threshold", "BoundingBoxMm": "bounding_box", "WithoutRegions": "exclude_regions",
}  # fmt: skip


class ModelMap(TypedDict):
    """The parameters of a map that a model was trained on; `folder`: of one model, which has the mask."""

    map_parameters: dict[str, Any]
    smoothing_mm: float
    form: str
    grid: dict[str, Any]
    folder: Path
    ica: NotRequired[IcaSettings]


def apply_model_settings(settings: Settings) -> Settings:
    """The settings, with those of the maps that the model was trained on if one is given.

    Raises UsageError for an option that contradicts the model.
    """
    if settings.shared.model is None:
        return settings
    maps = maps_of_models(find_models(settings.shared.model))
    wanted: dict[str, list[Any]] = {"maps": [tuple(dict.fromkeys(name.partition("-")[0] for name in maps))]}
    for name, model_map in maps.items():
        for field, value in participant_settings(name, model_map).items():
            wanted.setdefault(field, []).append(value)
        _check_registration(model_map["map_parameters"], settings)
    unset = Participant()
    # where maps disagree, each keeps its own default
    agreed = {field: values[0] for field, values in wanted.items() if all(value == values[0] for value in values)}
    for field, value in agreed.items():
        if getattr(settings.participant, field) not in (getattr(unset, field), value):
            raise UsageError(f"{option(field)}: the model was trained with {_to_text(value)}; remove the option")
    return replace(
        settings,
        select=replace(settings.select, task_id=_task(maps, settings.select.task_id)),
        participant=replace(settings.participant, **agreed),
    )


def _task(maps: dict[str, ModelMap], task_id: str | None) -> str | None:
    """The task to select: that of --task-id, else that of the model's maps, if it is unique."""
    tasks = {
        model_map["map_parameters"]["TaskName"]
        for model_map in maps.values()
        if "TaskName" in model_map["map_parameters"]
    }
    if task_id is not None and tasks and tasks != {task_id.removeprefix("task-")}:
        raise UsageError(f"--task-id: the model was trained on {', '.join(sorted(tasks))}; remove the option")
    return task_id or (tasks.pop() if len(tasks) == 1 else None)


def maps_of_models(cells: dict[str, dict[Path, Any]]) -> dict[str, ModelMap]:
    """The parameters of each map, by the models' cards; cells: of `find_models`. Raises DataError where they differ."""
    maps: dict[str, ModelMap] = {}
    for models in cells.values():
        folder, card = next(iter(models.items()))
        settings = card["settings"]
        for name in card["maps"]:
            model_map: ModelMap = {
                "map_parameters": settings["made"][name],
                "smoothing_mm": settings["smoothing_mm"][name],
                "form": settings["map_form"][name],
                "grid": card["grid"],
                "folder": folder,
            }
            if "ica" in settings:
                model_map["ica"] = settings["ica"]
            known = maps.setdefault(name, model_map)
            if {**known, "folder": folder} != model_map:
                raise DataError(
                    f"--model: models differ in how {name} was computed or prepared; specify a single analysis"
                )
    return maps


def _check_registration(map_parameters: dict[str, Any], settings: Settings) -> None:
    """Raise UsageError if --registration contradicts the model; if it is unset, each map has its own."""
    registration = settings.participant.registration
    if registration is not None and map_parameters.get("Registration", registration) != registration:
        raise UsageError(
            f"--registration: the model was trained with {map_parameters['Registration']}; remove the option"
        )


def participant_settings(name: str, model_map: ModelMap) -> dict[str, Any]:
    """Settings of the participant level that make a map with these parameters."""
    # what models of the version before stated otherwise
    parameters = {"Anatomy": "ants", **model_map["map_parameters"]}
    if parameters.get("Registration") == "syn":
        parameters["Registration"] = "nonlinear"
    options = read_map_options(name.partition("-")[0]).items()
    fields = SETTINGS_BY_KEY | {outputs.camel(keyword): option["setting"] for keyword, option in options}
    settings = {field: parameters[key] for key, field in fields.items() if key in parameters}
    settings |= {field: tuple(settings[field]) for field in ("bounding_box", "exclude_regions") if field in settings}
    shape, affine = templates.grid(parameters["Space"], parameters["ResolutionMm"], settings.get("bounding_box", ()))
    grid = model_map["grid"]
    if list(shape) != grid["shape"] or not np.allclose(affine, grid["affine"], rtol=0, atol=1e-3):
        del settings["resolution"]  # the grid of fMRIPrep's own series, which are not resampled
    if "Denoise" in parameters:
        settings["band"] = tuple(map(str, parameters.get("Band", ("none",))))
    elif parameters["Registration"] != catalogue.load("maps", name).REGISTRATION:
        settings["registration"] = parameters["Registration"]
    return settings


def _to_text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
