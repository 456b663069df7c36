"""How outputs are named, and how they appear in OUT_DIR only when complete."""

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bids_app.bids.names import BidsFile, parse_session_name, participant_folder, session_name, split_site
from bids_app.bids.processes import host_id, is_alive
from bids_app.errors import CannotWriteError, DataError

STALE_DAYS = 2


def label(text: str) -> str:
    """Remove characters not allowed in a BIDS label: a_b-c -> abc. Raises DataError if nothing is left."""
    characters = re.sub(r"[^0-9A-Za-z]", "", text)
    if not characters:
        raise DataError(
            f"{text!r} contains no letter (a to z) or digit, so it cannot be part of a file name: rename it."
        )
    return characters


def camel(text: str) -> str:
    """Join the words of a text, each capitalised: cnn3d/gm -> Cnn3dGm."""
    return label("".join(word[0].upper() + word[1:] for word in re.split(r"[^0-9A-Za-z]+", text) if word))


def filename(participant: str | None, session: str | None, suffix: str, extension: str, **entities: str | None) -> str:
    """The name of a BIDS file, from parts as for `BidsFile.build`; a site is no part of it (NORTH:01 -> sub-01_...)."""
    label = None if participant is None else split_site(participant)[1]
    return BidsFile.build(label, session, suffix, extension, **entities).name


def folder(out: Path, participant: str | None, session: str | None, datatype: str) -> Path:
    """Return the folder of files of a kind (`anat`, `func`, `figures`, `log`), without creating it."""
    scope = out if participant is None else out / participant_folder(participant)
    return (scope if session is None else scope / session_name(None, session)) / datatype


def check_output(out: Path, bids_dir: Path, work_dir: Path) -> None:
    """Refuse an output or work folder that cannot be written or would spoil a data set, before anything is written.

    Inside the input only BIDS_DIR/derivatives/NAME is allowed, as BIDS recommends. Raises CannotWriteError.
    """
    target, source = out.resolve(), bids_dir.resolve()
    if target == source or (target.is_relative_to(source) and source / "derivatives" not in target.parents):
        better = bids_dir / "derivatives" / "pellucid"
        raise CannotWriteError(
            f"the output folder {out} is inside the input data set: choose one outside it, or {better}."
        )
    _check_folder(out, "Choose another output folder.")
    _check_folder(work_dir, "Choose another work folder with --work-dir.")
    if _is_foreign(target / "dataset_description.json"):
        raise CannotWriteError(
            f"{out} contains another data set, not outputs of Pellucid: choose another output folder."
        )


def _check_folder(folder: Path, remedy: str) -> None:
    """Raise CannotWriteError unless a folder can be written, or created where it does not exist."""
    target = folder.resolve()
    existing = next(parent for parent in (target, *target.parents) if os.path.lexists(parent))
    if not existing.is_dir():
        raise CannotWriteError(f"{folder} cannot be created: {existing} is a file. {remedy}")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise CannotWriteError(f"{existing} cannot be written: change its permissions. {remedy}")


def _is_foreign(description: Path) -> bool:
    if not description.is_file():
        return False
    try:
        content = json.loads(description.read_bytes())
        return all(entry["Name"] != "pellucid" for entry in content.get("GeneratedBy", []))
    except (ValueError, AttributeError, TypeError, KeyError):
        return True  # whatever it is, Pellucid did not write it


@contextmanager
def staging(out: Path) -> Iterator[Path]:
    """Provide a new folder under OUT/.tmp to write into; `publish` it before the end, when it is removed.

    Raises CannotWriteError.
    """
    try:
        (out / ".tmp").mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}_{host_id()}_", dir=out / ".tmp"))
    except OSError as error:
        raise _cannot_write(out, error) from error
    try:
        yield fresh
    finally:
        shutil.rmtree(fresh)


def publish(staged: Path, out: Path) -> list[str]:
    """Move every staged file to its place under OUT, pages (HTML) last; each appears whole. Returns their paths in OUT.

    Raises CannotWriteError.
    """
    files = sorted(path.relative_to(staged) for path in staged.rglob("*") if not path.is_dir())
    # The sort is stable: a page never refers to figures that do not exist yet.
    files.sort(key=lambda path: path.suffix == ".html")
    for file in files:
        try:
            (out / file).parent.mkdir(parents=True, exist_ok=True)
            (staged / file).replace(out / file)
        except OSError as error:
            raise _cannot_write(out / file, error) from error
    return [file.as_posix() for file in files]


def remove_previous(place: Path, old: Path) -> None:
    """Move a folder of an earlier run into a staging folder that is removed; it need not exist."""
    if place.is_dir():
        place.rename(old / place.name)


def _cannot_write(path: Path, error: OSError) -> CannotWriteError:
    return CannotWriteError(
        f"{path} cannot be written ({error.strerror}): check permissions and free space, or choose another folder."
    )


def sweep(out: Path) -> None:
    """Remove from OUT/.tmp leftovers of killed processes of this host, and those of other hosts after 2 days."""
    if not (out / ".tmp").is_dir():
        return
    for folder in sorted((out / ".tmp").iterdir()):
        try:
            if folder.is_dir() and _is_abandoned(folder):
                shutil.rmtree(folder)
        except FileNotFoundError:
            continue  # its owner or another sweep was faster


def _is_abandoned(folder: Path) -> bool:
    pid, _, rest = folder.name.partition("_")
    if pid.isdigit() and rest.split("_")[0] == host_id():
        return not is_alive(int(pid))
    return time.time() - folder.stat().st_mtime > STALE_DAYS * 24 * 3600


def write_root(out: Path, name: str, text: str) -> None:
    """Write a file of OUT atomically, and only if its content differs, so that many jobs can share OUT.

    Raises CannotWriteError.
    """
    file = out / name
    if file.is_file() and file.read_bytes() == text.encode():
        return
    with staging(out) as fresh:
        staged = fresh / name
        staged.parent.mkdir(parents=True, exist_ok=True)
        staged.write_text(text, encoding="utf-8", newline="\n")
        publish(fresh, out)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a sidecar in a staging folder."""
    path.write_text(json.dumps(content, indent=2) + "\n")


def log_file(participant: str, session: str | None, state: str) -> str:
    """The path in OUT of a record of a participant and session: `done`, `failed`, `provenance`, `qc`."""
    name = "_".join(part for part in (state, session_name(None, session)) if part)
    return f"{session_name(participant, None)}/log/{name}.json"


def mark_done(out: Path, participant: str, session: str | None, key: str, files: Iterable[str | Path]) -> None:
    """Record that a participant's outputs (paths in OUT) are complete for the settings whose hash is `key`."""
    paths = sorted((out / file).relative_to(out).as_posix() for file in files)
    write_root(out, log_file(participant, session, "done"), json.dumps({"key": key, "files": paths}, indent=2) + "\n")
    clear_failed(out, participant, session)


def clear_done(out: Path, participant: str, session: str | None) -> None:
    """Delete the completion marker of a participant before their outputs are replaced."""
    (out / log_file(participant, session, "done")).unlink(missing_ok=True)


def mark_failed(out: Path, participant: str, session: str | None, reason: str) -> None:
    """Record why a participant failed, for the pages of all jobs that share OUT."""
    write_root(out, log_file(participant, session, "failed"), json.dumps({"reason": reason}, indent=2) + "\n")


def clear_failed(out: Path, participant: str, session: str | None) -> None:
    """Delete the failure marker of a participant who is now complete."""
    (out / log_file(participant, session, "failed")).unlink(missing_ok=True)


def failures(out: Path) -> dict[tuple[str, str | None], str]:
    """The reasons for all failures in any job, by participant and session."""
    reasons = {}
    for marker in sorted(out.glob("sub-*/log/failed*.json")):
        participant, session = parse_session_name(marker.parts[-3] + marker.stem.removeprefix("failed"))
        try:
            reasons[participant, session] = str(json.loads(marker.read_bytes())["reason"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # another job has just removed it, or it is empty
    return reasons


def is_report(file: Path) -> bool:
    """Return whether an output is a page, a figure of one, or the quality measures that pages show."""
    measures = file.parent.name == "log" and file.name.startswith("qc")
    return file.suffix == ".html" or file.parent.name == "figures" or measures


def is_done(out: Path, participant: str, session: str | None, key: str, *, but_report: bool = False) -> bool:
    """Return whether a participant was completed with the same settings and every output still exists.

    but_report: the page and its figures may be missing.
    """
    marker = out / log_file(participant, session, "done")
    if not marker.is_file():
        return False
    try:
        noted = json.loads(marker.read_bytes())
        files = [file for file in noted["files"] if not (but_report and is_report(Path(file)))]
        return bool(noted["key"] == key) and all((out / file).is_file() for file in files)
    except (OSError, ValueError, KeyError, TypeError):
        return False  # an unreadable marker is not trusted: the participant is processed again
