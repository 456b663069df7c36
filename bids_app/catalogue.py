"""The folder is the registry: `maps/gm.py` is `--maps gm`. Parts are listed without being imported."""

import ast
import functools
import importlib
import pkgutil
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from bids_app.errors import UsageError

KINDS = ("maps", "classifiers", "explainers")
PACKAGE = Path(__file__).parent


def names(kind: str) -> list[str]:
    """The parts of a kind, sorted: its files, with a file that declares VARIANTS replaced by their names.

    A file that begins with an underscore is shared by several parts.
    """
    return sorted(_files(kind))


def check(kind: str, requested: tuple[str, ...]) -> None:
    """Raise UsageError, with the names that exist, unless every name is a part of that kind; nothing is imported.

    What follows a dash names one image of a map that has several (`networks-SMN`), or the option of a classifier that
    its NAME_SUFFIX names (`wang_a-24`).
    """
    unknown = [name for name in requested if name.partition("-")[0] not in _files(kind)]
    if unknown:
        raise UsageError(f"--{kind}: there is no {', '.join(unknown)}; choose from {', '.join(names(kind))}")


def has(kind: str, name: str, definition: str) -> bool:
    """Whether a part has a function or a constant of that name; its source is read, not imported."""
    statements = _statements(_source(kind, name))
    functions = {node.name for node in statements if isinstance(node, ast.FunctionDef)}
    return definition in functions | set(_bindings(_source(kind, name)))


def constant(kind: str, name: str, definition: str) -> Any:
    """The value of a part's constant, read from its source.

    It has to be a literal, in which names may stand for constants of the file or of another one of the same folder
    (`_spectrum.OPTIONS`), or the union of two such dictionaries (`_slices.OPTIONS | {"axis": 0}`).
    """
    return _constant(_source(kind, name), definition)


def docstring(kind: str, name: str) -> str:
    """A part's docstring, that of a variant with its own summary; its source is read, not imported."""
    path = _source(kind, name)
    text = ast.get_docstring(ast.Module(_statements(path), [])) or name
    base = name.partition("-")[0]
    if base == path.stem:
        return text
    return "\n\n".join([_constant(path, "VARIANTS")[base]["summary"], *text.split("\n\n")[1:]])


def title(kind: str, name: str) -> str:
    """What a part is, in few words: its docstring up to the first colon, comma, semicolon or full stop."""
    return re.split(r"[:;.](?:\s|$)|(?<=[a-z]),\s", " ".join(docstring(kind, name).split()), maxsplit=1)[0]


def load(kind: str, name: str) -> ModuleType:
    """Import one part. Raises UsageError if there is none of that name or if its kind's contract refuses it.

    The `build` of a variant takes the variant's name and values.
    """
    check(kind, (name,))
    base = name.partition("-")[0]
    room = importlib.import_module(f"bids_app.{kind}")
    module = importlib.import_module(f"bids_app.{kind}.{_source(kind, name).stem}")
    if hasattr(room, "check_contract"):
        room.check_contract(base, module)
    return module if base not in getattr(module, "VARIANTS", {}) else _variant(kind, base, module)


def _variant(kind: str, name: str, module: ModuleType) -> ModuleType:
    """A copy of a module that represents one of its variants."""
    variant = ModuleType(f"bids_app.{kind}.{name}", docstring(kind, name))
    values = {key: value for key, value in module.VARIANTS[name].items() if key != "summary"}
    build = functools.partial(module.build, name=name, **values)
    vars(variant).update({key: value for key, value in vars(module).items() if not key.startswith("__")})
    vars(variant)["build"] = build
    return variant


@functools.cache
def _files(kind: str) -> dict[str, Path]:
    """The source file of each part, by name."""
    folder = PACKAGE / kind
    files: dict[str, Path] = {}
    for module in pkgutil.iter_modules([str(folder)]):
        path = folder / f"{module.name}.py"
        if not module.name.startswith("_"):
            variants = _bindings(path).get("VARIANTS") if "\nVARIANTS = " in path.read_text("utf-8") else None
            files |= dict.fromkeys([module.name] if variants is None else ast.literal_eval(variants), path)
    return files


def _source(kind: str, name: str) -> Path:
    return _files(kind)[name.partition("-")[0]]


@functools.cache
def _statements(path: Path) -> list[ast.stmt]:
    return ast.parse(path.read_text(encoding="utf-8")).body


def _bindings(path: Path) -> dict[str, ast.expr]:
    """The expression of each name that a file assigns at its top; of names unpacked from a call, the call."""
    bindings: dict[str, ast.expr] = {}
    for node in _statements(path):
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            parts = target.elts if isinstance(target, ast.Tuple) else [target]
            values = (
                node.value.elts if isinstance(node.value, ast.Tuple) and len(parts) > 1 else [node.value] * len(parts)
            )
            bindings |= {
                part.id: value for part, value in zip(parts, values, strict=True) if isinstance(part, ast.Name)
            }
    return bindings


def _constant(path: Path, name: str) -> Any:
    return _evaluate(_bindings(path)[name], path)


def _evaluate(node: ast.expr, path: Path) -> Any:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return _constant(path.with_name(f"{node.value.id}.py"), node.attr)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _evaluate(node.left, path) | _evaluate(node.right, path)
    if isinstance(node, ast.Name):
        return _constant(path, node.id)
    if isinstance(node, ast.Dict):
        entries = zip(node.keys, node.values, strict=True)
        return {ast.literal_eval(key): _evaluate(value, path) for key, value in entries if key is not None}
    return ast.literal_eval(node)
