"""Which BOLD runs a participant run will use, looked for before anything is computed."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nibabel as nib

from bids_app import catalogue
from bids_app.atlases import atlas
from bids_app.bids import derivatives_bold, inputs, outputs
from bids_app.bids import functional as bids_functional
from bids_app.errors import MissingInputError, UsageError
from bids_app.options.maps import map_parameters
from bids_app.planning import available_maps, bold_runs, network_templates
from bids_app.preprocess import series, strategies
from bids_app.settings import Settings

BAND = (0.01, 0.08)
FD_THRESHOLD = 0.5
DENOISE = "24p-wm-csf"
FILES = ("bold", "mask", "confounds")
RAW_MM = 3.0  # about the voxels that BOLD is measured with


def maps(settings: Settings) -> tuple[str, ...]:
    """The maps of time series among those chosen."""
    return tuple(
        name for name in settings.participant.maps if available_maps.datatype(catalogue.load("maps", name)) == "func"
    )


def computed(settings: Settings) -> tuple[str, ...]:
    """Those of them that are made here, and not fitted at the group level, which takes the series."""
    return tuple(name for name in maps(settings) if not available_maps.fitted(name))


def chosen(settings: Settings) -> dict[str, Any]:
    """How series are cleaned: strategy, band in Hz or None, FD threshold in mm. Raises UsageError for a bad one."""
    stated = settings.participant
    if stated.denoise is not None and stated.denoise not in strategies.STRATEGIES:
        raise UsageError(f"--denoise: choose from {', '.join(strategies.STRATEGIES)}, not {stated.denoise}")
    threshold = FD_THRESHOLD if stated.fd_threshold is None else stated.fd_threshold
    return {"denoise": stated.denoise or DENOISE, "band": _band(stated.band), "fd_threshold": threshold}


def _band(words: tuple[str, ...]) -> list[float] | None:
    if words in ((), ("none",)):
        return None if words else list(BAND)
    try:
        low, high = (float(word) for word in words)
    except ValueError as error:
        raise UsageError(f"--band: two frequencies in Hz, or none, not {' '.join(words)}") from error
    if not 0 <= low < high:
        raise UsageError(f"--band {low:g} {high:g}: the first has to be below the second")
    return [low, high]


def parameters(settings: Settings, map_name: str) -> dict[str, Any]:
    """The values of a map's options, by keyword of its `compute`, and the file `network_maps`."""
    file = settings.participant.network_maps
    return {**map_parameters(settings.participant, map_name), "network_maps": None if file is None else str(file)}


def atlas_names(chosen: tuple[str, ...], map_name: str) -> tuple[str, ...]:
    """The atlases that a map is looked at by: those chosen, else its own."""
    return tuple(chosen) or catalogue.load("maps", map_name).ATLASES


def check(settings: Settings) -> None:
    """Raise the first thing that is wrong with what all people share."""
    if not maps(settings):
        return
    chosen(settings)
    if settings.participant.denoise == "ica_aroma" and "fmriprep" not in settings.select.derivatives:
        raise UsageError("--denoise ica_aroma: only fMRIPrep's own series serve; give -d fmriprep=PATH")
    if "networks" in maps(settings):
        network_templates.check(settings.participant.network_maps, "networks")
    for name in maps(settings):
        atlas.check(atlas_names(settings.both.atlas, name))


def sessions(
    dataset: inputs.Dataset, participant: str, settings: Settings, filters: dict[str, object]
) -> list[str | None]:
    """The sessions of a person that have BOLD, fMRIPrep's where its tree is given."""
    wanted = {name.removeprefix("ses-") for name in settings.select.session_label}
    there: list[str | None] = []
    if "fmriprep" in settings.select.derivatives:
        there = derivatives_bold.fmriprep_sessions(settings.select.derivatives["fmriprep"], participant)
    if "fmriprep" not in settings.select.derivatives or settings.participant.fallback_preprocessing:
        there += [run.session for run in _raw(dataset, participant, settings, filters)]
    return [name for name in dict.fromkeys(there) if not wanted or name in wanted]


def runs(
    dataset: inputs.Dataset, participant: str, session: str | None, settings: Settings, filters: dict[str, object]
) -> list[dict[str, Any]]:
    """The runs of one session, as values that nodes take. Raises MissingInputError that names what is lacking."""
    if "fmriprep" in settings.select.derivatives:
        try:
            return _borrowed(dataset, participant, session, settings)
        except MissingInputError as error:
            if not settings.participant.fallback_preprocessing:
                raise MissingInputError(f"{error} (--fallback-preprocessing preprocesses such people here)") from error
    found = [run for run in _raw(dataset, participant, settings, filters) if run.session == session]
    if not found:
        raise MissingInputError(f"sub-{participant} has no BOLD run")
    return [_values(dataset, run, settings) for run in found]


def _borrowed(
    dataset: inputs.Dataset, participant: str, session: str | None, settings: Settings
) -> list[dict[str, Any]]:
    stated = settings.participant
    images = derivatives_bold.fmriprep_bold(
        settings.select.derivatives["fmriprep"],
        participant,
        session,
        space=stated.output_space,
        task=settings.select.task_id,
        resolution=f"{stated.resolution:g}" if stated.resolution else None,
        desc="smoothAROMAnonaggr" if stated.denoise == "ica_aroma" else "preproc",
    )
    found = []
    for image in images:
        values = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(image).items()}
        scanner = bids_functional.scanner(dataset, participant, session, image.label)
        found.append({**values, "source": "fmriprep", "skipped": stated.dummy_scans or 0, "scanner": scanner})
    return found


def _raw(
    dataset: inputs.Dataset, participant: str, settings: Settings, filters: dict[str, object]
) -> list[bids_functional.Bold]:
    chosen = settings.select
    return bids_functional.bold_scans(
        dataset, participant, sessions=chosen.session_label, task=chosen.task_id, filters=filters
    )


def _values(dataset: inputs.Dataset, run: bids_functional.Bold, settings: Settings) -> dict[str, Any]:
    """A raw run with what its sidecars say of time."""
    stated = bids_functional.metadata(dataset, run)
    return {
        "bold": str(run.path),
        "task": run.task,
        "run": run.run,
        "session": run.session,
        "label": run.label,
        "source": "pellucid",
        "tr": stated.get("RepetitionTime"),
        "slice_times": stated.get("SliceTiming"),
        "slice_direction": stated.get("SliceEncodingDirection"),
        "dummies": settings.participant.dummy_scans,
        "scanner": bids_functional.scanner(dataset, run.participant, run.session, run.label),
    }


def is_raw(run: dict[str, Any]) -> bool:
    """Whether a run is to be preprocessed here."""
    return bool(run["source"] == "pellucid")


def files(run: dict[str, Any]) -> list[str]:
    """The files of a run, for hashes and for a look whether they are there."""
    return [run[name] for name in FILES if name in run]


def look(run: dict[str, Any]) -> dict[str, Any]:
    """The run with `gb`, what all of it takes as float32. Reads the header only.

    Raises DataError for a run that is not 4D, or whose TR is missing or contradicts itself.
    """
    series.repetition_time(Path(run["bold"]), stated=run["tr"])
    return {**run, "gb": math.prod(nib.load(run["bold"]).shape) * 4 / 1e9}


def registration(settings: Settings) -> str:
    """How raw BOLD comes from the T1w to the template."""
    return settings.participant.registration or "syn"


def resolution(settings: Settings) -> float:
    """Voxel size of the maps of raw BOLD, mm."""
    return settings.participant.resolution or RAW_MM


def output_settings(settings: Settings) -> dict[str, Any]:
    """What the outputs of BOLD state of the settings."""
    return {
        **bold_runs.chosen(settings),
        "maps": list(bold_runs.maps(settings)),
        "parameters": {name: bold_runs.parameters(settings, name) for name in bold_runs.maps(settings)},
        "atlases": atlases_by_label(settings),
        "space": settings.participant.output_space,
        "sloppy": settings.participant.sloppy,
        "registration": bold_runs.registration(settings),
        "resampled": settings.participant.resolution is not None,
        "save_series": settings.participant.save_series or bold_runs.computed(settings) != bold_runs.maps(settings),
        "radiological": settings.other.radiological,
    }


def atlases_by_label(settings: Settings) -> dict[str, str]:
    """The atlases of all maps that are made, by a name that nodes can have."""
    names = [name for one in bold_runs.computed(settings) for name in bold_runs.atlas_names(settings.both.atlas, one)]
    return {outputs.label(atlas.name(name)): name for name in dict.fromkeys(names)}
