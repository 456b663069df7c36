"""The BOLD runs of a participant run, located before anything is computed."""

import math
from pathlib import Path
from typing import Any

from bids_app import catalogue
from bids_app.atlases import atlas
from bids_app.bids import annex, derivatives_bold, images, inputs, outputs
from bids_app.bids import functional as bids_functional
from bids_app.bids.json_files import read_object
from bids_app.bids.metadata import TIMING_FIELDS, read_metadata
from bids_app.bids.names import session_name
from bids_app.errors import MissingInputError, UsageError
from bids_app.options.maps import map_parameters
from bids_app.planning import available_maps, network_templates
from bids_app.planning.participant_records import BoldRun, BoldSettings, DenoisingSettings, PreprocessedRun
from bids_app.preprocess import strategies
from bids_app.preprocess.timing import read_timing
from bids_app.settings import Settings

BAND = (0.01, 0.08)
FD_THRESHOLD = 0.5
DENOISE = "24p-wm-csf"
FILES = ("bold", "mask", "confounds")
RAW_MM = 3.0  # close to the usual voxel size of BOLD


def bold_maps(settings: Settings) -> tuple[str, ...]:
    """The maps of time series among those of --maps."""
    return tuple(
        name for name in settings.participant.maps if available_maps.datatype(catalogue.load("maps", name)) == "func"
    )


def participant_level_maps(settings: Settings) -> tuple[str, ...]:
    """Those of them computed at the participant level, not fitted at the group level from the series."""
    return tuple(name for name in bold_maps(settings) if not available_maps.is_fitted(name))


def denoising_settings(settings: Settings) -> DenoisingSettings:
    """How series are denoised: strategy, band in Hz or None, FD threshold in mm. Raises UsageError for bad values."""
    options = settings.participant
    if options.denoise is not None and options.denoise not in strategies.STRATEGIES:
        raise UsageError(f"--denoise: choose from {', '.join(strategies.STRATEGIES)}, not {options.denoise}")
    threshold = FD_THRESHOLD if options.fd_threshold is None else options.fd_threshold
    return {"denoise": options.denoise or DENOISE, "band": _band(options.band), "fd_threshold": threshold}


def _band(words: tuple[str, ...]) -> list[float] | None:
    if words in ((), ("none",)):
        return None if words else list(BAND)
    try:
        low, high = (float(word) for word in words)
    except ValueError as error:
        raise UsageError(f"--band: two frequencies in Hz, or none, not {' '.join(words)}") from error
    if not 0 <= low < high:
        raise UsageError(f"--band {low:g} {high:g}: the first must be below the second")
    return [low, high]


def map_options(settings: Settings, map_name: str) -> dict[str, Any]:
    """The values of a map's options, by keyword of its `compute`, and the file `network_maps`."""
    file = settings.participant.network_templates
    return {**map_parameters(settings.participant, map_name), "network_maps": None if file is None else str(file)}


def atlas_names(atlases: tuple[str, ...], map_name: str) -> tuple[str, ...]:
    """The atlases for a map's tables: those of --atlas, else its default."""
    return tuple(atlases) or catalogue.load("maps", map_name).ATLASES


def check(settings: Settings) -> None:
    """Raise the first error in the settings shared by all participants."""
    if not bold_maps(settings):
        return
    denoising_settings(settings)
    if settings.participant.denoise == "ica_aroma" and "fmriprep" not in settings.select.derivatives:
        raise UsageError("--denoise ica_aroma requires series from fMRIPrep; use -d fmriprep=PATH")
    if "networks" in bold_maps(settings):
        network_templates.check(settings.participant.network_templates, "networks")
    for name in bold_maps(settings):
        atlas.check(atlas_names(settings.shared.atlas, name))


def find_sessions(
    dataset: inputs.Dataset, participant: str, settings: Settings, filters: dict[str, object]
) -> list[str | None]:
    """The sessions of a participant that have BOLD; fMRIPrep's if its derivatives are given."""
    wanted = {name.removeprefix("ses-") for name in settings.select.session_label}
    sessions: list[str | None] = []
    if "fmriprep" in settings.select.derivatives:
        root = settings.select.derivatives["fmriprep"]
        sessions = derivatives_bold.find_fmriprep_sessions(root, participant, filters)
    if "fmriprep" not in settings.select.derivatives or settings.participant.fallback_preprocessing:
        sessions += [scan.session for scan in _raw_scans(dataset, participant, settings, filters)]
    return [session for session in dict.fromkeys(sessions) if not wanted or session in wanted]


def find_runs(
    dataset: inputs.Dataset, participant: str, session: str | None, settings: Settings, filters: dict[str, object]
) -> list[BoldRun]:
    """The runs of one session. Raises MissingInputError that names what is missing."""
    if "fmriprep" in settings.select.derivatives:
        try:
            return _fmriprep_runs(dataset, participant, session, settings, filters)
        except MissingInputError as error:
            if not settings.participant.fallback_preprocessing:
                raise MissingInputError(f"{error} (--fallback-preprocessing uses Pellucid in such cases)") from error
    scans = [scan for scan in _raw_scans(dataset, participant, settings, filters) if scan.session == session]
    if not scans:
        task = f" of task-{settings.select.task_id.removeprefix('task-')}" if settings.select.task_id else ""
        raise MissingInputError(
            f"{session_name(participant, session)} has no BOLD run{task} in func: add it, check --task-id and "
            "--bids-filter-file if used, or exclude the participant with --exclude."
        )
    return [_raw_run(dataset, scan, settings) for scan in scans]


def _fmriprep_runs(
    dataset: inputs.Dataset, participant: str, session: str | None, settings: Settings, filters: dict[str, object]
) -> list[BoldRun]:
    options = settings.participant
    runs = derivatives_bold.find_fmriprep_runs(
        settings.select.derivatives["fmriprep"],
        participant,
        session,
        space=options.output_space,
        task=settings.select.task_id,
        resolution=f"{options.resolution:g}" if options.resolution else None,
        desc="smoothAROMAnonaggr" if options.denoise == "ica_aroma" else "preproc",
        filters=filters,
    )
    if options.denoise in strategies.NILEARN:
        for run in runs:
            file = run.confounds.with_suffix(".json")
            # only CompCor's components are selected by what it says of them
            if options.denoise == "compcor" or file.is_file():
                _check_confounds_description(file, settings.select.derivatives["fmriprep"])
    return [
        {
            "bold": str(run.bold),
            "mask": str(run.mask),
            "confounds": str(run.confounds),
            "task": run.task,
            "session": run.session,
            "run": run.run,
            "timing": _timing_fields(dataset, participant, run),
            "label": run.label,
            "source": "fmriprep",
            "scan": run.bold.relative_to(settings.select.derivatives["fmriprep"]).as_posix(),
            "skipped": options.dummy_scans or 0,
            "scanner": bids_functional.read_scanner(dataset.root, participant, session, run.label),
        }
        for run in runs
    ]


def _timing_fields(dataset: inputs.Dataset, participant: str, run: derivatives_bold.FmriprepRun) -> dict[str, object]:
    """What the sidecars of a preprocessed run state of its timing; those of the raw run if they state no interval."""
    interval = ("RepetitionTime", "VolumeTiming")
    if any(run.timing.get(field) is not None for field in interval):
        return run.timing
    return bids_functional.read_scanner(dataset.root, participant, run.session, run.label, TIMING_FIELDS)


def _check_confounds_description(file: Path, root: Path) -> None:
    """Raise an error for a JSON file of confounds, which nilearn reads in the worker, that it could not read.

    MissingInputError where it was not fetched, DataError where it is not a JSON object.
    """
    if reason := annex.why_unreadable(file, root):
        raise MissingInputError(reason)
    read_object(file)


def _raw_scans(
    dataset: inputs.Dataset, participant: str, settings: Settings, filters: dict[str, object]
) -> list[bids_functional.BoldScan]:
    select = settings.select
    return bids_functional.bold_scans(
        dataset, participant, sessions=select.session_label, task=select.task_id, filters=filters
    )


def _raw_run(dataset: inputs.Dataset, scan: bids_functional.BoldScan, settings: Settings) -> BoldRun:
    """A raw run with the timing in its sidecars, which `add_header` checks."""
    return {
        "bold": str(scan.path),
        "task": scan.task,
        "run": scan.run,
        "session": scan.session,
        "label": scan.label,
        "source": "pellucid",
        "scan": scan.path.relative_to(dataset.root).as_posix(),
        "timing": read_metadata(dataset.root, scan.path, TIMING_FIELDS),
        "dummies": settings.participant.dummy_scans,
        "scanner": bids_functional.read_scanner(dataset.root, scan.participant, scan.session, scan.label),
    }


def is_raw(run: BoldRun) -> bool:
    """Whether a run is to be preprocessed here."""
    return run["source"] == "pellucid"


def files(run: BoldRun) -> list[str]:
    """The files of a run, for hashes and to check that they exist."""
    return [run["bold"], *(run[name] for name in ("mask", "confounds") if name in run)]


def preprocessed_run(run: BoldRun) -> PreprocessedRun:
    """A run of fMRIPrep's in the format of nodes."""
    return {
        "bold": run["bold"],
        "mask": run["mask"],
        "confounds": run["confounds"],
        "tr": run["tr"],
        "skipped": run["skipped"],
    }


def add_header(run: BoldRun) -> BoldRun:
    """The run with its timing, and its size as float32. Reads the header only.

    Raises DataError for a run that is not 4D, or whose timing is missing or contradictory.
    """
    timing = read_timing(Path(run["bold"]), run["timing"], preprocessed=not is_raw(run))
    return {
        **run,
        "tr": timing.tr,
        "tr_source": timing.source,
        "delay": timing.delay,
        "slice_times": timing.slice_times,
        "slice_direction": timing.slice_direction,
        "gb": math.prod(images.open_image(Path(run["bold"]), axes=(4,)).shape) * 4 / 1e9,
    }


def registration(settings: Settings) -> str:
    """The registration of raw BOLD from the T1w to the template."""
    return settings.participant.registration or "nonlinear"


def resolution(settings: Settings) -> float:
    """Voxel size of the maps of raw BOLD, mm."""
    return settings.participant.resolution or RAW_MM


def output_settings(settings: Settings) -> BoldSettings:
    """The settings stated by BOLD outputs."""
    return {
        **denoising_settings(settings),
        "maps": list(bold_maps(settings)),
        "parameters": {name: map_options(settings, name) for name in bold_maps(settings)},
        "atlases": atlases_by_label(settings),
        "space": settings.participant.output_space,
        "anatomy": settings.participant.anatomy,
        "sloppy": settings.participant.sloppy,
        "registration": registration(settings),
        "resampled": settings.participant.resolution is not None,
        "save_series": settings.participant.save_series or participant_level_maps(settings) != bold_maps(settings),
        "radiological": settings.other.radiological,
    }


def atlases_by_label(settings: Settings) -> dict[str, str]:
    """The atlases of all computed maps, by a name that is valid for nodes."""
    maps = participant_level_maps(settings)
    names = [name for map_name in maps for name in atlas_names(settings.shared.atlas, map_name)]
    return {outputs.label(atlas.name(name)): name for name in dict.fromkeys(names)}
