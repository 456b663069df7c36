"""The one reader of JSON files that users provide: sidecars, descriptions, filters, sidecars of atlases, studies."""

import functools
import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bids_app.errors import DataError, MissingInputError

log = logging.getLogger("pellucid")

MAX_DIGITS = 300  # of a whole number: one of 310 is beyond the numbers with a decimal point
BYTE_ORDER_MARK = "\ufeff"


def read_object(path: Path, title: str = "") -> dict[str, Any]:
    """Read a file that contains one JSON object. `title` is what messages call the file.

    UTF-8, with or without a byte order mark, UTF-16 or UTF-32. Other text is read as Latin-1, and logged: a letter of a
    hospital's name must not fail a participant. Raises MissingInputError without the file; DataError for one that is
    unreadable, not JSON, not an object, or ambiguous: a field stated twice, a number that is not finite.
    """
    title = title or path.name
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        what = "its content is not here: fetch it (datalad get)" if path.is_symlink() else f"there is no file {path}"
        raise MissingInputError(f"{title}: {what}.") from error
    except OSError as error:
        raise DataError(f"{title} cannot be read ({error.strerror}): check {path}, and its permissions.") from error
    text = _decode(content, path, title)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_to_dict,
            parse_constant=_refuse_constant,
            parse_float=_read_finite_number,
            parse_int=_read_whole_number,
        )
    except json.JSONDecodeError as error:
        what = "it is empty" if not text.strip() else f"line {error.lineno}, column {error.colno}: {error.msg}"
        raise DataError(f"{title} cannot be read, since it is not JSON ({what}): correct it.") from error
    except RecursionError as error:
        raise DataError(f"{title} cannot be read, since it is nested too deeply: correct it.") from error
    except ValueError as error:
        raise DataError(f"{title} cannot be read: {error}: correct it.") from error
    if not isinstance(value, dict):
        raise DataError(f'{title} cannot be read, since it is not a JSON object ({{"Field": value, ...}}): correct it.')
    return value


def _decode(content: bytes, path: Path, title: str) -> str:
    encoding = json.detect_encoding(content)
    try:
        return content.decode(encoding).removeprefix(BYTE_ORDER_MARK)
    except UnicodeDecodeError as error:
        if not encoding.startswith("utf-8"):
            raise DataError(f"{title} cannot be read, since it is not UTF-8 text: save it as UTF-8.") from error
    _warn_of_encoding(path.absolute(), title)
    marks = BYTE_ORDER_MARK.encode()
    return content.removeprefix(marks).decode("latin-1")


@functools.cache
def _warn_of_encoding(path: Path, title: str) -> None:
    """Log once per file, which may apply to a thousand participants."""
    log.warning("%s is not UTF-8 text, and was read as Latin-1: save %s as UTF-8", title, path.name)


def _to_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = sorted(name for name in content if names.count(name) > 1)
        raise ValueError(f"it states {', '.join(twice)} more than once, and only one value can be right")
    return content


def _refuse_constant(word: str) -> float:
    raise ValueError(f"it contains {word}, which is not JSON; write null, or leave the field out")


def _read_whole_number(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"it contains a number of {len(text)} digits, which is too large")
    return int(text)


def _read_finite_number(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"it contains the number {text}, which is too large")
    return number


def name_generator(description: Mapping[str, object]) -> str:
    """The name and version of the pipeline that a dataset_description.json states first."""
    made_by = description.get("GeneratedBy")
    if not isinstance(made_by, list) or not made_by or not isinstance(made_by[0], dict):
        return "pipeline not stated"
    return " ".join(str(made_by[0][key]) for key in ("Name", "Version") if key in made_by[0]) or "pipeline not stated"
