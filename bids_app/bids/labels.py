"""Where a participant's class and covariates come from beside participants.tsv: IDs, phenotype tables, sessions.tsv."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from bids_app.bids import annex, participants, tables
from bids_app.bids.names import parse_participant, participant_name, split_site
from bids_app.bids.participants import SYNONYMS, WRITTEN, as_text
from bids_app.errors import DataError, MissingInputError, UsageError

LABEL = "label_from_id"
WHOLE = ""  # in place of a session: values that hold for all sessions of the participant
KEYS = ["participant_id", "session_id"]


def people(root: Path, ids: Iterable[str]) -> pd.DataFrame:
    """Read participants.tsv as `participants.read` does; without such a file, a row without columns for each of `ids`.

    For data sets whose classes are in IDs or in a phenotype table. Raises what `participants.read` raises.
    """
    path = root / "participants.tsv"
    if os.path.lexists(path):  # a broken link must be reported, not ignored
        return participants.read(path)
    labels = dict.fromkeys(label.removeprefix("sub-") for label in ids)
    return pd.DataFrame(index=pd.Index(list(labels), dtype=object, name=KEYS[0]))


def from_ids(frame: pd.DataFrame, pattern: str) -> pd.DataFrame:
    r"""Add the column `label_from_id`: the match of a regular expression in each participant label, without "sub-".

    The value is the group named `label`, or the only group, or without groups the whole match. Of several named groups
    of which one matches, it is that group's name: `^(?P<patient>\d{3})$|^(?P<control>\d\d)$`. A label without a
    match, or with an empty one, has NA. Raises UsageError for another pattern, and for one without any match.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--label-from-id {pattern} is not a regular expression: {error}.") from error
    labels = [_label(compiled.search(participant)) for participant in frame.index]
    if not any(labels):
        shown = ", ".join(frame.index[:3])
        raise UsageError(
            f"--label-from-id {pattern} matches no participant; it is searched in labels without sub-: {shown}."
        )
    return frame.assign(**{LABEL: pd.Series(labels, index=frame.index, dtype="string")})


def _label(match: re.Match[str] | None) -> str | None:
    if match is None:
        return None
    if "label" in match.re.groupindex:
        return match["label"] or None
    if match.re.groups < 2:
        return match[match.re.groups] or None
    names = [name for name in match.re.groupindex if match[name] is not None]
    if len(names) != 1:
        raise UsageError(
            f"--label-from-id {match.re.pattern} has {match.re.groups} groups, and it is ambiguous which is the "
            f"label of {match.string}: name it (?P<label>...), or name alternatives by class: "
            "(?P<patient>...)|(?P<control>...)."
        )
    return names[0]


def with_phenotype(frame: pd.DataFrame, path: Path, *, site: str | None = None) -> pd.DataFrame:
    """Join a table of participants (a BIDS phenotype/*.tsv, or any with participant_id and tabs) to that of `people`.

    Values that are n/a in one are filled from the other; participants who are only in the file are added; age, sex and
    site are recognised by their synonyms in both. From lines with a session_id, only values common to all sessions of
    a participant are used, and only where the frame has none; the rest is for `with_sessions`. Raises
    MissingInputError without the file, and DataError for values that differ, for several lines per participant without
    session_id, and for a file that is not tab-separated. site: the one whose participants the frame has, if the file
    has those of several (NORTH:sub-01).
    """
    rows = _phenotype(path, site)
    whole = rows.index.get_level_values(1) == WHOLE
    table, of_participants = _restore_written(frame), rows[whole].droplevel(1)
    _check_agreement(table, of_participants, "participants.tsv", path.name)
    return participants.with_synonyms(_fill(_fill(table, of_participants), _values_of_all_sessions(rows[~whole])))


def with_sessions(
    frame: pd.DataFrame, root: Path, *, phenotype: Path | None = None, site: str | None = None
) -> pd.DataFrame:
    """Index the frame by participant and session, with the session values of sub-*/sub-*_sessions.tsv and `phenotype`.

    Session "" is the participant: the frame's row, with missing values filled by those common to all sessions. A
    session in a table (label without "ses-") has its own row, with missing values filled from the participant's; other
    sessions have none. Only tables of participants in the frame are read. Raises DataError for a table without
    session_id or with a duplicated session, and where the two sources differ; MissingInputError for an unreadable one.
    """
    by_participant = {participant: _sessions(root, participant) for participant in frame.index}
    tables = {participant: table for participant, table in by_participant.items() if table is not None}
    none = pd.DataFrame(index=pd.MultiIndex.from_arrays([[], []], names=KEYS))
    described, rows = pd.concat(tables, names=KEYS) if tables else none, none
    if phenotype is not None:
        rows = _phenotype(phenotype, site)
        selected = rows.index.get_level_values(0).isin(frame.index)
        rows = rows[selected & (rows.index.get_level_values(1) != WHOLE)]
        _check_agreement(described, rows, "sessions.tsv", phenotype.name)
    described, rows = participants.with_synonyms(described), participants.with_synonyms(rows)
    described, rows, frame = _add_as_written(described, rows, frame)
    described = _fill(described, rows)
    of_person = frame.reindex(described.index.get_level_values(0)).set_axis(described.index)
    frame = _fill(frame, _values_of_all_sessions(described))
    whole = frame.set_axis(pd.MultiIndex.from_product([frame.index, [WHOLE]], names=KEYS))
    return pd.concat([whole, _fill(described, of_person).reindex(columns=whole.columns)])


def _sessions(root: Path, person: str) -> pd.DataFrame | None:
    """One participant's sessions.tsv as written, indexed by session; None without such a file."""
    path = root / f"sub-{person}" / f"sub-{person}_sessions.tsv"
    if not os.path.lexists(path):
        return None
    if reason := annex.why_unreadable(path, root):
        raise MissingInputError(f"sub-{person}: {reason}")
    table = _table(path, "session_id")
    sessions = table.pop("session_id").str.removeprefix("ses-")
    if twice := sorted(set(sessions[sessions.duplicated()])):
        raise DataError(f"{path.name} lists sessions more than once: {', '.join(twice)}. Keep one row for each.")
    return table.set_axis(pd.Index(sessions.astype(object))).drop(columns="participant_id", errors="ignore")


def _phenotype(path: Path, site: str | None) -> pd.DataFrame:
    """The file of --phenotype as written, or its lines of a site, by participant and session ("" if none is named)."""
    if not path.is_file():
        raise MissingInputError(f"--phenotype: there is no file {path}.")
    table = _table(path, "participant_id")
    table = table if site is None else _select_site(table, site, path)
    labels = table.pop("participant_id").map(parse_participant).astype(object)
    has_sessions = "session_id" in table
    sessions = table.pop("session_id").str.removeprefix("ses-").fillna(WHOLE) if has_sessions else [WHOLE] * len(labels)
    table.index = pd.MultiIndex.from_arrays([labels, sessions], names=KEYS)
    if twice := [_describe_row(key) for key in table.index[table.index.duplicated()].unique()]:
        shown = ", ".join(twice[:5]) + (f" and {len(twice) - 5} more" if len(twice) > 5 else "")
        todo = "" if has_sessions else ", or add a column session_id with the session of each row"
        raise DataError(f"{path.name} lists participants more than once: {shown}. Keep one row for each{todo}.")
    return table


def _select_site(table: pd.DataFrame, site: str, path: Path) -> pd.DataFrame:
    """The lines of one site, whose participants lose the site. Raises DataError for a table without sites."""
    parts = [split_site(participant) for participant in table["participant_id"]]
    if not any(place for place, _ in parts):
        raise DataError(
            f"--phenotype {path.name}: with --maps-from, participant_id must be SITE:sub-01; or give each site a file "
            "of its own, and write {site} in place of its name, as in --phenotype '/data/{site}/phenotype.tsv'."
        )
    table = table.assign(participant_id=[label for _, label in parts])
    return table[[place == site for place, _ in parts]]


def _table(path: Path, key: str) -> pd.DataFrame:
    """Read a table of tab-separated text in which every line that is not empty has the key."""
    table = tables.read_values(path)
    tables.check_key(table, key, path.name)
    return table


def _restore_written(frame: pd.DataFrame) -> pd.DataFrame:
    """Undo the changes and additions of `participants.with_synonyms`; a column equal to a synonym's counts as added."""
    table = frame.copy()
    for name in SYNONYMS:
        if name + WRITTEN in table:
            table[name] = table.pop(name + WRITTEN)
        elif name in table:
            standard = table.pop(name)
            again = participants.with_synonyms(table)
            if name not in again or not again[name].equals(standard):
                table[name] = as_text(standard)
    return table


def _add_as_written(*frames: pd.DataFrame) -> list[pd.DataFrame]:
    """The frames with `age_as_written` and so on in all that have the column, if one of them has."""
    names = [name for name in SYNONYMS if any(name + WRITTEN in frame for frame in frames)]

    def add(frame: pd.DataFrame) -> pd.DataFrame:
        columns = {name: frame.get(name + WRITTEN, as_text(frame[name])) for name in names if name in frame}
        return frame.assign(**{name + WRITTEN: column for name, column in columns.items()})

    return [add(frame) for frame in frames]


def _fill(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """All rows and columns of both; missing values of the first are filled from the second."""
    new = second.index.difference(first.index, sort=False)
    index = first.index.append(new).astype(first.index.dtype)  # pandas 3 turns object into str
    filled = first.reindex(index)
    for column, values in second.reindex(index).items():
        filled[column] = filled[column].fillna(values) if column in filled else values
    return filled


def _check_agreement(first: pd.DataFrame, second: pd.DataFrame, name: str, other_name: str) -> None:
    """Raise DataError where two tables disagree about a participant; 30 and 30.0, M and male are the same."""
    index = first.index.intersection(second.index, sort=False)
    for column in first.columns.intersection(second.columns, sort=False):
        values, others = first.loc[index, column], second.loc[index, column]
        differ = (values != others).fillna(False)
        differ &= (_number(values) != _number(others)) & (_standardise(values) != _standardise(others))
        if differ.any():
            key = index[differ.to_numpy(dtype=bool)][0]
            raise DataError(
                f"{column} of {_describe_row(key)} is {values[key]} in {name} and {others[key]} in {other_name} "
                f"({differ.sum()} differ): correct one of them, or delete or rename the column in {other_name}."
            )


def _number(values: "pd.Series[str]") -> "pd.Series[float]":
    return pd.to_numeric(values, errors="coerce").astype(float)


def _standardise(values: "pd.Series[str]") -> "pd.Series[str]":
    """The values as `age` or `sex` has them, if that is what they are."""
    table = participants.with_synonyms(values.to_frame())
    return table[next((name for name in SYNONYMS if name in table), values.name)]


def _values_of_all_sessions(rows: pd.DataFrame) -> pd.DataFrame:
    """For each participant, the values common to all of their sessions, else NA."""
    grouped = rows.groupby(level=0, sort=False)
    return grouped.first().where(grouped.nunique(dropna=False) == 1)


def _describe_row(key: str | tuple[str, str]) -> str:
    """As in file names: sub-01, sub-01 ses-1."""
    participant, session = (key, WHOLE) if isinstance(key, str) else key
    return participant_name(participant) + (f" ses-{session}" if session else "")
