"""How results were computed: when, by which command, on which data set, with which software and templates."""

import hashlib
import importlib.metadata
import json
import os
import platform
import shlex
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict

from bids_app import __version__, run_log
from bids_app.settings import Settings

PARTICIPANT_SOFTWARE = ("antspyx", "nibabel", "nilearn", "nipype", "numba", "numpy", "scikit-learn", "scipy")
GROUP_SOFTWARE = (*PARTICIPANT_SOFTWARE, "captum", "pandas", "statsmodels", "torch", "torchvision")
RUNTIMES = {"/.dockerenv": "Docker", "/run/.containerenv": "Podman"}  # files that these put into a container
PATH_STARTS = ("/", "~", "./", "../")


class Provenance(TypedDict):
    """The record of a computation: `date` in UTC, `templates` as SHA-256 by file name, warnings and errors."""

    date: str
    command: str
    dataset: str
    container: str
    software: dict[str, str]
    templates: dict[str, str]
    messages: list[str]


def describe_run(settings: Settings, *, software: tuple[str, ...], templates: Iterable[Path]) -> Provenance:
    """The record of the present run. `software`: distributions, listed where installed; `templates`: files used.

    `messages` are those about no single participant.
    """
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(run_log.start_time())),
        "command": shorten_command(settings),
        "dataset": settings.bids_dir.resolve().name,
        "container": describe_container(),
        "software": {"Pellucid": __version__, "Python": platform.python_version(), **_read_versions(software)},
        "templates": hash_files(templates),
        "messages": [message for name, message in run_log.list_problems() if name == run_log.NOBODY],
    }


def shorten_command(settings: Settings) -> str:
    """The command as given, for a shell, with each path reduced to its last part and the output folder as OUT_DIR."""
    return shlex.join(_shorten_path(word, settings) for word in settings.command)


def describe_container() -> str:
    """The image and the container software, from the environment and the files that they leave; else 'no container'.

    PELLUCID_IMAGE is set by the Dockerfile. PELLUCID_IMAGE_DIGEST may be handed in, since no image knows its own.
    """
    sif = os.environ.get("APPTAINER_NAME") or os.environ.get("SINGULARITY_NAME")
    software = "Apptainer" if sif else next((name for file, name in RUNTIMES.items() if Path(file).exists()), "")
    image = os.environ.get("PELLUCID_IMAGE", "").strip()
    parts = [image, os.environ.get("PELLUCID_IMAGE_DIGEST", ""), sif or "", software]
    return ", ".join(part for part in parts if part) or "no container"


def hash_files(files: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of files, by name."""
    hashes = {}
    for path in files:
        with path.open("rb") as file:
            hashes[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def read_record(file: Path) -> Provenance | None:
    """A stored record, None where there is none or it is damaged."""
    try:
        record: Provenance = json.loads(file.read_bytes())
        return {key: record[key] for key in Provenance.__annotations__}  # type: ignore[literal-required,return-value]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_computation(file: Path) -> Provenance | None:
    """The stored record of a computation, with all warnings and errors of the present run."""
    record = read_record(file)
    return record and {**record, "messages": [message for _, message in run_log.list_problems()]}


def write_record(file: Path, record: Provenance) -> Provenance:
    """Store a record in an existing folder, and return it."""
    file.write_text(json.dumps(record, indent=2) + "\n")
    return record


def _read_versions(distributions: Iterable[str]) -> dict[str, str]:
    """Versions of the installed ones; nothing is imported."""
    versions = {}
    for name in distributions:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _shorten_path(word: str, settings: Settings) -> str:
    before, equals, value = word.rpartition("=")  # --option=PATH, NAME=PATH
    path = Path(value).expanduser()
    if path.absolute() == settings.output_dir:
        return f"{before}{equals}OUT_DIR"
    if value and path.absolute() == settings.bids_dir:
        return f"{before}{equals}{settings.bids_dir.resolve().name}"
    if value.startswith(PATH_STARTS) or (os.sep in value and path.exists()):
        return f"{before}{equals}{path.name}"
    return word
