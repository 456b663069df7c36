"""Covariates as numbers: categories are dummy-coded."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from bids_app.errors import DataError

CATEGORICAL = ("site",)  # whatever its values are: the numbers of sites have no order
_DECIMAL_COMMA = re.compile(r"-?\d+,\d+")


def encode_covariates(
    table: pd.DataFrame, columns: tuple[str, ...], known: Mapping[str, Sequence[str]] | None = None
) -> tuple[pd.DataFrame, dict[str, tuple[str, ...]]]:
    """Add coded columns; return the table and, for each column, the names of its coded columns.

    A column of numbers is unchanged, unless it is `CATEGORICAL`. A categorical column is replaced by columns of 0 and
    1 named `sex[M]`, one for each value but the first in alphabetical order (treatment coding). The values are those
    in the whole table, which reveal nothing about classes, or those `known` from training, by column. Where values are
    not known, raises DataError for a categorical column with as many values as participants, or mostly of numbers.
    """
    coded = table.copy()
    names: dict[str, tuple[str, ...]] = {}
    for column in columns:
        if _is_numeric(table, column) if known is None else column not in known:
            _check_finite(table, column)
            names[column] = (column,)
            continue
        words = table[column].astype(str)
        if known is None and column not in CATEGORICAL:
            _check_categorical(words, column)
        values = sorted_levels(table, column) if known is None else known[column]
        if known is None and len(values) == len(words):
            raise DataError(
                f"--covariates {column}: its values differ between all {len(words)} participants; choose another"
            )
        names[column] = tuple(f"{column}[{value}]" for value in values[1:])
        for value in values[1:]:
            coded[f"{column}[{value}]"] = words.eq(value).astype(float)
    return coded, names


def _is_numeric(table: pd.DataFrame, column: str) -> bool:
    return column not in CATEGORICAL and bool(pd.to_numeric(table[column], errors="coerce").notna().all())


def _check_categorical(words: "pd.Series[str]", column: str) -> None:
    """Raise DataError where a column is of numbers, but for some values: as categories, its order would be lost."""
    numeric = pd.to_numeric(words, errors="coerce").notna()
    commas = words.str.fullmatch(_DECIMAL_COMMA)
    if numeric.mean() > 0.5 or commas.any():
        odd = ", ".join(sorted(set(words[~numeric]))[:5])
        hint = "write decimal points" if commas.any() else "correct them, or write n/a"
        raise DataError(f"--covariates {column}: {odd} cannot be read as a number; {hint}")


def _check_finite(table: pd.DataFrame, column: str) -> None:
    """Raise DataError where a number is infinite."""
    infinite = np.isinf(pd.to_numeric(table[column]).to_numpy(float))
    if infinite.any():
        odd = ", ".join(table.loc[infinite, "participant_id"].astype(str)[:5])
        raise DataError(f"--covariates {column}: its value is infinite for {odd}; correct it, or write n/a")


def sorted_levels(table: pd.DataFrame, column: str) -> tuple[str, ...]:
    """Return the sorted values of a categorical column."""
    return tuple(sorted(table[column].astype(str).unique()))
