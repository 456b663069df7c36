"""Covariates as numbers: words become one column for each value but the first."""

from collections.abc import Mapping, Sequence

import pandas as pd

from bids_app.errors import DataError


def encode_covariates(
    table: pd.DataFrame, columns: tuple[str, ...], known: Mapping[str, Sequence[str]] | None = None
) -> tuple[pd.DataFrame, dict[str, tuple[str, ...]]]:
    """Add coded columns; returns the table and, for each column, what stands for it.

    A column of numbers stands for itself. One of words is replaced by columns of 0 and 1 named `sex[M]`, for each
    value but the first in alphabetic order (treatment coding). Values are those of everyone in the table: that somebody
    has a value says nothing of anyone's class; or those `known` of training, by column. Raises DataError for a column
    of words with as many values as people, where values are not known.
    """
    coded = table.copy()
    names: dict[str, tuple[str, ...]] = {}
    for column in columns:
        numbers = pd.to_numeric(table[column], errors="coerce").notna().all() if known is None else column not in known
        if numbers:
            names[column] = (column,)
            continue
        words = table[column].astype(str)
        values = sorted_levels(table, column) if known is None else known[column]
        if known is None and len(values) == len(words):
            raise DataError(f"--adjust-for {column}: its words differ between all {len(words)} people; choose another")
        names[column] = tuple(f"{column}[{value}]" for value in values[1:])
        for value in values[1:]:
            coded[f"{column}[{value}]"] = words.eq(value).astype(float)
    return coded, names


def sorted_levels(table: pd.DataFrame, column: str) -> tuple[str, ...]:
    """The values of a column of words, sorted."""
    return tuple(sorted(table[column].astype(str).unique()))
