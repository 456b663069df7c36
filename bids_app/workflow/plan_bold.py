"""Which BOLD runs a participant run will use, looked for before anything is computed."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from bids_app import catalogue
from bids_app.atlases import atlas
from bids_app.bids import derivatives_bold
from bids_app.errors import MissingInputError, UsageError
from bids_app.preprocess import strategies
from bids_app.settings import Settings
from bids_app.workflow import found, functional

BAND = (0.01, 0.08)
FD_THRESHOLD = 0.5
DENOISE = "24p-wm-csf"


def maps(settings: Settings) -> tuple[str, ...]:
    """The maps of time series among those chosen."""
    return tuple(name for name in settings.participant.maps if found.datatype(catalogue.load("maps", name)) == "func")


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


def parameters(settings: Settings) -> dict[str, Any]:
    """The options of single maps, by the names that their `compute` takes."""
    stated = settings.participant
    return {
        "alff_definition": stated.alff_definition,
        "strength": stated.strength,
        "neighbours": stated.reho_neighbours,
        "network_maps": None if stated.network_maps is None else str(stated.network_maps),
    }


def check(settings: Settings) -> None:
    """Raise the first thing that is wrong with what all people share."""
    if not maps(settings):
        return
    chosen(settings)
    if "fmriprep" not in settings.select.derivatives:
        raise UsageError(
            f"--maps {', '.join(maps(settings))}: made from fMRIPrep's derivatives in this version; give "
            "-d fmriprep=PATH"
        )
    if "networks" in maps(settings):
        functional.check_networks(settings.participant.network_maps)
    for name in maps(settings):
        atlas.check(functional.atlas_names(settings.both.atlas, name))


def sessions(settings: Settings, participant: str) -> list[str | None]:
    """The sessions of a person that have BOLD."""
    wanted = {name.removeprefix("ses-") for name in settings.select.session_label}
    root = settings.select.derivatives["fmriprep"]
    there = derivatives_bold.fmriprep_sessions(root, participant)
    return [name for name in there if not wanted or name in wanted]


def runs(settings: Settings, participant: str, session: str | None) -> list[dict[str, Any]]:
    """The runs of one session, as values that nodes take. Raises MissingInputError that names what is lacking."""
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
    if not images:
        raise MissingInputError(f"sub-{participant} has no BOLD run")
    found_runs = []
    for image in images:
        values = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(image).items()}
        found_runs.append({**values, "source": "fmriprep"})
    return found_runs


def files(run: dict[str, Any]) -> list[str]:
    """The files of a run, for hashes and for a look whether they are there."""
    return [run["bold"], run["mask"], run["confounds"]]
