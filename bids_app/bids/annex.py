"""Why an image of a data set cannot be read: not fetched, not mounted, a broken link, no permission, empty."""

import os
from pathlib import Path

_OBJECTS = "/annex/objects/"
_LONGEST_POINTER = 4096  # bytes; a smaller compressed image does not decode as one line of text


def why_unreadable(path: Path, root: Path) -> str | None:
    """Return None where `path` can be opened as an image file, else the reason as a sentence with what to do.

    `root` is the data set's folder. Recognises git-annex's links into `.git/annex/objects`: symbolic links, text files
    on file systems without links, or pointers of unlocked files (git-annex documentation, "pointer file").
    """
    if os.path.islink(path) and not os.path.exists(path):  # noqa: PTH110, PTH114 - Path.exists raises on some loops
        return _explain_link(path, root)
    try:
        with path.open("rb") as file:
            beginning = file.read(_LONGEST_POINTER + 1)
    except FileNotFoundError:
        return f"missing: {_relative_path(path, root)} does not exist; restore it, or fetch the data set again."
    except PermissionError:
        return f"no permission to read {_relative_path(path, root)}: ask its owner, or run as a user with permission."
    except OSError as error:
        return f"{_relative_path(path, root)} cannot be read ({error.strerror}): check the disk or mount that holds it."
    if not beginning:
        return f"empty: {_relative_path(path, root)} has no content; fetch or copy it again."
    pointer = _pointer(beginning)
    return None if pointer is None else _explain_pointer(path, pointer, root)


def _pointer(beginning: bytes) -> str | None:
    """Return the annex path in a small text file that replaces an image, if there is one."""
    if len(beginning) > _LONGEST_POINTER or not beginning.isascii():
        return None
    line = beginning.decode("ascii").splitlines()[0].strip()
    return line if _OBJECTS in line and "\0" not in line else None


def _explain_pointer(path: Path, pointer: str, root: Path) -> str:
    if pointer.startswith(_OBJECTS):  # the pointer of an unlocked file does not contain the location of its annex
        return _explain_not_fetched(path, root)
    target = os.path.realpath(path.parent / pointer)
    if not os.path.exists(target):  # noqa: PTH110
        return _explain_target(path, target, root)
    return (
        f"{_relative_path(path, root)} is a text file in place of a link: its content was fetched, but this file "
        "system did not preserve the link; run `git annex unlock` on it in the data set, or copy the data set "
        "with links resolved."
    )


def _explain_link(path: Path, root: Path) -> str:
    target = os.path.realpath(path)  # follows as many links as there are, also through a linked .git
    if _OBJECTS in target:
        return _explain_target(path, target, root)
    return (
        f"{_relative_path(path, root)} is a broken link to {os.readlink(path)}: mount (bind) its target, or "  # noqa: PTH115
        "replace the link by the file."
    )


def _explain_target(path: Path, target: str, root: Path) -> str:
    """Distinguish an annex elsewhere that is not accessible from one without the object."""
    annex = Path(target.split(_OBJECTS)[0]) / "annex"
    inside = Path(target).is_relative_to(os.path.realpath(root))
    if inside or (annex / "objects").is_dir():
        return _explain_not_fetched(path, root)
    return f"its annex at {annex} is not mounted here: mount (bind) it too, at the same path."


def _explain_not_fetched(path: Path, root: Path) -> str:
    reason = f"not fetched: run `datalad get {_relative_path(path, root)}` in the data set"
    if not os.path.lexists(root / ".git"):
        reason += "; if it was fetched already, the data set's .git/annex must be mounted (bound) along with it"
    return reason + "."


def _relative_path(path: Path, root: Path) -> str:
    """Return the path relative to the data set; the name alone if it is elsewhere."""
    for file, top in ((path.absolute(), root.absolute()), (path.parent.resolve() / path.name, root.resolve())):
        if file.is_relative_to(top):
            return file.relative_to(top).as_posix()
    return path.name
