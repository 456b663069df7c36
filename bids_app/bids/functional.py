"""A person's BOLD runs in the input data set, and what their sidecars say (BIDS 1.10, the inheritance principle)."""

import json
import logging
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bids_app.bids.inputs import FIELDS, SHORT, Dataset, entities, list_names, passes
from bids_app.errors import DataError, UsageError

log = logging.getLogger("pellucid")

BOLD_FIELDS = (
    *FIELDS,
    "TaskName",
    "SliceTiming",
    "SliceEncodingDirection",
    "PhaseEncodingDirection",
    "MultibandAccelerationFactor",
    "NumberOfVolumesDiscardedByScanner",
    "NumberOfVolumesDiscardedByUser",
    "DelayTime",
)

IMAGES = (".nii.gz", ".nii")
_KNOWN = {**SHORT, "task": "task"}
_NOT_IN_A_LABEL = ("sub", "ses", "part", "space", "res", "cohort", "desc", "suffix", "extension")


@dataclass(frozen=True)
class BoldScan:
    """One run of one person. `label` is what tells it from the person's other runs, as it stands in the file's name."""

    participant: str
    session: str | None
    task: str
    run: str | None
    path: Path
    label: str


def bold_scans(
    dataset: Dataset,
    participant: str,
    *,
    sessions: Sequence[str] = (),
    task: str | None = None,
    filters: Mapping[str, object] | None = None,
) -> list[BoldScan]:
    """List all BOLD runs of a person, by session and name; single-band references and phase images are no runs.

    `filters` is the `bold` entry of a BIDS filter file. A broken link counts as an image: its name is there.
    Raises UsageError for several tasks of which none is named, for several echoes, for an unknown entity.
    """
    person = dataset.root / f"sub-{participant}"
    wanted = {session.removeprefix("ses-") for session in sessions}
    folders: list[tuple[str | None, Path]] = [] if wanted else [(None, person / "func")]
    for name in list_names(person):
        label = name.removeprefix("ses-")
        if name.startswith("ses-") and (not wanted or label in wanted):
            folders.append((label, person / name / "func"))
    found: list[tuple[dict[str, str], BoldScan]] = []
    for session, folder in folders:
        runs: dict[str, tuple[dict[str, str], BoldScan]] = {}
        for name in list_names(folder):
            parts = _parts(name, participant, session, filters or {})
            if parts is None:
                continue
            label = entity_label(parts)
            if label in runs:
                log.warning("sub-%s: %s is used; not used: %s", participant, runs[label][1].path.name, name)
                continue
            run = BoldScan(participant, session, parts["task"], parts.get("run"), folder / name, label)
            runs[label] = (parts, run)
        found += runs.values()
    chosen = choose_task([run.task for _, run in found], task, f"sub-{participant}")
    kept = [(parts, run) for parts, run in found if run.task == chosen]
    _refuse_echoes([parts for parts, _ in kept], f"sub-{participant}")
    return [run for _, run in kept]


def entity_label(parts: Mapping[str, str]) -> str:
    """What tells a run from the others of its person and session: "task-rest_dir-AP_run-1"."""
    return "_".join(f"{entity}-{value}" for entity, value in parts.items() if entity not in _NOT_IN_A_LABEL)


def choose_task(there: Collection[str], wanted: str | None, who: str) -> str | None:
    """The task that is used: the one asked for, else the only one there is; None where there is none.

    Raises UsageError where none was asked for and there are several.
    """
    if wanted is not None:
        return wanted.removeprefix("task-")
    names = sorted(set(there))
    if len(names) > 1:
        raise UsageError(f"{who} has BOLD runs of {len(names)} tasks: {', '.join(names)}; choose one with --task-id.")
    return names[0] if names else None


def _parts(name: str, participant: str, session: str | None, filters: Mapping[str, object]) -> dict[str, str] | None:
    """The entities of a file that is a BOLD image of this person and session and passes the filters, else None."""
    found = entities(name)
    if found is None or found["suffix"] != "bold" or found["extension"] not in IMAGES or "task" not in found:
        return None
    if found.get("sub") != participant or found.get("ses") != session:
        return None
    # the phase of a complex image is no signal to make maps of; it is taken only when asked for
    if "part" not in filters and found.get("part", "mag") != "mag":
        return None
    tested = {**found, "datatype": "func"}
    for entity, value in filters.items():
        short = _KNOWN.get(entity, entity)
        if short not in _KNOWN.values():
            raise UsageError(f"the BIDS filter for bold names an unknown entity, {entity}; known: {', '.join(_KNOWN)}.")
        if not passes(tested.get(short), value):
            return None
    return found


def _refuse_echoes(runs: Sequence[Mapping[str, str]], who: str) -> None:
    """Raise UsageError where a run has several echoes: each alone is a weak image, and they are not combined here."""
    echoes = sorted({parts["echo"] for parts in runs if "echo" in parts})
    if len(echoes) > 1:
        raise UsageError(
            f"{who} has multi-echo BOLD (echoes {', '.join(echoes)}), which is not combined here: run fMRIPrep, which "
            "combines echoes, and give its output with --derivatives fmriprep=PATH; or choose one echo in "
            '--bids-filter-file, as in {"bold": {"echo": 2}}.'
        )


def metadata(dataset: Dataset, scan: BoldScan) -> dict[str, object]:
    """Return what the sidecars say of a run (with BIDS inheritance), the fields of `BOLD_FIELDS` only.

    Raises DataError for a sidecar that cannot be read.
    """
    return stated(dataset.root, scan.path, BOLD_FIELDS)


def scanner(dataset: Dataset, participant: str, session: str | None, label: str) -> dict[str, object]:
    """What the sidecars say of the scanner of a run, the fields of `FIELDS` only; its image need not be there.

    Raises DataError for a sidecar that cannot be read.
    """
    place = [f"sub-{participant}", *([f"ses-{session}"] if session else [])]
    image = dataset.root.joinpath(*place, "func", f"{'_'.join([*place, label])}_bold.nii.gz")
    return stated(dataset.root, image, FIELDS)


def stated(root: Path, image: Path, fields: Iterable[str]) -> dict[str, object]:
    """Return what the sidecars between a data set's top and an image say of it, the given fields only.

    A JSON file holds for an image with the same suffix and all of the file's entities, in its folder or below; the
    deeper one wins, and in one folder the one with more entities. Only the folders on the way are listed: indexing a
    data set of a thousand people takes longer than making a person's maps. Raises DataError for a broken sidecar.
    """
    image_parts = entities(image.name)
    if image_parts is None:
        return {}
    folders = [root]
    for part in image.parent.relative_to(root).parts:
        folders.append(folders[-1] / part)
    found: dict[str, object] = {}
    for folder in folders:
        for name in sorted(
            _applicable_sidecars(list_names(folder), image_parts), key=lambda name: (name.count("-"), name)
        ):
            found |= _read(folder / name, image.name)
    return {field: found[field] for field in fields if field in found}


def _applicable_sidecars(names: Iterable[str], image: Mapping[str, str]) -> list[str]:
    """The JSON files among `names` that hold for an image with these entities."""
    ending = re.compile(rf"(?:.*_)?{re.escape(image['suffix'])}\.json")
    holding = []
    for name in names:
        if not ending.fullmatch(name):
            continue
        parts = entities(name) or {}  # a bare bold.json has no entities, and holds for every run
        own = {key: value for key, value in parts.items() if key not in ("suffix", "extension")}
        if (own or name == f"{image['suffix']}.json") and own.items() <= image.items():
            holding.append(name)
    return holding


def _read(sidecar: Path, image: str) -> dict[str, object]:
    try:
        content = json.loads(sidecar.read_bytes())
        if not isinstance(content, dict):
            raise ValueError("it holds no JSON object")
    except (OSError, ValueError) as error:
        raise DataError(f"the sidecar {sidecar.name} of {image} cannot be read: {error}") from error
    return content
