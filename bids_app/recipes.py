"""Published studies as settings: `models/<name>/recipe.toml` beside a README, or a file of the user's own."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_app.errors import MissingInputError, UsageError

FILE = "recipe.toml"


def folder() -> Path:
    """Where the recipes are: in the package where it was installed, beside it in a checkout."""
    inside = Path(__file__).parent / "models"
    return inside if inside.is_dir() else Path(__file__).parents[1] / "models"


def names() -> list[str]:
    """The recipes that come with Pellucid, sorted."""
    return sorted(file.parent.name for file in folder().glob(f"*/{FILE}"))


def find(name: str) -> Path:
    """The file of a recipe, by its name or its path. Raises UsageError with the names that exist."""
    own = folder() / name / FILE
    if own.is_file():
        return own
    if Path(name).is_file():
        return Path(name)
    raise UsageError(f"--recipe: there is no {name}; choose from {', '.join(names())}, or give a file")


def title(name: str) -> str:
    """What an analysis by this recipe is called unless it is named: the recipe's name, or its file's."""
    file = find(name)
    return file.parent.name if file.name == FILE else file.stem


def read(asked: str, file: Path, sections: Mapping[str, Sequence[str]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The values of a settings file by setting, and those of its table `sloppy`, which hold with --sloppy besides.

    A table `about` says what a recipe is of. Raises UsageError, for `asked`, for no TOML and for a key that `sections`
    does not have where it stands; MissingInputError where there is no file.
    """
    if not file.is_file():
        raise MissingInputError(f"{asked}: there is no file {file}")
    try:
        text = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{asked} {file} is not TOML: {error}") from error
    text.pop("about", None)
    hasty = text.pop("sloppy") if isinstance(text.get("sloppy"), dict) else {}
    return _flat(text, file.name, sections), _flat(hasty, file.name, sections)


def _flat(text: Mapping[str, Any], file: str, sections: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in text.items():
        if key in sections and isinstance(value, dict):
            if strange := sorted(set(value) - set(sections[key])):
                raise UsageError(f"unknown setting in [{key}] of {file}: {', '.join(strange)}")
            values.update(value)
        else:
            values[key] = value
    return values


def over(upper: Mapping[str, Any], lower: Mapping[str, Any]) -> dict[str, Any]:
    """The upper values, and the lower ones that they do not name; what is tuned is put together option by option."""
    first, second = (values.get("tune", {}) for values in (lower, upper))
    tuned = {name: {**first.get(name, {}), **second.get(name, {})} for name in {**first, **second}}
    return {**lower, **upper, **({"tune": tuned} if tuned else {})}
