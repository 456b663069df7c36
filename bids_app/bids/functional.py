"""A participant's BOLD runs in the input data set, and the scanner that measured each."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bids_app.bids import outputs
from bids_app.bids.choice import choose_runs
from bids_app.bids.inputs import Dataset, find_images, session_folders
from bids_app.bids.metadata import SCANNER_FIELDS, read_metadata
from bids_app.bids.names import BidsFile, parse_entities
from bids_app.errors import UsageError


@dataclass(frozen=True)
class BoldScan:
    """One run. `label` distinguishes it from the participant's other runs, as in the file's name."""

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
    """List all BOLD runs of a participant, by session and name; single-band references and phase images are not runs.

    `filters` is the `bold` entry of a BIDS filter file. A broken link counts as an image.
    Raises UsageError for several tasks if none is selected, for several echoes, and for an unknown entity.
    """
    scans: list[tuple[BidsFile, BoldScan]] = []
    for session, folder in session_folders(dataset.root, participant, sessions, "func"):
        images = find_images(folder, participant, session, suffix="bold", filters=filters or {})
        for file in choose_runs([file for file in images if "task" in file.entities], participant):
            task_label, run = file.entities["task"], file.entities.get("run")
            scans.append((file, BoldScan(participant, session, task_label, run, folder / file.name, file.run_label)))
    selected_task = choose_task([scan.task for _, scan in scans], task, f"sub-{participant}")
    scans = [(file, scan) for file, scan in scans if scan.task == selected_task]
    _refuse_echoes([file for file, _ in scans], f"sub-{participant}")
    return [scan for _, scan in scans]


def choose_task(tasks: Collection[str], wanted: str | None, participant: str) -> str | None:
    """The task to use: the requested one, otherwise the only one; None if there is none.

    Raises UsageError for several tasks if none was requested.
    """
    if wanted is not None:
        return wanted.removeprefix("task-")
    names = sorted(set(tasks))
    if len(names) > 1:
        raise UsageError(
            f"{participant} has BOLD runs of {len(names)} tasks: {', '.join(names)}; select one with --task-id."
        )
    return names[0] if names else None


def _refuse_echoes(files: Sequence[BidsFile], participant: str) -> None:
    """Raise UsageError if a run has several echoes: a single echo is suboptimal, and echoes are not combined here."""
    echoes = sorted({file.entities["echo"] for file in files if "echo" in file.entities})
    if len(echoes) > 1:
        raise UsageError(
            f"{participant} has multi-echo BOLD (echoes {', '.join(echoes)}), which Pellucid does not combine: "
            "run fMRIPrep, which combines echoes, and pass its output with --derivatives fmriprep=PATH; or "
            'select one echo in --bids-filter-file, as in {"bold": {"echo": 2}}.'
        )


def read_scanner(
    root: Path, participant: str, session: str | None, run_label: str, fields: Iterable[str] = SCANNER_FIELDS
) -> dict[str, object]:
    """The scanner of a run, or other `fields`, by its sidecars; the image need not exist.

    Raises DataError for an unreadable sidecar.
    """
    file = BidsFile(participant, session, "bold", ".nii.gz", parse_entities(run_label))
    return read_metadata(root, outputs.folder(root, participant, session, "func") / file.name, fields)
