"""Covariates as numbers: categories are dummy-coded."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from bids_app.errors import DataError


def encode_covariates(
    table: pd.DataFrame, columns: tuple[str, ...], known: Mapping[str, Sequence[str]] | None = None
) -> tuple[pd.DataFrame, dict[str, tuple[str, ...]]]:
    """Add coded columns; return the table and, for each column, the names of its coded columns.

    A column of numbers is unchanged. A categorical column is replaced by columns of 0 and 1 named `sex[M]`, one for
    each value but the first in alphabetical order (treatment coding). The values are those in the whole table, which
    reveal nothing about classes, or those `known` from training, by column. Raises DataError for a categorical column
    with as many values as participants, where values are not known.
    """
    coded = table.copy()
    names: dict[str, tuple[str, ...]] = {}
    for column in columns:
        numbers = pd.to_numeric(table[column], errors="coerce").notna().all() if known is None else column not in known
        if numbers:
            _check_finite(table, column)
            names[column] = (column,)
            continue
        words = table[column].astype(str)
        values = sorted_levels(table, column) if known is None else known[column]
        if known is None and len(values) == len(words):
            raise DataError(
                f"--covariates {column}: its values differ between all {len(words)} participants; choose another"
            )
        names[column] = tuple(f"{column}[{value}]" for value in values[1:])
        for value in values[1:]:
            coded[f"{column}[{value}]"] = words.eq(value).astype(float)
    return coded, names


def _check_finite(table: pd.DataFrame, column: str) -> None:
    """Raise DataError where a number is infinite."""
    infinite = np.isinf(pd.to_numeric(table[column]).to_numpy(float))
    if infinite.any():
        odd = ", ".join(table.loc[infinite, "participant_id"].astype(str)[:5])
        raise DataError(f"--covariates {column}: its value is infinite for {odd}; correct it, or write n/a")


def sorted_levels(table: pd.DataFrame, column: str) -> tuple[str, ...]:
    """Return the sorted values of a categorical column."""
    return tuple(sorted(table[column].astype(str).unique()))
