"""The data sets of bids-examples with valid images in place of the empty ones, and what the participant level plans."""

import gzip
import json
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from layout_trees import image

from bids_app.bids import inputs
from bids_app.bids.metadata import TIMING_FIELDS, read_metadata
from bids_app.bids.names import BidsFile, session_name
from bids_app.errors import PellucidError
from bids_app.planning import participant
from bids_app.settings import build

TR, SLICES, VOLUMES = 2.0, 8, 20  # where no sidecar states them
NEITHER = "neither T1w nor BOLD"
REASONS = (  # what a message says, and what the table says of it
    (r"is a data set of derivatives", "derivatives, exit code 16"),
    (r"no participant selected and not excluded has a T1w image", "no T1w image"),
    (r"has raw BOLD but no T1w image: add one", "no T1w image"),
    (r"has UNIT1, .* but no T1w", "UNIT1 but no T1w"),
    (r"has MP2RAGE but no T1w", "MP2RAGE but no T1w"),
    (r"shows one of several fields of view", "T1w in several fields of view"),
    (r"has no BOLD run in func", "no BOLD"),
    (r"has no BOLD run of task-", "one participant lacks a task"),
    (r"has BOLD runs of (\d+) tasks", r"\1 tasks: `--task-id` is required"),
    (r"has multi-echo BOLD", "several echoes"),
    (r"states VolumeTiming at unequal intervals", "uneven `VolumeTiming`"),
    (r"cannot be averaged, \S+ has a repetition time of", "two repetition times in one session"),
)


@dataclass
class Outcome:
    """What one run plans: participants, their sessions, their runs of BOLD; or the messages of those that fail."""

    participants: set[str] = field(default_factory=set)
    sessions: int = 0
    runs: int = 0
    skipped: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)


def describe_dataset(source: Path, home: Path) -> tuple[str, str, str, str]:
    """The row of a data set: participants, those planned for gm and for BOLD (reho), what is not planned and why."""
    root = _copy(source, home / "bids")
    gm, outcomes = _plan(root, "gm"), [_plan(root, "reho")]
    reasons = [*_explain_skipped(gm.skipped), *_explain(gm.messages), *_explain(outcomes[0].messages)]
    labels = [path.name for path in root.glob("sub-*") if path.is_dir()]
    if any("select one with --task-id" in message for message in outcomes[0].messages):
        outcomes = [_plan(root, "reho", task_id=task) for task in _tasks(root)]
        reasons += _explain(message for outcome in outcomes for message in outcome.messages)
    elif example := re.search(r"as in (\{.*?\}\})", "".join(outcomes[0].messages)):
        (home / "filters.json").write_text(example[1])
        filtered = _plan(root, "reho", bids_filter_file=home / "filters.json")
        reasons.append(f"with the filter `{example[1]}` {_format([filtered])}")
    elif source.name.endswith("-fmriprep"):
        reasons.append(_describe_derivatives(root, home / "raw", labels))
    if not (gm.sessions or outcomes[0].sessions) and set(reasons) == {"no T1w image"} and not _has_bold(root):
        reasons = [NEITHER]
    counts = f"{len(gm.participants)}" + (f" ({gm.sessions} scans)" if gm.sessions > len(gm.participants) else "")
    return str(len(labels)), counts, _format(outcomes), "; ".join(dict.fromkeys(reasons))


def _copy(source: Path, root: Path) -> Path:
    """A copy with a valid image in place of each participant's NIfTI files, which are empty or headers alone.

    BOLD has the repetition time, slices and volumes of the sidecars. Transforms and tables of confounds, of which
    planning looks only for any content, get a line if they are empty.
    """
    shutil.copytree(source, root)
    for path in [path for path in root.rglob("sub-*") if path.is_file()]:
        if path.name.endswith(inputs.IMAGES):
            path.write_bytes(_image(*_size(root, path), path.name.endswith(".gz")))
        elif path.name.endswith((".h5", "_timeseries.tsv")) and not path.stat().st_size:
            path.write_text("n/a\n")
    return root


@lru_cache(maxsize=100)
def _image(shape: tuple[int, ...], tr: float, compressed: bool) -> bytes:
    content = image(shape, tr)
    return gzip.compress(content, 1) if compressed else content


def _size(root: Path, path: Path) -> tuple[tuple[int, ...], float]:
    file = BidsFile.parse(path.name)
    if file is None or file.suffix != "bold":
        return (24, 24, 24), 0.0
    timing = read_metadata(root, path, TIMING_FIELDS)
    slices, volumes = (
        len(times) if isinstance(times, Sequence) and len(times) > 1 else default
        for times, default in ((timing.get("SliceTiming"), SLICES), (timing.get("VolumeTiming"), VOLUMES))
    )
    return (12, 12, slices, volumes), float(str(timing.get("RepetitionTime", TR)))


def _plan(root: Path, map_name: str, **options: object) -> Outcome:
    """What `pellucid BIDS_DIR OUT_DIR participant --maps NAME` plans. Any but a user's mistake is raised."""
    settings = build("participant", root, root.parent / "out", options={"maps": [map_name], **options})
    try:
        dataset = inputs.open_dataset(root)
        planned = participant.plan_participants(dataset, settings)
    except PellucidError as error:
        if error.code == PellucidError.code:
            raise
        return Outcome(messages=str(error).splitlines())
    jobs = {job.name: job.participant for job in planned.jobs}
    outcome = Outcome(set(jobs.values()), len(jobs), sum(len(job.runs) for job in planned.jobs))
    outcome.messages = [f"{name}: {reason}" for name, reason in planned.failed.items()]
    failed = {name.split("_")[0] for name in planned.failed}
    outcome.skipped = [
        label
        for label in dataset.participants
        if label not in outcome.participants and session_name(label, None) not in failed
    ]
    return outcome


def _describe_derivatives(root: Path, raw: Path, labels: list[str]) -> str:
    """What is planned of fMRIPrep's outputs `root`, given with a raw data set of the participants `labels`."""
    for label in labels:
        folder = raw / label / "anat"
        folder.mkdir(parents=True)
        (folder / f"{label}_T1w.nii.gz").write_bytes(_image((24, 24, 24), 0.0, True))
    (raw / "dataset_description.json").write_text(json.dumps({"Name": "Raw", "BIDSVersion": "1.10.0"}))
    gm, bold = (_plan(raw, name, derivatives={"fmriprep": root}) for name in ("gm", "reho"))
    counts = f"gm {len(gm.participants)}, BOLD {_format([bold])}"
    return f"as `-d fmriprep=` of a raw data set with its participants: {counts}"


def _explain(messages: Iterable[str]) -> list[str]:
    """The table's words for each message; the message itself for one that it has no words for."""
    phrases: list[str] = []
    for message in messages:
        if re.fullmatch(r"no participant can be processed:|  and \d+ more", message):
            continue
        matches = [(re.search(pattern, message), phrase) for pattern, phrase in REASONS]
        phrases += [match.expand(phrase) for match, phrase in matches if match] or [message]
    return phrases


def _explain_skipped(labels: Sequence[str]) -> list[str]:
    others = [label for label in labels if label != inputs.EMPTY_ROOM]
    empty_room = ["the empty room has no image"] if len(others) < len(labels) else []
    return empty_room + ([f"{len(others)} have no T1w image"] if others else [])


def _format(outcomes: Sequence[Outcome]) -> str:
    """Participants and runs, each the least and the greatest of several tasks."""
    participants = _range([len(outcome.participants) for outcome in outcomes])
    runs = _range([outcome.runs for outcome in outcomes])
    return f"{participants} ({runs} runs)" if runs != "0" else participants


def _range(numbers: Sequence[int]) -> str:
    return " to ".join(map(str, sorted({min(numbers), max(numbers)})))


def _tasks(root: Path) -> list[str]:
    files = [BidsFile.parse(path.name) for path in root.glob("sub-*/**/*_bold.nii*")]
    return sorted({file.entities["task"] for file in files if file and "task" in file.entities})


def _has_bold(root: Path) -> bool:
    return any(root.glob("sub-*/**/func/*_bold.nii*"))
