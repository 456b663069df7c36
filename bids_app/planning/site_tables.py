"""The tables of participants of several sites compared: columns, classes and codes that may mean the same.

Nothing is guessed: what looks alike is named, and the user says what it is.
"""

import difflib
import itertools
import logging

import pandas as pd

from bids_app.bids.matching import list_some
from bids_app.bids.participants import MAX_CLASSES, WRITTEN
from bids_app.errors import DataError
from bids_app.planning import cohort
from bids_app.settings import Settings

log = logging.getLogger("pellucid")
Tables = dict[str, pd.DataFrame]
NOT_IN_TABLES = ("none", "tiv", "site")  # covariates that no site's table needs
MIN_SIMILARITY = 0.6  # of the names of columns


def check_tables(tables: Tables, settings: Settings, needed: tuple[str, ...]) -> None:
    """Raise DataError where a site lacks a column that others have, or codes one otherwise.

    tables: of each site, indexed by participant and session; needed: columns in addition to those of options.
    """
    group = settings.group
    named = dict.fromkeys([*(group.covariates or ()), *group.combat_covariates, *needed])
    covariates = [name for name in named if name not in NOT_IN_TABLES]
    label = None if cohort.label(settings) == "site" else cohort.label(settings)
    for column in dict.fromkeys(filter(None, [label, group.groups, *covariates])):
        _check_column(column, tables)
    if label is not None:
        _check_classes(label, tables, settings)
    # sex is a comparison of every analysis
    for column in dict.fromkeys(["sex", *covariates]):
        if column != label:
            _check_codes(column, tables)


def _values(table: pd.DataFrame, column: str) -> set[str]:
    """The values of a column as written, none without it."""
    written = column + WRITTEN if column + WRITTEN in table else column
    return set(table[written].dropna().astype(str)) if written in table else set()


def _check_column(column: str, tables: Tables) -> None:
    values = {site: _values(table, column) for site, table in tables.items()}
    having = [site for site, present in values.items() if present]
    lacking = [site for site, present in values.items() if not present]
    if not having or not lacking:
        return  # the column is nowhere: reported as for one data set
    site, table = lacking[0], tables[lacking[0]]
    columns = [str(name) for name in table if not str(name).endswith(WRITTEN)]
    lack = f"no value in column {column}" if column in table else f"no column {column}"
    similar = _find_similar(column, set().union(*values.values()), table)
    todo = f"rename it to {column} in the table of {site}" if similar else f"add it, or leave {site} out of --maps-from"
    raise DataError(
        f"site {site}: participants.tsv has {lack}, which {list_some(having)} {'has' if len(having) == 1 else 'have'}; "
        f"it has {', '.join(columns)}. {similar}{todo if similar else todo[0].upper() + todo[1:]}"
    )


def _find_similar(column: str, values: set[str], table: pd.DataFrame) -> str:
    """A phrase that names the column of a table with the same values as `column` elsewhere, or with a similar name."""
    wanted = {value.casefold() for value in values}
    for name in map(str, table):
        present = {value.casefold() for value in _values(table, name)}
        if name != column and len(wanted) <= MAX_CLASSES and present and present <= wanted and len(present) > 1:
            return f"{name} looks alike (its values are {', '.join(sorted(_values(table, name)))}): "
    names = {str(name).casefold(): str(name) for name in table if str(name) != column}
    close = difflib.get_close_matches(column.casefold(), names, n=1, cutoff=MIN_SIMILARITY)
    return f"{names[close[0]]} looks alike: " if close else ""


def _check_classes(label: str, tables: Tables, settings: Settings) -> None:
    """Raise DataError where two sites each have a class that the other lacks; a warning where --classes says so."""
    values = {site: _values(table, label) for site, table in tables.items()}
    if len(set().union(*values.values())) > MAX_CLASSES:
        return
    if settings.group.classes:
        _warn_of_classes(label, values, settings.group.classes)
        return
    for site, other in itertools.combinations(values, 2):
        ours, theirs = sorted(values[site] - values[other]), sorted(values[other] - values[site])
        if ours and theirs:
            raise DataError(
                f"the values of {label} differ between sites: {site} has {', '.join(sorted(values[site]))}, and "
                f"{other} has {', '.join(sorted(values[other]))}. Name the classes with --classes"
                f"{_example(ours, theirs, values[site] & values[other])}"
            )


def _example(ours: list[str], theirs: list[str], common: set[str]) -> str:
    """--classes that join two spellings, where there are two."""
    if len(ours) > 1 or len(theirs) > 1:
        return ", as in --classes NAME=VALUE,VALUE"
    joined = f"{max(ours[0], theirs[0], key=len)}={ours[0]},{theirs[0]}"
    return f"; if {ours[0]} and {theirs[0]} are the same, --classes {' '.join([joined, *sorted(common)])}"


def _warn_of_classes(label: str, values: dict[str, set[str]], classes: dict[str, tuple[str, ...]]) -> None:
    assigned = {value for members in classes.values() for value in members}
    for site, present in values.items():
        absent = [name for name, members in classes.items() if present.isdisjoint(members)]
        only = sorted(present - assigned - set().union(*(others for other, others in values.items() if other != site)))
        if absent and only:
            log.warning(
                "site %s has no participant of class %s, and values of %s that no other site has and --classes does "
                "not assign: %s; if they are the same, join them in --classes",
                site,
                " or ".join(absent),
                label,
                ", ".join(only),
            )


def _check_codes(column: str, tables: Tables) -> None:
    """Raise DataError where a column is numbers at one site and words at another, or has two codes for sex."""
    values = {site: set(table[column].dropna().astype(str)) for site, table in tables.items() if column in table}
    values = {site: present for site, present in values.items() if present}
    numeric = {site: all(map(_is_number, present)) for site, present in values.items()}
    for site, other in itertools.combinations(values, 2):
        nested = values[site] <= values[other] or values[other] <= values[site]
        if numeric[site] != numeric[other] or (column == "sex" and numeric[site] and not nested):
            codes = [f"{', '.join(sorted(values[place])[:5])} at {place}" for place in (site, other)]
            raise DataError(
                f"{column} is coded differently at the sites: {codes[0]}, and {codes[1]}. Write one code in the tables "
                f"of all sites{' (F and M, by BIDS)' if column == 'sex' else ''}"
            )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
