"""One value of a setting: from the words of the command line, or a TOML file, to the type of its field."""

import math
import re
import tomllib
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from bids_app.errors import UsageError

KINDS = {int: "whole number", float: "finite number", bool: "truth value: true or false", Path: "path", str: "text"}
ALL = "networks"  # whose hyperparameters are set where no classifier is named


def option(key: str) -> str:
    """The command-line spelling of a setting."""
    return "--" + key.replace("_", "-")


def coerce(key: str, value: Any, hint: Any) -> Any:
    """Turn a TOML or command-line value into the type of its field."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return None if value is None else coerce(key, value, inner[0])
    try:
        if origin is tuple:
            return tuple(coerce(key, entry, inner[0]) for entry in listed(value))
        if origin is dict:
            return {str(name): coerce(key, entry, inner[1]) for name, entry in value.items()}
        return _scalar(value, hint)
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UsageError(f"{option(key)}: {value!r} is not a {KINDS.get(hint, 'value of the right kind')}") from error


def _scalar(value: Any, hint: Any) -> Any:
    """One value: 2.5 is not cut to 2, and a list is no text. Paths are absolute, as nodes run in their own folders."""
    if isinstance(value, list | dict) or ((hint is bool) != isinstance(value, bool) and hint is not Any):
        raise TypeError
    if hint is Any:
        return value
    if hint is int and isinstance(value, float):
        raise TypeError
    if hint is float and not math.isfinite(float(value)):
        raise ValueError
    return Path(value).absolute() if hint is Path else hint(value)


def megabytes(size: object) -> int:
    """32000, 32000M or 32G."""
    text = str(size)
    match = re.fullmatch(r"(\d{1,15}(?:\.\d+)?)\s*([MG]?)B?", text.strip(), flags=re.IGNORECASE)
    if match is None:
        raise UsageError(f"--mem-mb: {text!r} is not a size; use 32000 or 32G")
    number, unit = float(match[1]), match[2].upper()
    if not unit and number < 512:
        raise UsageError(f"--mem-mb {text} means {text} MB, which is too little; for gigabytes use {text}G")
    return int(number * 1000 if unit == "G" else number)


def listed(value: Any) -> list[Any]:
    """A list of values; a text or a path is one value."""
    return [value] if isinstance(value, str | Path) else list(value)


def pairs(words: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE. Raises UsageError for a word of another form."""
    if wrong := [word for word in words if "=" not in word]:
        raise UsageError(f"expected NAME=VALUE, not {', '.join(wrong)}")
    return dict(word.split("=", 1) for word in words)


def sites(words: Sequence[str]) -> dict[str, str]:
    """SITE=OUT_DIR, each site once. Raises UsageError."""
    named = pairs(words)
    names = [word.partition("=")[0] for word in words]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"--maps-from contains {', '.join(twice)} twice")
    return named


def hyperparameters(words: Sequence[str]) -> dict[str, dict[str, Any]]:
    """NAME.OPTION=VALUE, the value as in TOML, a bare word being a text; without NAME it is for all networks."""
    tables: dict[str, dict[str, Any]] = {}
    for key, word in pairs(words).items():
        name, _, parameter = key.rpartition(".")
        try:
            value = tomllib.loads(f"value = {word}")["value"]
        except tomllib.TOMLDecodeError:
            value = word
        tables.setdefault(name or ALL, {})[parameter] = value
    return tables


def derivatives(words: Sequence[str]) -> dict[str, str]:
    """NAME=PATH, or a bare path, which is taken for fMRIPrep's."""
    return pairs([word if "=" in word else f"fmriprep={word}" for word in words])


def classes(words: Sequence[str]) -> dict[str, list[str]]:
    """NAME=VALUE,VALUE, or a bare value, which then is the class's name as well."""
    named: dict[str, list[str]] = {}
    for word in words:
        name, _, values = word.partition("=")
        if name in named:
            raise UsageError(f"--classes contains {name} twice")
        named[name] = values.split(",") if values else [name]
    return named
