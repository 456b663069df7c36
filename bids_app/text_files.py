"""The door for TOML and YAML written by others: what is not text, not of the format or of a wrong type is named."""

import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bids_app.errors import DataError, MissingInputError, UsageError

NOUNS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def read_toml(named: str, file: Path, *, error: type[UsageError | DataError] = UsageError) -> dict[str, Any]:
    """The tables of a TOML file; `named`: the option and the file, as messages have them.

    Raises `error` for a file that is not TOML, and MissingInputError where it cannot be read.
    """
    try:
        return tomllib.loads(_read_text(named, file, error))
    except (tomllib.TOMLDecodeError, RecursionError) as reason:
        raise error(f"{named} is not TOML: {reason or 'too deeply nested'}") from reason


def read_yaml(named: str, file: Path) -> Any:
    """The content of a YAML file. Raises UsageError where it is not YAML, MissingInputError where it cannot be read."""
    import yaml

    try:
        return yaml.safe_load(_read_text(named, file, UsageError))
    except (yaml.YAMLError, ValueError, RecursionError) as reason:
        raise UsageError(f"{named} is not YAML: {' '.join(str(reason).split())}") from reason


def _read_text(named: str, file: Path, error: type[UsageError | DataError]) -> str:
    if not file.is_file():
        raise MissingInputError(f"{named}: there is no file {file}")
    try:
        return file.read_bytes().decode("utf-8-sig")
    except OSError as reason:
        raise MissingInputError(f"{named} cannot be read ({reason.strerror}): change its permissions") from reason
    except UnicodeDecodeError as reason:
        raise error(f"{named} is not a text file in UTF-8: save it in this encoding") from reason


def find_mismatch(value: Any, schema: Any, name: str) -> str | None:
    """What is wrong with a value that is to be of a type, as a phrase; None if nothing is.

    schema: a type; [schema] for a list of such values; {key: schema} for a table with at least these keys, and
    {"*": schema} for one with any keys. A whole number will do for a float, which has to be finite.
    """
    if isinstance(schema, list):
        if not isinstance(value, list):
            return f"{name} is not a list"
        return next((text for entry in value if (text := find_mismatch(entry, schema[0], f"an entry of {name}"))), None)
    if isinstance(schema, Mapping):
        if not isinstance(value, dict):
            return f"{name} is not a table"
        if lacking := [key for key in schema if key != "*" and key not in value]:
            return f"{name} has no {', '.join(lacking)}"
        kinds = dict.fromkeys(value, schema["*"]) if "*" in schema else schema
        return next((text for key, kind in kinds.items() if (text := find_mismatch(value[key], kind, key))), None)
    accepted = (int, float) if schema is float else schema
    if not isinstance(value, accepted) or (isinstance(value, bool) and schema is not bool):
        return f"{name} is not {NOUNS[schema]}"
    return f"{name} is not a finite number" if schema is float and not _is_finite(value) else None


def _is_finite(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False
