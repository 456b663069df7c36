"""The input data set: its participants and their scans."""

import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bids_app.bids.choice import choose_image
from bids_app.bids.json_files import name_generator, read_object
from bids_app.bids.matching import describe_unmatched
from bids_app.bids.names import BidsFile, parse_participant, participant_folder, session_name
from bids_app.errors import DataError, MissingInputError, NotBidsError, NothingSelectedError, UsageError

log = logging.getLogger("pellucid")

# Entities by their names in filter files.
ENTITIES = {
    "task": "task",
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
    "chunk": "chunk",
    "proc": "proc",
    "suffix": "suffix",
    "datatype": "datatype",
    "extension": "extension",
}

IMAGES = (".nii.gz", ".nii")
# No entity of a raw image; one with any of them is a derivative, perhaps in another space.
DERIVED = ("space", "cohort", "res", "den", "desc", "label", "seg", "scale", "stat")
RAW_FOLDERS = ("rawbids", "sourcedata/raw", "rawdata")  # of a study data set; by BIDS the first
EMPTY_ROOM = "emptyroom"  # the name that BIDS gives to MEG recordings without a participant
_PERSON = re.compile(r"sub-([0-9a-zA-Z+]+)")


@dataclass(frozen=True)
class Dataset:
    """A BIDS data set: its folder, its name and its participants (labels without "sub-", sorted).

    `site`: its name in tables that have the participants of several sites (NORTH:sub-01).
    """

    root: Path
    name: str
    participants: tuple[str, ...]
    site: str | None = None


@dataclass(frozen=True)
class Scan:
    """One image of a participant in one session (None where the data set has no sessions)."""

    participant: str
    session: str | None
    path: Path


def open_dataset(root: Path, *, validate: bool = True) -> Dataset:
    """Find the participants of a BIDS folder; only its top level is listed.

    With `validate=False`, dataset_description.json may be missing or describe derivatives. Raises NotBidsError.
    """
    root = Path(root)
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "does not exist"
        raise NotBidsError(
            f"{root} {what}: specify the folder that contains dataset_description.json and the sub-* folders."
        )
    name = _name(root, required=validate)
    try:
        with os.scandir(root) as entries:
            folders = sorted(entry.name for entry in entries if entry.name.startswith("sub-") and entry.is_dir())
    except OSError as error:
        raise NotBidsError(f"{root} cannot be listed ({error.strerror}): check its permissions.") from error
    participants = tuple(match[1] for folder in folders if (match := _PERSON.fullmatch(folder)))
    if odd := [folder for folder in folders if not _PERSON.fullmatch(folder)]:
        log.warning("ignoring folders whose names are not BIDS labels (letters and digits only): %s", ", ".join(odd))
    if not participants:
        inside = [name for name in RAW_FOLDERS if (root / name).is_dir()]
        hint = f"the raw data set inside it, {inside[0]}" if inside else "the top folder of a BIDS data set"
        raise NotBidsError(f"{root} has no sub-* folder: specify {hint}.")
    return Dataset(root, name, participants)


def _name(root: Path, *, required: bool) -> str:
    """Return the name that dataset_description.json states, or the folder's."""
    file = root / "dataset_description.json"
    try:
        description = read_object(file, str(file))
    except MissingInputError as error:
        if not required:
            return root.resolve().name
        raise NotBidsError(
            f"{root} has no dataset_description.json, so it is not a BIDS data set: specify its top folder, "
            "or add --skip-bids-validation if the rest follows BIDS."
        ) from error
    except DataError as error:
        if not required:
            return root.resolve().name
        raise NotBidsError(f"{str(error).removesuffix('.')}, or add --skip-bids-validation.") from error
    if required and description.get("DatasetType") == "derivative":
        raise NotBidsError(_explain_derivative(root, name_generator(description)))
    return str(description.get("Name") or root.resolve().name)


def _explain_derivative(root: Path, generator: str) -> str:
    if generator.startswith("pellucid"):
        return (
            f"{root} is the output of Pellucid: specify the raw data set as BIDS_DIR, the first argument, and this "
            "folder as OUT_DIR, the second."
        )
    derivatives = "this folder" if "fmriprep" in generator.lower() else "fMRIPrep's outputs"
    return (
        f"{root} is a data set of derivatives ({generator}): specify the raw data set as BIDS_DIR, and give "
        f"{derivatives} as --derivatives fmriprep=PATH; or add --skip-bids-validation if it is raw."
    )


def select(dataset: Dataset, labels: Iterable[str]) -> tuple[str, ...]:
    """Return the participants named by `labels` ("01" or "sub-01"), in the data set's order; all if no label is given.

    Raises NothingSelectedError for a label that is not in the data set.
    """
    requested = {parse_participant(label) for label in labels}
    if not requested:
        return dataset.participants
    if unknown := describe_unmatched(requested, dataset.participants):
        participants = dataset.participants
        shown = ", ".join(participants[:10]) + (f", ... ({len(participants)} in all)" if len(participants) > 10 else "")
        raise NothingSelectedError(
            f"--participant-label: participants not in the data set: {unknown}. It has: {shown}."
        )
    return tuple(label for label in dataset.participants if label in requested)


def anatomical_scans(
    dataset: Dataset,
    participant: str,
    *,
    sessions: Sequence[str] = (),
    filters: Mapping[str, object] | None = None,
) -> list[Scan]:
    """List a participant's T1w images, one per session: the preferred one (bids/choice.py), the others are logged.

    `filters` is the `t1w` entry of a BIDS filter file: entity -> value, list of values, or null for "has none".
    A broken link counts as an image. Raises UsageError for an unknown entity.
    """
    scans = []
    for session, folder in session_folders(dataset.root, participant, sessions, "anat"):
        files = find_images(folder, participant, session, suffix="T1w", filters=filters or {})
        if files:
            scans.append(Scan(participant, session, folder / choose_image(files, participant).name))
    return scans


def list_names(folder: Path) -> list[str]:
    """Return the names in a folder, sorted; empty if there is no such folder. Raises DataError without permission."""
    try:
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    except PermissionError as error:
        raise DataError(f"{folder} cannot be listed: check its permissions.") from error


def session_labels(root: Path, participant: str) -> list[str]:
    """The sessions of a participant that have a folder, without "ses-"."""
    names = list_names(root / participant_folder(participant))
    return [name.removeprefix("ses-") for name in names if name.startswith("ses-")]


def session_folders(
    root: Path, participant: str, sessions: Sequence[str], datatype: str
) -> list[tuple[str | None, Path]]:
    """Session and folder of a datatype, by name; the participant's own folder first, unless `sessions` are named."""
    folder = root / session_name(participant, None)
    wanted = {session.removeprefix("ses-") for session in sessions}
    folders: list[tuple[str | None, Path]] = [] if wanted else [(None, folder / datatype)]
    for label in session_labels(root, participant):
        if not wanted or label in wanted:
            folders.append((label, folder / f"ses-{label}" / datatype))
    return folders


def find_images(
    folder: Path, participant: str, session: str | None, *, suffix: str, filters: Mapping[str, object]
) -> list[BidsFile]:
    """The images of a folder with a suffix (T1w, bold), of this participant and session, that pass the filters.

    Raises UsageError for an unknown entity of a filter.
    """
    files = [file for name in list_names(folder) if (file := BidsFile.parse(name)) is not None]
    return [
        file
        for file in files
        if (file.participant, file.session, file.suffix) == (participant, session, suffix)
        and file.extension in IMAGES
        and _passes_all(file, folder.name, filters)
    ]


def explain_partial(file: BidsFile) -> str:
    """Why an image shows less, or something else, than a whole T1w or BOLD image, and what to do; "" if it does not."""
    if derived := [f"{entity}-{file.entities[entity]}" for entity in DERIVED if entity in file.entities]:
        return (
            f"is a derivative ({', '.join(derived)}): add the raw image, or pass fMRIPrep's folder with --derivatives "
            "fmriprep=PATH"
        )
    if "chunk" in file.entities:
        return (
            "shows one of several fields of view (chunk-): combine them into one image, or select one in "
            "--bids-filter-file"
        )
    if file.entities.get("part", "mag") != "mag":
        return f"is not a magnitude image (part-{file.entities['part']}): add the magnitude image"
    return ""


def _passes_all(file: BidsFile, datatype: str, filters: Mapping[str, object]) -> bool:
    # phase images, single fields of view and derivatives: the first two are used only if requested
    requested = {entity: label for entity, label in file.entities.items() if entity not in filters}
    if explain_partial(replace(file, entities=requested)):
        return False
    fields = {**file.fields, "datatype": datatype}
    for entity, value in filters.items():
        short = ENTITIES.get(entity, entity)
        if short not in ENTITIES.values():
            raise UsageError(
                f"the BIDS filter for {file.suffix.lower()} contains an unknown entity, {entity}; known "
                f"entities: {', '.join(ENTITIES)}."
            )
        if not passes(fields.get(short), value):
            return False
    return True


def passes(label: str | None, wanted: object) -> bool:
    """Compare one entity with a filter's value; run "1" equals "01", and "*" is any value."""
    if isinstance(wanted, list | tuple):
        return any(passes(label, alternative) for alternative in wanted)
    if wanted in (None, "Query.NONE"):
        return label is None
    if wanted in ("*", "Query.ANY"):
        return label is not None
    if wanted == "Query.OPTIONAL":
        return True
    if label is None:
        return False
    prefix, dash, rest = str(wanted).partition("-")
    text = rest if dash and prefix in ENTITIES.values() else str(wanted)
    if label.isdigit() and text.isdigit():
        return int(label) == int(text)
    return label.lstrip(".") == text.lstrip(".")
