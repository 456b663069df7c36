"""The folder is the registry: `maps/gm.py` is `--maps gm`. Parts are listed without being imported."""

import ast
import importlib
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Any

from bids_app.errors import UsageError

ROOMS = ("maps", "classifiers", "explainers")


def names(room: str) -> list[str]:
    """The parts of a room, sorted; a file that begins with an underscore is machinery of the room."""
    folder = str(Path(__file__).parent / room)
    return sorted(part.name for part in pkgutil.iter_modules([folder]) if not part.name.startswith("_"))


def check(room: str, selection: tuple[str, ...]) -> None:
    """Raise UsageError, with the names that exist, unless every name is a part of the room; nothing is imported.

    What follows a dash names one image of a part that has several (`networks-SMN`).
    """
    unknown = [name for name in selection if name.partition("-")[0] not in names(room)]
    if unknown:
        raise UsageError(f"--{room}: there is no {', '.join(unknown)}; choose from {', '.join(names(room))}")


def offers(room: str, name: str, what: str) -> bool:
    """Whether a part has a function or a constant of that name; it is read, not imported."""
    functions = {node.name for node in _parse(room, name) if isinstance(node, ast.FunctionDef)}
    return what in functions | set(_read_constants(room, name))


def constant(room: str, name: str, what: str) -> Any:
    """The value of a part's constant, a plain literal; it is read, not imported."""
    return ast.literal_eval(_read_constants(room, name)[what])


def _read_constants(room: str, name: str) -> dict[str, ast.expr]:
    """The expression of every constant of a part, by name."""
    constants: dict[str, ast.expr] = {}
    for node in _parse(room, name):
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(target.elts, node.value.elts, strict=True))
            constants |= {element.id: value for element, value in pairs if isinstance(element, ast.Name)}
    return constants


def _parse(room: str, name: str) -> list[ast.stmt]:
    """The statements at the top of a part's file."""
    source = Path(__file__).parent / room / f"{name.partition('-')[0]}.py"
    return ast.parse(source.read_text(encoding="utf-8")).body


def load(room: str, name: str) -> ModuleType:
    """Import one part of a room."""
    check(room, (name,))
    return importlib.import_module(f"bids_app.{room}.{name.partition('-')[0]}")
