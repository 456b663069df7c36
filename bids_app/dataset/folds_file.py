"""Splits from a table: folds.tsv of an earlier run, or one made elsewhere."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bids_app.bids import tables
from bids_app.bids.matching import describe_unmatched
from bids_app.bids.names import parse_participant, participant_name
from bids_app.dataset.folds import Split, check_training
from bids_app.errors import DataError

log = logging.getLogger("pellucid")

COLUMNS = ("participant_id", "repeat", "fold", "role")
ROLES = ("train", "test")
OPTION = "--folds-file"
NONE = "n/a"


def read_folds(path: Path, samples: pd.DataFrame, groups: Sequence[str]) -> list[Split]:
    """Read splits from a table: participant_id, session_id (may be absent), repeat, fold, role (train or test).

    samples: those included, in row order of the arrays, with participant_id (without "sub-"), session_id (NA for none)
    and class; groups: of each row. A line without a session applies to all sessions of the participant; the number of
    participants who are not in the analysis is logged. Each sample has a role in every fold, and is held out at most
    once per repeat. Raises MissingInputError without the file; DataError for a table of another format, and for splits
    that leak or train without a class.
    """
    table, file = read_table(path, OPTION), f"{OPTION} {path.name}"
    participants = set(table["participant_id"])
    if unmatched := participants - set(samples["participant_id"]):
        named = describe_unmatched(unmatched, set(samples["participant_id"]))
        counts = len(unmatched), len(participants)
        log.warning("%s: ignoring %d of its %d participants, who are not in this analysis: %s", file, *counts, named)
    rows = list(zip(samples["participant_id"], _normalise_sessions(samples["session_id"]), strict=True))
    classes = samples["class"].tolist()
    splits = []
    for repeat, fold in sorted(set(zip(table["repeat"].tolist(), table["fold"].tolist(), strict=True))):
        part = table[table["repeat"].eq(repeat) & table["fold"].eq(fold)]
        roles = _roles_of_samples(part, rows, f"{file}: repeat {repeat}, fold {fold}")
        train, test = (tuple(row for row, role in enumerate(roles) if role == side) for side in ROLES)
        split = Split(repeat, fold, train, test, tuple(groups))
        check_training(split, classes, why=f"add training participants of this class in {path.name}")
        splits.append(split)
    _check_held_out_once(splits, rows, file)
    return splits


def read_table(path: Path, option: str) -> pd.DataFrame:
    """Read the table that an option names: participant_id and session_id ("n/a": all) without their prefixes, repeat
    and fold as numbers, role. Raises MissingInputError without the file, DataError for another format.
    """
    file = f"{option} {path.name}"
    table = _read_strings(path, file)
    _check_values(table, file)
    table = table.astype({"repeat": int, "fold": int})
    _check_duplicate_lines(table, file)
    return table


def _read_strings(path: Path, file: str) -> pd.DataFrame:
    """Read the table as strings without spaces or prefixes, indexed by line of the file, with session_id added."""
    table = tables.read_cells(path, file)
    lacking = [column for column in COLUMNS if column not in table]
    if lacking:
        raise DataError(f"{file} has no column {', '.join(lacking)}; it has {', '.join(map(str, table))}")
    table = table.reindex(columns=[*COLUMNS, "session_id"], fill_value=NONE)
    table["participant_id"] = table["participant_id"].map(parse_participant)
    table["session_id"] = _normalise_sessions(table["session_id"])
    return table


def _normalise_sessions(values: "pd.Series[str]") -> "pd.Series[str]":
    return values.astype(object).fillna(NONE).astype(str).str.removeprefix("ses-").replace("", NONE)


def _check_values(table: pd.DataFrame, file: str) -> None:
    if table.empty:
        raise DataError(f"{file} is empty; it needs a line for every participant in every fold")
    whole = r"0*[1-9][0-9]{0,8}"
    for column, wrong, wanted in (
        ("participant_id", table["participant_id"].isin(["", NONE]), "a participant"),
        ("role", ~table["role"].isin(ROLES), "train or test"),
        ("repeat", ~table["repeat"].str.fullmatch(whole), "a whole number above 0"),
        ("fold", ~table["fold"].str.fullmatch(whole), "a whole number above 0"),
    ):
        if wrong.any():
            line, value = next(table.loc[wrong, column].items())
            raise DataError(f"{file}, line {line}: {column} must be {wanted}, not {value or 'empty'}")


def _check_duplicate_lines(table: pd.DataFrame, file: str) -> None:
    """Raise DataError where a fold has two lines for one session, or one for it and one for all sessions."""
    key = ["repeat", "fold", "participant_id"]
    whole = table.duplicated(key, keep=False) & table["session_id"].eq(NONE)
    twice = table[table.duplicated([*key, "session_id"]) | whole]
    if len(twice):
        repeat, fold, participant = twice.iloc[0][key]
        raise DataError(
            f"{file}: {participant_name(participant)} is listed twice in repeat {repeat}, fold {fold}; keep one row"
        )


def _roles_of_samples(part: pd.DataFrame, rows: list[tuple[str, str]], where: str) -> list[str]:
    """Return the role of each sample in a fold. Raises DataError for samples without one."""
    role_by_session = dict(zip(zip(part["participant_id"], part["session_id"], strict=True), part["role"], strict=True))
    roles = [role_by_session.get(row) or role_by_session.get((row[0], NONE), "") for row in rows]
    lacking = [_sample_name(row) for row, role in zip(rows, roles, strict=True) if not role]
    if lacking:
        more = ", ..." if len(lacking) > 5 else ""
        raise DataError(
            f"{where}: {len(lacking)} included samples have no line: {', '.join(lacking[:5])}{more}; "
            "add them, or --exclude them"
        )
    return roles


def _check_held_out_once(splits: list[Split], rows: list[tuple[str, str]], file: str) -> None:
    """Raise DataError where a sample is held out twice in a repeat: scores would mix predictions of two models."""
    seen: dict[tuple[int, int], int] = {}
    for split in splits:
        for row in split.test:
            first = seen.setdefault((split.repeat, row), split.fold)
            if first != split.fold:
                raise DataError(
                    f"{file}: {_sample_name(rows[row])} is held out in folds {first} and {split.fold} of repeat "
                    f"{split.repeat}; assign folds with overlapping test sets to different repeats"
                )


def _sample_name(row: tuple[str, str]) -> str:
    participant, session = row
    return participant_name(participant) + ("" if session == NONE else f" ses-{session}")
