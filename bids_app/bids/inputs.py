"""The input data set: its people, their scans and what their sidecars say."""

import json
import logging
import os
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bids_app.errors import DataError, NotBidsError, NothingSelectedError, UsageError

log = logging.getLogger("pellucid")

SHORT = {
    "session": "ses",
    "acquisition": "acq",
    "ceagent": "ce",
    "reconstruction": "rec",
    "direction": "dir",
    "run": "run",
    "echo": "echo",
    "flip": "flip",
    "inv": "inv",
    "mt": "mt",
    "part": "part",
    "proc": "proc",
    "suffix": "suffix",
    "datatype": "datatype",
    "extension": "extension",
}

# Names, places, dates and serial numbers stay behind: this is an allow-list.
FIELDS = (
    "Manufacturer",
    "ManufacturersModelName",
    "ManufacturerModelName",
    "MagneticFieldStrength",
    "RepetitionTime",
    "EchoTime",
    "FlipAngle",
    "InversionTime",
    "SkullStripped",
    "PulseSequenceType",
)

_PERSON = re.compile(r"sub-([0-9a-zA-Z+]+)")
_NAME = re.compile(r"(?P<entities>(?:[a-zA-Z]+-[0-9a-zA-Z+]+_)+)(?P<suffix>[0-9a-zA-Z]+)(?P<extension>\.[.0-9a-zA-Z]+)")


@dataclass(frozen=True)
class Dataset:
    """A BIDS data set: its folder, its name and its people (labels without "sub-", sorted)."""

    root: Path
    name: str
    participants: tuple[str, ...]


@dataclass(frozen=True)
class Scan:
    """One image of one person in one session (None where the data set has no sessions)."""

    participant: str
    session: str | None
    path: Path


def open_dataset(root: Path, *, validate: bool = True) -> Dataset:
    """Find the people of a BIDS folder, listing nothing but its top.

    `validate=False` does without dataset_description.json. Raises NotBidsError.
    """
    root = Path(root)
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "does not exist"
        raise NotBidsError(f"{root} {what}: give the folder that holds dataset_description.json and the sub-* folders.")
    name = _name(root, required=validate)
    try:
        with os.scandir(root) as entries:
            folders = sorted(entry.name for entry in entries if entry.name.startswith("sub-") and entry.is_dir())
    except OSError as error:
        raise NotBidsError(f"{root} cannot be listed ({error.strerror}): check its permissions.") from error
    people = tuple(match[1] for folder in folders if (match := _PERSON.fullmatch(folder)))
    if odd := [folder for folder in folders if not _PERSON.fullmatch(folder)]:
        log.warning("folders left out, as their names are no BIDS labels (letters and digits only): %s", ", ".join(odd))
    if not people:
        raise NotBidsError(f"{root} has no sub-* folder: give the top folder of a BIDS data set.")
    return Dataset(root, name, people)


def _name(root: Path, *, required: bool) -> str:
    """Return the name that dataset_description.json states, or the folder's."""
    file = root / "dataset_description.json"
    try:
        description = json.loads(file.read_bytes())
        if not isinstance(description, dict):
            raise ValueError("it holds no JSON object")
    except (OSError, ValueError) as error:
        if not required:
            return root.resolve().name
        if not file.exists():
            raise NotBidsError(
                f"{root} has no dataset_description.json, so it is not a BIDS data set: give its top folder, "
                "or add --skip-bids-validation if the rest follows BIDS."
            ) from error
        raise NotBidsError(f"{file} cannot be read ({error}): mend it, or add --skip-bids-validation.") from error
    return str(description.get("Name") or root.resolve().name)


def select(dataset: Dataset, labels: Iterable[str]) -> tuple[str, ...]:
    """Return the people named by `labels` ("01" or "sub-01"), in the data set's order; all where none is named.

    Raises NothingSelectedError for a label that the data set lacks.
    """
    wanted = {label.removeprefix("sub-") for label in labels}
    if not wanted:
        return dataset.participants
    if unknown := sorted(wanted - set(dataset.participants)):
        there = dataset.participants
        shown = ", ".join(there[:10]) + (f", ... ({len(there)} in all)" if len(there) > 10 else "")
        raise NothingSelectedError(
            f"--participant-label names people that the data set lacks: {', '.join(unknown)}. It has: {shown}."
        )
    return tuple(label for label in dataset.participants if label in wanted)


def anatomical_scans(
    dataset: Dataset,
    participant: str,
    *,
    sessions: Sequence[str] = (),
    filters: Mapping[str, object] | None = None,
) -> list[Scan]:
    """List a person's T1w images, one a session: of several the first by name, the others are logged.

    `filters` is the `t1w` entry of a BIDS filter file: entity -> value, list of values, or null for "has none".
    A broken link counts as an image: its name is there. Raises UsageError for an unknown entity.
    """
    person = dataset.root / f"sub-{participant}"
    wanted = {session.removeprefix("ses-") for session in sessions}
    folders: list[tuple[str | None, Path]] = [] if wanted else [(None, person / "anat")]
    for name in list_names(person):
        label = name.removeprefix("ses-")
        if name.startswith("ses-") and (not wanted or label in wanted):
            folders.append((label, person / name / "anat"))
    scans = []
    for session, folder in folders:
        names = [name for name in list_names(folder) if _is_t1w(name, participant, session, filters or {})]
        if not names:
            continue
        if len(names) > 1:
            log.warning("sub-%s: %s is used; not used: %s", participant, names[0], ", ".join(names[1:]))
        scans.append(Scan(participant, session, folder / names[0]))
    return scans


def list_names(folder: Path) -> list[str]:
    """Return the names in a folder, sorted; none where there is no such folder. Raises DataError without permission."""
    try:
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    except PermissionError as error:
        raise DataError(f"{folder} cannot be listed: check its permissions.") from error


def entities(name: str) -> dict[str, str] | None:
    """Take a BIDS file name apart: short entity -> value, with `suffix` and `extension`; None for other names."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    found = dict(pair.split("-", 1) for pair in match["entities"].rstrip("_").split("_"))
    return found | {"suffix": match["suffix"], "extension": match["extension"]}


def _is_t1w(name: str, participant: str, session: str | None, filters: Mapping[str, object]) -> bool:
    """Say whether a file of an anat folder is a T1w image of this person and session that the filters let pass."""
    found = entities(name)
    if found is None or found["suffix"] != "T1w" or found["extension"] not in (".nii", ".nii.gz"):
        return False
    if found.get("sub") != participant or found.get("ses") != session:
        return False
    # The phase or imaginary part of a complex image shows no anatomy; it is taken only when asked for.
    if "part" not in filters and found.get("part", "mag") != "mag":
        return False
    found["datatype"] = "anat"
    for entity, value in filters.items():
        short = SHORT.get(entity, entity)
        if short not in SHORT.values():
            raise UsageError(f"the BIDS filter for t1w names an unknown entity, {entity}; known: {', '.join(SHORT)}.")
        if not passes(found.get(short), value):
            return False
    return True


def passes(there: str | None, wanted: object) -> bool:
    """Compare one entity with a filter's value; run "1" equals "01", and "*" is any that is there."""
    if isinstance(wanted, list | tuple):
        return any(passes(there, one) for one in wanted)
    if wanted in (None, "Query.NONE"):
        return there is None
    if wanted in ("*", "Query.ANY"):
        return there is not None
    if wanted == "Query.OPTIONAL":
        return True
    if there is None:
        return False
    prefix, dash, rest = str(wanted).partition("-")
    text = rest if dash and prefix in SHORT.values() else str(wanted)
    if there.isdigit() and text.isdigit():
        return int(there) == int(text)
    return there.lstrip(".") == text.lstrip(".")


def metadata(dataset: Dataset, scan: Scan) -> dict[str, object]:
    """Return what the sidecars say of a scan (with BIDS inheritance), the fields of `FIELDS` only.

    Only this person's images of this kind and the sidecars above them are indexed. DataError for a broken sidecar.
    """
    import bids

    person = re.escape(f"sub-{scan.participant}")
    kind = re.escape(scan.path.parent.name)
    suffix = re.escape(scan.path.name.split(".")[0].split("_")[-1])
    folders = rf"{person}(/ses-[^/]+)?(/{kind})?"
    files = rf"({person}/(ses-[^/]+/)?({kind}/)?)?([^/]*_)?{suffix}\.(json|nii|nii\.gz)"
    others = re.compile(rf"^/(?!({folders}|{files})$)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pybids warns of what the validator reports better
        try:
            indexer = bids.BIDSLayoutIndexer(validate=False, ignore=[others])
            layout = bids.BIDSLayout(dataset.root, validate=False, indexer=indexer)
        except (OSError, TypeError, ValueError, bids.exceptions.BIDSConflictingValuesError) as error:
            raise DataError(f"sub-{scan.participant}: a sidecar of {scan.path.name} cannot be read: {error}") from error
        try:
            found = layout.get_metadata(str(layout._root / scan.path.relative_to(dataset.root)))
        finally:
            layout.connection_manager.engine.dispose()
    return {field: found[field] for field in FIELDS if field in found}
