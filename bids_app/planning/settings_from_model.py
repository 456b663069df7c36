"""How the maps were made that a model was trained on, as settings of the participant level."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bids_app import catalogue
from bids_app.atlases import templates
from bids_app.bids import outputs
from bids_app.errors import DataError, UsageError
from bids_app.options.maps import read_map_options
from bids_app.settings import Participant, Settings, option
from bids_app.training.model_metadata import find_models

# how the sidecars of maps spell settings of the participant level, beside the options that maps declare
SPELLED = {
    "Space": "output_space", "ResolutionMm": "resolution", "Sloppy": "sloppy", "Denoise": "denoise", "Band": "band",
    "FdThreshold": "fd_threshold", "BoundingBoxMm": "bounding_box", "WithoutRegions": "without_regions",
}  # fmt: skip


def taken(settings: Settings) -> Settings:
    """The settings with those of the maps that the model was trained on, where one is given.

    Raises UsageError for an option that contradicts the model.
    """
    if settings.both.model is None:
        return settings
    found = maps(find_models(settings.both.model))
    wanted: dict[str, list[Any]] = {"maps": [tuple(dict.fromkeys(name.partition("-")[0] for name in found))]}
    for name, its in found.items():
        for field, value in _stated(name, its).items():
            wanted.setdefault(field, []).append(value)
        _check_registration(its["made"], settings)
    unset = Participant()
    # what maps differ in is what each has of its own
    agreed = {field: values[0] for field, values in wanted.items() if all(one == values[0] for one in values)}
    for field, value in agreed.items():
        given = getattr(settings.participant, field)
        if given not in (getattr(unset, field), value):
            raise UsageError(f"{option(field)}: the model was trained with {_shown(value)}; leave the option out")
    tasks = {its["made"]["TaskName"] for its in found.values() if "TaskName" in its["made"]}
    given = settings.select.task_id
    if given is not None and tasks and tasks != {given.removeprefix("task-")}:
        raise UsageError(f"--task-id: the model was trained on {', '.join(sorted(tasks))}; leave the option out")
    task = given or (tasks.pop() if len(tasks) == 1 else None)
    return replace(
        settings,
        select=replace(settings.select, task_id=task),
        participant=replace(settings.participant, **agreed),
    )


def maps(cells: dict[str, dict[Path, Any]]) -> dict[str, dict[str, Any]]:
    """By map: how it was `made`, its `smoothing_mm` and `form`, its grid, and a `folder` that has its mask.

    Of maps that were fitted also the `ica`.
    """
    found: dict[str, dict[str, Any]] = {}
    for its in cells.values():
        folder, card = next(iter(its.items()))
        stated = card["settings"]
        for name in card["maps"]:
            own = {"made": stated["made"][name], "smoothing_mm": stated["smoothing_mm"][name]}
            own |= {"form": stated["map_form"][name], "grid": card["grid"]}
            own |= {key: stated[key] for key in ("ica",) if key in stated}
            known = found.setdefault(name, own | {"folder": folder})
            if {key: known[key] for key in own} != own:
                raise DataError(f"--model: cells differ in how {name} was made or prepared; give one analysis alone")
    return found


def _check_registration(made: dict[str, Any], settings: Settings) -> None:
    """Where each map has its own registration nothing is set, but what was given may contradict it."""
    given = settings.participant.registration
    if given is not None and made.get("Registration", given) != given:
        raise UsageError(f"--registration: the model was trained with {made['Registration']}; leave the option out")


def _stated(name: str, its: dict[str, Any]) -> dict[str, Any]:
    """Settings of the participant level that make a map with these parameters."""
    made = its["made"]
    options = read_map_options(name.partition("-")[0]).items()
    spelled = SPELLED | {outputs.camel(keyword): option["setting"] for keyword, option in options}
    stated = {field: made[key] for key, field in spelled.items() if key in made}
    stated |= {field: tuple(stated[field]) for field in ("bounding_box", "without_regions") if field in stated}
    shape, affine = templates.grid(made["Space"], made["ResolutionMm"], stated.get("bounding_box", ()))
    if list(shape) != its["grid"]["shape"] or not np.allclose(affine, its["grid"]["affine"], rtol=0, atol=1e-3):
        del stated["resolution"]  # not our grid: that of fMRIPrep's own series, which is taken as it is
    if "Denoise" in made:
        stated["band"] = tuple(map(str, made.get("Band", ("none",))))
    elif made["Registration"] != catalogue.load("maps", name).REGISTRATION:
        stated["registration"] = made["Registration"]
    return stated


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
