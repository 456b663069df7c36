"""The scans that maps were computed from, by the maps' sidecars: named, never mixed, and counted once."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_app.bids.choice import has_contrast_agent
from bids_app.bids.json_files import read_object
from bids_app.bids.matching import list_some
from bids_app.bids.names import BidsFile
from bids_app.errors import DataError, MissingInputError
from bids_app.text_files import find_mismatch

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("pellucid")

Files = Mapping[str, tuple[Path, ...]]
Sidecars = Sequence[Mapping[str, Any]]
# what is read from a sidecar, by type; each may be missing or null
FIELDS: dict[str, Any] = {
    "MapParameters": {}, "TaskName": str, "Scanner": {}, "PreprocessingSource": str, "PreprocessedScan": str,
    "RawScan": str, "TotalIntracranialVolume": float, "MeanFramewiseDisplacement": float, "MinutesLeft": float,
    "TissueVolumes": {"*": float},
}  # fmt: skip
SHARED = "PreprocessedScan"


def read_sidecar(path: Path) -> dict[str, Any]:
    """Read the sidecar of a map. Raises MissingInputError without it, DataError for unreadable content."""
    beside = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".json")
    try:
        sidecar = read_object(beside)
    except MissingInputError as problem:
        raise MissingInputError(
            f"{beside.name} is missing beside its map; run the participant level again"
        ) from problem
    except DataError as problem:
        raise DataError(f"{problem} Or run the participant level again.") from problem
    stated = {field: kind for field, kind in FIELDS.items() if sidecar.get(field) is not None}
    if wrong := find_mismatch(sidecar, stated, "it"):
        raise DataError(f"{beside.name} is not as Pellucid wrote it: {wrong}. Run the participant level again.")
    return sidecar


def name_scans(sidecars: Iterable[Mapping[str, Any]]) -> list[str]:
    """The file names of the scans that sidecars state, each once: the raw ones, else fMRIPrep's."""
    paths = [str(part.get("RawScan") or part.get(SHARED) or "") for part in sidecars]
    return sorted({Path(path).name for path in paths if path})


def find_shared_anatomy(visits: Mapping[str | None, Files]) -> list[list[str | None]]:
    """The sessions of a participant that share one preprocessed scan: their maps are the same (fMRIPrep averages T1w).

    visits: the files of maps by session and map.
    """
    if len(visits) < 2:
        return []
    sessions: dict[str, dict[str | None, None]] = {}
    for session, files in visits.items():
        for path in (path for paths in files.values() for path in paths):
            if scan := read_sidecar(path).get(SHARED):
                sessions.setdefault(str(scan), {})[session] = None
    return [list(names) for names in sessions.values() if len(names) > 1]


def describe_differences(
    person: str, visits: Mapping[str | None, Files], classes: Mapping[str | None, Any]
) -> list[str]:
    """A participant's sessions that share one anatomy but are of different classes: "01 (ses-1 MCI, ses-2 AD)".

    visits: the files of maps by session and map; classes: by session.
    """
    return [
        f"{person} ({', '.join(f'ses-{session} {classes[session]}' for session in sessions)})"
        for sessions in find_shared_anatomy(visits)
        if len({classes[session] for session in sessions}) > 1
    ]


def refuse_differences(differences: list[str]) -> None:
    """Raise DataError if there are participants with one anatomy for sessions of different classes."""
    if differences:
        raise DataError(
            f"fMRIPrep averaged the T1w images of sessions that are of different classes: {list_some(differences)}. "
            "These sessions have the same map, which belongs to no class: run fMRIPrep for each session alone "
            "(--bids-filter-file), or exclude the participants with --exclude."
        )


def find_repeats(visits: Mapping[str | None, Files], maps: Sequence[str]) -> dict[str | None, str | None]:
    """For each session whose maps are all of an anatomy that an earlier one shares, that session.

    visits: the files of maps by session and map, in order.
    """
    if len(visits) < 2:
        return {}
    earlier: dict[tuple[tuple[str, ...], ...], str | None] = {}
    repeats = {}
    for session, files in visits.items():
        sources = tuple(tuple(str(read_sidecar(path).get(SHARED) or path) for path in files[name]) for name in maps)
        if sources in earlier:
            repeats[session] = earlier[sources]
        else:
            earlier[sources] = session
    return repeats


def drop_repeats(paths: Sequence[Path]) -> tuple[Path, ...]:
    """The files of a map over sessions without those of an anatomy that sessions share, so that it counts once."""
    distinct: dict[str, Path] = {}
    for path in paths:
        distinct.setdefault(str(read_sidecar(path).get(SHARED) or path), path)
    return tuple(distinct.values())


def check_contrast(person: str, sidecars: Sidecars) -> None:
    """Raise DataError if one sample's map is the average of scans with and without contrast agent."""
    names = name_scans(sidecars)
    if len({_has_agent(name) for name in names}) > 1:
        raise DataError(
            f"{person}: scans with and without contrast agent would be averaged ({', '.join(names)}): use --sessions "
            "first or all, or exclude a session with --exclude."
        )


def warn_of_contrast(used: "pd.DataFrame") -> None:
    """Log if some samples are of scans with contrast agent and others not. used: samples with their `scan`."""
    scans = used["scan"].dropna()
    agents = scans.map(lambda names: any(map(_has_agent, names.split(" + ")))).astype(bool)
    if 0 < agents.sum() < len(agents):
        log.warning(
            "%d of %d samples are of scans with a contrast agent, which could be correlated with the diagnosis (%s): "
            "exclude them with --exclude",
            agents.sum(),
            len(agents),
            list_some(list(scans[agents])),
        )


def _has_agent(name: str) -> bool:
    file = BidsFile.parse(name)
    return file is not None and has_contrast_agent(file)
