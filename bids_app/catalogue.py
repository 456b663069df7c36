"""The folder is the registry: `maps/gm.py` is `--maps gm`. Parts are listed without being imported."""

import ast
import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

from bids_app.errors import UsageError

ROOMS = ("maps", "classifiers", "explainers")


def names(room: str) -> list[str]:
    """The parts of a room, sorted; a file that begins with an underscore is machinery of the room."""
    folder = str(Path(__file__).parent / room)
    return sorted(part.name for part in pkgutil.iter_modules([folder]) if not part.name.startswith("_"))


def check(room: str, chosen: tuple[str, ...]) -> None:
    """Raise UsageError, with the names that exist, unless every name is a part of the room; nothing is imported.

    What follows a dash names one image of a part that has several (`networks-SMN`).
    """
    unknown = [name for name in chosen if name.partition("-")[0] not in names(room)]
    if unknown:
        raise UsageError(f"--{room}: there is no {', '.join(unknown)}; choose from {', '.join(names(room))}")


def offers(room: str, name: str, what: str) -> bool:
    """Whether a part has a function or a constant of that name; it is read, not imported."""
    source = Path(__file__).parent / room / f"{name.partition('-')[0]}.py"
    top = ast.parse(source.read_text(encoding="utf-8")).body
    functions = {one.name for one in top if isinstance(one, ast.FunctionDef)}
    targets = {
        target.id
        for one in top
        if isinstance(one, ast.Assign)
        for target in one.targets
        if isinstance(target, ast.Name)
    }
    return what in functions | targets


def load(room: str, name: str) -> ModuleType:
    """Import one part of a room."""
    check(room, (name,))
    return importlib.import_module(f"bids_app.{room}.{name.partition('-')[0]}")
