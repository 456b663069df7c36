"""Locks: an analysis, and a participant's session, are computed by one run at a time; others go on beside it.

A lock is a small file below OUT_DIR/.tmp and one in the work folder. Only a hard link creates it and only its owner, or
who finds it abandoned, removes it, which is safe on shared file systems, where locks of the kernel may not be. The
host's name is not written, only a code.
"""

import contextlib
import errno
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bids_app.bids import outputs
from bids_app.bids.processes import host_id, is_alive, start_ticks
from bids_app.errors import BusyError, CannotWriteError
from bids_app.settings import Settings

TOUCH_SECONDS = 30.0
STALE_SECONDS = 300.0  # since the owner, on another host, last touched its lock
GUARD_SECONDS = 60.0
NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES, errno.EINVAL}

_held: dict[Path, str] = {}


def lock(settings: Settings, name: str, inputs: str) -> None:
    """Reserve an analysis or a participant's session, `name`, in OUT_DIR, and with these inputs in the work folder.

    It is held until the end of `released_after`. Raises BusyError, which names the run that has it.
    """
    stem = name.replace(" ", "-")
    _acquire(settings.output_dir, f"lock_{stem}.json", name)
    _acquire(settings.work_dir, f"lock_{stem}_{inputs}.json", name)


@contextmanager
def released_after(*folders: Path) -> Iterator[None]:
    """Release at the end all locks that were acquired, and until then show other hosts that they are in use.

    Locks in `folders` that killed runs left behind are removed as well: nobody acquires that of what they had finished.
    """
    ended = threading.Event()
    threading.Thread(target=_touch_until, args=(ended,), daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        for file, owner in list(_held.items()):
            with contextlib.suppress(OSError):
                if (_read(file) or {}).get("id") == owner:
                    file.unlink()
            del _held[file]
        for folder in folders:
            with contextlib.suppress(OSError, CannotWriteError):
                _remove_abandoned(folder)


def _remove_abandoned(folder: Path) -> None:
    locks = {file: owner for file in (folder / ".tmp").glob("lock_*.json") if (owner := _read(file))}
    if not locks:
        return
    with outputs.staging(folder) as stage:
        own = stage / "own.json"
        own.write_text("{}")
        for file, owner in locks.items():
            if _is_stale(file, owner, own):
                _remove_stale(file, owner, own)


def _touch_until(ended: threading.Event) -> None:
    while not ended.wait(TOUCH_SECONDS):
        for file in list(_held):
            with contextlib.suppress(OSError):
                os.utime(file)


def _acquire(folder: Path, file_name: str, name: str) -> None:
    file = folder / ".tmp" / file_name
    if file in _held:
        return
    owner = {"id": uuid.uuid4().hex, "host": host_id(), "pid": os.getpid(), "start": start_ticks(os.getpid())}
    with outputs.staging(folder) as stage:
        own = stage / file_name
        own.write_text(json.dumps({**owner, "since": time.strftime("%Y-%m-%d %H:%M:%S")}))
        for _ in range(100):
            if _create(file, own):
                _held[file] = str(owner["id"])
                return
            other = _read(file)
            if other is None:
                time.sleep(0.05)  # it has been released, or is being written
            elif not _is_stale(file, other, own):
                raise BusyError(_describe(file, other, name))
            else:
                _remove_stale(file, other, own)
    raise BusyError(f"{name}: the lock of another run, {file}, cannot be read. If no other run is active, delete it")


def _create(file: Path, own: Path) -> bool:
    """Create a lock with the content of `own`; False if there is one."""
    try:
        os.link(own, file)
    except FileExistsError:
        return _is_same(own, file)  # NFS repeats a request whose answer was lost
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        try:
            with file.open("x") as stream:  # a file system without hard links
                stream.write(own.read_text())
        except FileExistsError:
            return False
    return True


def _is_same(own: Path, file: Path) -> bool:
    try:
        return own.samefile(file)
    except FileNotFoundError:
        return False


def _read(file: Path) -> dict[str, Any] | None:
    """The owner of a lock; None if there is no lock, or it is not complete yet."""
    try:
        content = json.loads(file.read_bytes())
        return {**{key: content[key] for key in ("id", "host", "start", "since")}, "pid": int(content["pid"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_stale(file: Path, other: dict[str, Any], own: Path) -> bool:
    """Whether the owner of a lock has ended; times are those of the file system's clock."""
    if other["host"] == host_id():
        return not is_alive(other["pid"]) or start_ticks(other["pid"]) != other["start"]
    os.utime(own)
    try:
        return own.stat().st_mtime - file.stat().st_mtime > STALE_SECONDS
    except FileNotFoundError:
        return False  # it has been released, which the next attempt will find


def _remove_stale(file: Path, other: dict[str, Any], own: Path) -> None:
    """Remove the lock of a run that has ended, unless another run has just taken it over."""
    guard = file.with_suffix(".guard")
    if not _create(guard, own):
        with contextlib.suppress(FileNotFoundError):
            os.utime(own)
            if own.stat().st_mtime - guard.stat().st_mtime > GUARD_SECONDS:
                guard.unlink()
        time.sleep(0.05)
        return
    try:
        if _read(file) == other:
            file.unlink(missing_ok=True)
    finally:
        guard.unlink(missing_ok=True)


def _describe(file: Path, other: dict[str, Any], name: str) -> str:
    where = "of this machine" if other["host"] == host_id() else "of another machine or container"
    return (
        f"{name} is being computed by another run: process {other['pid']} {where}, since {other['since']}. Wait until "
        f"it has ended, or stop it. If it was killed elsewhere, run this again {STALE_SECONDS / 60:g} minutes later, "
        f"or delete {file}"
    )
