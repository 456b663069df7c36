"""participants.tsv: participants, their variables and their classes."""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from bids_app.bids import tables
from bids_app.bids.matching import list_some, spelling_variants, suggest_values
from bids_app.errors import DataError, MissingInputError, UsageError

log = logging.getLogger("pellucid")

# Compared without case, spaces and signs; the first one in a file is used.
SYNONYMS = {
    "age": (
        "age", "ageyears", "ageinyears", "ageyrs", "ageatscan", "agescan", "scanage", "ageatscanyears", "ageatmri",
        "ageatfirstscan", "ageatfirstscanyears", "ageatsession", "ageatacquisition",
    ),
    "sex": ("sex", "gender", "biologicalsex", "sexatbirth"),
    "site": (
        "site", "siteid", "sitename", "scanner", "scannerid", "scannerserialnumber", "center", "centerid", "centre",
        "centreid",
    ),
}  # fmt: skip
WRITTEN = "_as_written"
MAX_CLASSES = 10

_SEXES = {"f": "F", "female": "F", "woman": "F", "m": "M", "male": "M", "man": "M"}
_AGE = re.compile(r"[<>]?\s*(\d+(?:[.,]\d+)?)\s*(?:\+|y|yrs?|years?)?", re.IGNORECASE)


def read(path: Path) -> pd.DataFrame:
    """Read participants.tsv: strings, n/a as NA, indexed by the label without "sub-".

    Adds `age` (years, float; "89+" is 89, "21,5" is 21.5), `sex` ("F", "M", or as written where not recognised) and
    `site` where a synonym is found. If a column already has such a name and its values change, the original ones are
    kept as `age_as_written` and so on. Raises MissingInputError, and DataError without unique participant_id.
    """
    if not path.is_file():
        raise MissingInputError(
            f"{path.name} is not in {path.parent}: the group level reads the classes of participants from it."
        )
    frame = tables.read_values(path)
    if "participant_id" not in frame:
        columns = ", ".join(map(str, frame))
        raise DataError(f"{path.name} has no participant_id column; it has: {columns}. Is it tab-separated?")
    tables.check_key(frame, "participant_id", path.name)
    labels = frame.pop("participant_id").str.removeprefix("sub-")
    if twice := sorted(set(labels[labels.duplicated()])):
        raise DataError(f"{path.name} lists participants more than once: {', '.join(twice)}. Keep one row for each.")
    frame.index = pd.Index(labels.astype(object), name="participant_id")
    return with_synonyms(frame)


def with_synonyms(frame: pd.DataFrame) -> pd.DataFrame:
    """Add `age`, `sex` and `site`, as `read` does, to a table of strings as written."""
    plain = {str(column): re.sub(r"[^a-z]", "", str(column).lower()) for column in frame}
    added = frame.copy()
    for name, synonyms in SYNONYMS.items():
        candidates = [column for word in synonyms for column in plain if plain[column] == word]
        if name in plain:
            candidates.insert(0, name)
        if not candidates:
            continue
        written = frame[candidates[0]]
        value = _years(written) if name == "age" else _sexes(written) if name == "sex" else written
        if candidates[0] == name and not written.equals(as_text(value)):
            added[name + WRITTEN] = written
        added[name] = value
    return added


def standard_name(frame: pd.DataFrame, column: str) -> str | None:
    """Which of `age`, `sex` and `site` a column is: by name, or by a synonym and the same values; None for others."""
    if column in SYNONYMS or column not in frame:
        return column if column in frame else None
    alone = with_synonyms(frame[[column]])
    same = (
        name
        for name in SYNONYMS
        if name in alone and name in frame and as_text(alone[name]).equals(as_text(frame[name]))
    )
    return next(same, None)


def as_text(values: "pd.Series[str] | pd.Series[float]") -> "pd.Series[str]":
    """Values as strings, whole numbers without a decimal point."""
    return values.astype("string").str.removesuffix(".0")


def _years(written: "pd.Series[str]") -> "pd.Series[float]":
    """Convert ages to years; a value that is not a number of years becomes n/a and is logged."""
    matches = {value: _AGE.fullmatch(value) for value in written.dropna().unique()}
    if odd := sorted(value for value, match in matches.items() if match is None):
        log.warning("ages that are not a number of years are treated as n/a: %s", ", ".join(odd[:10]))
    years = {value: float(match[1].replace(",", ".")) for value, match in matches.items() if match}
    return written.map(years).astype(float)


def _sexes(written: "pd.Series[str]") -> "pd.Series[str]":
    """Convert words for female and male to F and M; numeric codes are not interpreted."""
    return written.map(lambda value: value if pd.isna(value) else _SEXES.get(value.lower(), value)).astype("string")


def classes(frame: pd.DataFrame, *, column: str, mapping: Mapping[str, Sequence[str]]) -> "pd.Series[str]":
    """Give each participant a class by `mapping` (class -> values of `column`); NA for n/a and for values of no class.

    An empty mapping makes each value a class. Raises DataError for a column or a value that does not exist, and for
    values that differ in spelling only and are not all assigned to classes; UsageError for a value in two classes or
    more than 10 values without a mapping.
    """
    if column not in frame:
        columns = ", ".join(str(name) for name in frame if not str(name).endswith(WRITTEN))
        raise DataError(f"participants.tsv has no column {column}; it has: {columns}. Choose one of them with --label.")
    # sites of --maps-from have their names, whatever their tables call them
    written = column + WRITTEN if column != "site" and column + WRITTEN in frame else column
    values = frame[written]
    values = values.astype("string")
    counts = Counter(sorted(values.dropna()))
    shown = ", ".join(f"{value} ({count})" for value, count in list(counts.items())[:20]) or "only n/a"
    _check_spellings(column, counts, {value for members in mapping.values() for value in members})
    if not mapping:
        if len(counts) > MAX_CLASSES:
            raise UsageError(f"column {column} has {len(counts)} values: define the classes with --classes.")
        return values.rename("class")
    classed: dict[str, str] = {}
    for name, members in mapping.items():
        for value in members:
            if classed.setdefault(value, name) != name:
                raise UsageError(f"--classes assigns {value} to two classes, {classed[value]} and {name}.")
    if unknown := [value for value in classed if value not in counts]:
        wrong = list_some(suggest_values(unknown, counts))
        raise DataError(f"column {column} has no value {wrong}; it has: {shown}. Correct --classes.")
    return values.map(classed).astype("string").rename("class")


def _check_spellings(column: str, values: Iterable[str], assigned: set[str]) -> None:
    """Raise DataError for values that differ in spelling only, unless all of them are `assigned` or none is."""
    for words in spelling_variants(values):
        if not assigned or (assigned & set(words) and not assigned >= set(words)):
            raise DataError(
                f"column {column} spells a value in several ways, {' and '.join(words)}, which would be different "
                f"classes: write it alike, or join them, as in --classes {words[0]}={','.join(words)}"
            )
