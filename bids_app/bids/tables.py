"""The one reader of tables that users provide: tab-separated text, as BIDS defines it and as programs write it."""

import csv
import logging
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bids_app.bids.matching import list_some
from bids_app.errors import DataError, MissingInputError

if TYPE_CHECKING:  # pandas takes a fifth of a second to import, and many runs read no table
    import pandas as pd

log = logging.getLogger("pellucid")

MISSING_WORDS = frozenset({"", "n/a", "na", "nan", "none", "null", "#n/a", "."})  # compared without case
MISSING = MISSING_WORDS | {"-9999", "-999"}  # of participants
LABELS, MISSING_LABELS = ("participant_id", "session_id"), ("", "n/a")  # somebody may be called NA
SUSPECTED = ("-", "?", "unknown", "missing", "#null!", "-1", "-8", "-9", "-88", "-99", "99", "888", "999", "9999")
MAX_COLUMNS = 10_000
MAX_LINES_OF_A_VALUE = 50
_NEWLINE = re.compile(r"\r\n|\r|\n")
_INVISIBLE = "\ufeff\u200b"


def read_cells(path: Path, title: str = "") -> "pd.DataFrame":
    """Read a table as text: string columns, stripped, "" where a cell is empty; indexed by line number in the file.

    UTF-8, or UTF-16 with a byte order mark; line ends of any system; values in double quotes where that is how the line
    reads. Empty lines, and empty cells beyond the header, are dropped; so are columns without name and values. `title`
    is what messages call the table. Raises MissingInputError without the file; DataError, which names the line, for
    rows with more or fewer values than the header, for columns with the same name or none, and for other text.
    """
    import pandas as pd

    title = title or path.name
    rows = [(line, cells) for line, cells in _read_rows(_read_text(path, title), title) if any(cells)]
    if not rows:
        raise DataError(f"{title} is empty: it needs a line with the names of its columns.")
    (_, header), *body = rows
    names = header[: max(at for at, name in enumerate(header) if name) + 1]
    body = [(line, _fit(cells, names, line, title)) for line, cells in body]
    named = [at for at, name in enumerate(names) if name or any(cells[at] for _, cells in body)]
    if nameless := [str(at + 1) for at in named if not names[at]]:
        raise DataError(f"{title}: column {', '.join(nameless)} has values but no name: name or delete it.")
    columns = [names[at] for at in named]
    if twice := sorted(name for name, count in Counter(columns).items() if count > 1):
        raise DataError(f"{title} has several columns with the same name: {', '.join(twice)}. Rename or delete one.")
    index = pd.Index([line for line, _ in body], dtype=int, name="line")
    return pd.DataFrame({names[at]: [cells[at] for _, cells in body] for at in named}, index, columns, dtype="string")


def read_values(path: Path, title: str = "") -> "pd.DataFrame":
    """Read a table as `read_cells` does, with NA for the words of `MISSING`; others than BIDS' n/a are logged."""
    table = read_cells(path, title)
    missing = table.apply(
        lambda values: values.str.casefold().isin(MISSING_LABELS if values.name in LABELS else MISSING)
    )
    if words := [
        f"{word} ({count} in {column})"
        for column, values in table.items()
        for word, count in Counter(values[missing[column]]).items()
        if word not in ("", "n/a")
    ]:
        log.info("%s: read as missing (n/a): %s", title or path.name, list_some(words))
    return table.mask(missing)


def check_key(table: "pd.DataFrame", key: str, title: str) -> None:
    """Raise DataError for a table without the column `key`, or with a row that has no value in it."""
    if key not in table:
        columns = ", ".join(map(str, table))
        if len(table.columns) == 1 and re.search("[,;]", columns):
            raise DataError(f"{title} is separated by commas or semicolons (CSV): save it as TSV (tab-separated).")
        raise DataError(
            f"{title} has no {key} column; it has: {columns}. Rename the corresponding column; tabs separate columns."
        )
    if lines := [str(line) for line in table.index[table[key].isna() | table[key].eq("")]]:
        raise DataError(f"{title} has no {key} in line {', '.join(lines)}: fill in or delete it.")


def warn_of_codes(values: "pd.Series[str]", title: str) -> None:
    """Log values that look like a code for a missing value and are read as they stand.

    Words always; a number only where it stands apart: below 0 where no other value is, or twice as large as any other.
    """
    counts = Counter(values.dropna().astype(str))
    numbers = {word: number for word in counts if (number := _number(word)) is not None}
    suspected = []
    for word in counts:
        if word.casefold() not in SUSPECTED:
            continue
        others = [number for other, number in numbers.items() if other not in SUSPECTED]
        number = numbers.get(word)
        apart = number is None or (others and (number < 0 <= min(others) or number > 2 * max(others) > 0))
        suspected += [f"{word} ({counts[word]})"] if apart else []
    if suspected:
        log.warning(
            "%s: %s may be a code for a missing value, and is read as it stands: write n/a where a value is missing",
            title,
            ", ".join(suspected),
        )


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def _read_text(path: Path, title: str) -> str:
    if not path.exists():
        raise MissingInputError(f"{title}: there is no file {path}.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise MissingInputError(f"{title} cannot be read ({error.strerror}): {path}.") from error
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = len(_NEWLINE.split(content[: error.start].decode("latin-1")))
        raise DataError(f"{title}, line {line}, is not UTF-8 text: save the table as UTF-8.") from error
    if "\0" in text:
        raise DataError(f"{title} is not a table of tab-separated UTF-8 text: it contains binary data.")
    return text


def _read_rows(text: str, title: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the first line number and the stripped cells of each row.

    A quote that opens a value and is not closed in its line may be closed in a later one, unless the value would then
    hold tabs as well: it would be rows. Otherwise it is a character like others.
    """
    lines, at = _NEWLINE.split(text), 0
    while at < len(lines):
        end, cells = at + 1, lines[at].split("\t")
        if '"' in lines[at]:
            for last in range(at + 1, min(at + MAX_LINES_OF_A_VALUE, len(lines)) + 1):
                parsed = _parse("\n".join(lines[at:last]))
                if parsed and not any("\n" in cell and "\t" in cell for cell in parsed):
                    end, cells = last, parsed
                    break
        if at == 0 and len(cells) > MAX_COLUMNS:
            raise DataError(f"{title} has {len(cells)} columns, more than {MAX_COLUMNS}: keep those that you need.")
        yield at + 1, [_strip(cell) for cell in cells]
        at = end


def _parse(text: str) -> list[str] | None:
    """The cells of a row with quotes; None where quotes do not enclose whole values."""
    try:
        rows = list(csv.reader([text], delimiter="\t", strict=True))
    except csv.Error:
        return None
    return rows[0] if len(rows) == 1 else None


def _strip(cell: str) -> str:
    return cell.strip().strip(_INVISIBLE).strip()


def _fit(cells: list[str], names: list[str], line: int, title: str) -> list[str]:
    """The cells of a row, as many as names; raises DataError where there are more with a value, or fewer."""
    if any(cells[len(names) :]):
        why = "quote values that contain tabs"
        if len(cells) == len(names) + 1:
            why += "; R writes row names unless told row.names = FALSE"
        raise DataError(f"{title}, line {line}, has {len(cells)} values, but the header has {len(names)}: {why}.")
    if len(cells) < len(names):
        counts = f"has {len(cells)} values, but the header has {len(names)}"
        raise DataError(f"{title}, line {line}, {counts}: values are separated by tabs, and n/a fills a gap.")
    return cells[: len(names)]
