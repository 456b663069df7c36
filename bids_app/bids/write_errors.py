"""Whether an error means that the output or work folder cannot be written: no space, no quota, no permission."""

import errno
import os
import re
import shutil
import tempfile
from pathlib import Path

from bids_app.errors import CannotWriteError
from bids_app.settings import Settings

ALWAYS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
WITHIN = {errno.EACCES, errno.EPERM}  # elsewhere, an input cannot be read
PROBE_BYTES = 1 << 18
ERRNO = re.compile(r"\[Errno (\d+)\][^\n:]*(?:: ['\"](.+?)['\"])?|\(os error (\d+)\)")
OWN = re.compile(r"^\s*(?:\w+\.)*CannotWriteError: (.+)$", flags=re.MULTILINE)


def explain_error(error: OSError, settings: Settings) -> CannotWriteError | None:
    """The message for an error of this process, None for one of another kind."""
    if error.errno in ALWAYS | WITHIN:
        return _explain(error.errno, error.filename, settings)
    return explain_text(str(error), settings)


def explain_text(text: str, settings: Settings) -> CannotWriteError | None:
    """The message for an error of a node, by its traceback; None for one of another kind.

    Libraries drop the error's number ("5 requested and 2 written"), so that it is also tried whether files can be
    written at this moment.
    """
    if own := OWN.findall(text):
        return CannotWriteError(own[-1])
    for number, path, other in ERRNO.findall(text):
        if found := _explain(int(number or other), path or None, settings):
            return found
    return next((found for folder in _folders(settings) if (found := _try_to_write(folder, settings))), None)


def _explain(number: int, path: str | None, settings: Settings) -> CannotWriteError | None:
    folders = _folders(settings)
    inside = [folder for folder in folders if path is not None and Path(path).resolve().is_relative_to(folder)]
    if number not in ALWAYS and not (number in WITHIN and inside):
        return None
    fullest = min(folders, key=_free_bytes)
    return _message(inside[0] if inside else fullest, number, settings)


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(next(parent for parent in (folder, *folder.parents) if parent.is_dir())).free


def _folders(settings: Settings) -> list[Path]:
    """The work folder, which may be in the output folder, before the output folder."""
    return [settings.work_dir.resolve(), settings.output_dir.resolve()]


def _try_to_write(folder: Path, settings: Settings) -> CannotWriteError | None:
    if not folder.is_dir():
        return None
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(os.urandom(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return _message(folder, error.errno, settings) if error.errno in ALWAYS | WITHIN else None
    return None


def _message(folder: Path, number: int, settings: Settings) -> CannotWriteError:
    is_work = folder == settings.work_dir.resolve()
    name, remedy = ("work", " with --work-dir") if is_work else ("output", "")
    what = "change its permissions" if number in (*WITHIN, errno.EROFS) else "free space on its disk"
    return CannotWriteError(
        f"the {name} folder {folder} cannot be written ({os.strerror(number)}): {what}, or choose another {name} "
        f"folder{remedy}. Completed work is kept; rerun to resume"
    )
