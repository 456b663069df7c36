"""Published studies as settings: `models/<name>/recipe.toml` beside a README, or a file of the user's own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_app.errors import UsageError
from bids_app.text_files import read_toml

FILE = "recipe.toml"
FORMER_SECTIONS = {"both": "shared"}  # sections of settings files of earlier versions


def folder() -> Path:
    """Where the recipes are: in the package where it was installed, beside it in a checkout."""
    inside = Path(__file__).parent / "models"
    return inside if inside.is_dir() else Path(__file__).parents[1] / "models"


def names() -> list[str]:
    """The recipes shipped with Pellucid, sorted."""
    return sorted(file.parent.name for file in folder().glob(f"*/{FILE}"))


def find(name: str) -> Path:
    """The file of a recipe, by its name or its path. Raises UsageError with the names that exist."""
    file = folder() / name / FILE
    if file.is_file():
        return file
    if Path(name).is_file():
        return Path(name)
    raise UsageError(f"--recipe: there is no {name}; choose from {', '.join(names())}, or specify a file")


def title(name: str) -> str:
    """The default name of an analysis by this recipe: the recipe's name, or its file's."""
    file = find(name)
    return file.parent.name if file.name == FILE else file.stem


def read(
    option: str, file: Path, sections: Mapping[str, Sequence[str]], former: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The values of a settings file by setting, and those of its table `sloppy`, which apply with --sloppy besides.

    `former` maps the keys of earlier versions to today's. A table `about` describes a recipe. Raises UsageError, which
    names `option`, for a file that is not TOML, a key that `sections` does not have where it stands, and a setting that
    has two names there; MissingInputError where there is no file.
    """
    tables = read_toml(f"{option} {file}", file)
    tables.pop("about", None)
    if_sloppy = tables.pop("sloppy") if isinstance(tables.get("sloppy"), dict) else {}
    return _flatten(tables, file.name, sections, former), _flatten(if_sloppy, file.name, sections, former)


def _flatten(
    tables: Mapping[str, Any], file: str, sections: Mapping[str, Sequence[str]], former: Mapping[str, str]
) -> dict[str, Any]:
    """The values of all sections in one table; keys may also stand outside a section."""
    names = {key: FORMER_SECTIONS.get(key, key) for key, value in tables.items() if isinstance(value, dict)}
    values = _rename({key: value for key, value in tables.items() if names.get(key) not in sections}, file, former)
    for key, section in names.items():
        if section in sections:
            table = _rename(tables[key], file, former)
            if unknown := sorted(set(table) - set(sections[section])):
                raise UsageError(f"unknown setting in [{key}] of {file}: {', '.join(unknown)}")
            values.update(table)
    return values


def _rename(table: Mapping[str, Any], file: str, former: Mapping[str, str]) -> dict[str, Any]:
    """The table with former names replaced by current ones."""
    if twice := [key for key in table if former.get(key) in table]:
        raise UsageError(f"{file}: {twice[0]} is a former name of {former[twice[0]]}; give one of them")
    return {former.get(key, key): value for key, value in table.items()}


def merge(upper: Mapping[str, Any], lower: Mapping[str, Any]) -> dict[str, Any]:
    """The upper values, and the lower ones that they do not name; hyperparameters are merged one by one."""
    below, above = (values.get("set", {}) for values in (lower, upper))
    if any(not isinstance(table, dict) for table in (below, above)) or any(
        not isinstance(entry, dict) for table in (below, above) for entry in table.values()
    ):
        return {**lower, **upper}  # not a table, which is refused with the other values
    tables = {name: {**below.get(name, {}), **above.get(name, {})} for name in {**below, **above}}
    return {**lower, **upper, **({"set": tables} if tables else {})}
