"""Covariates as numbers: words become one column for each value but the first."""

import pandas as pd

from bids_app.errors import DataError


def code(table: pd.DataFrame, columns: tuple[str, ...]) -> tuple[pd.DataFrame, dict[str, tuple[str, ...]]]:
    """Add coded columns; returns the table and, for each column, what stands for it.

    A column of numbers stands for itself. One of words is replaced by columns of 0 and 1 named `sex[M]`, for each
    value but the first in alphabetic order (treatment coding). Values are those of everyone in the table: that somebody
    has a value says nothing of anyone's class. Raises DataError for a column of words with as many values as people.
    """
    coded = table.copy()
    names: dict[str, tuple[str, ...]] = {}
    for column in columns:
        if pd.to_numeric(table[column], errors="coerce").notna().all():
            names[column] = (column,)
            continue
        words = table[column].astype(str)
        levels = sorted(words.unique())
        if len(levels) == len(words):
            raise DataError(f"--adjust-for {column}: its words differ between all {len(words)} people; choose another")
        names[column] = tuple(f"{column}[{level}]" for level in levels[1:])
        for level in levels[1:]:
            coded[f"{column}[{level}]"] = words.eq(level).astype(float)
    return coded, names
