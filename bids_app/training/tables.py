"""The table of people beside the arrays of their maps."""

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_app.errors import DataError
from bids_app.training.feature_pipeline import SITE_COLUMN, Samples


def read_table(path: Path) -> pd.DataFrame:
    """A table of participant_id, session_id and what else is known; n/a is NA."""
    text = {"participant_id": str, "session_id": str, "class": str}
    return pd.read_csv(path, sep="\t", dtype=text, keep_default_na=False, na_values=["n/a", ""])


def load_samples(
    table: pd.DataFrame,
    arrays: Mapping[str, Path],
    adjust: Mapping[str, tuple[str, ...]],
    keep: tuple[str, ...] | None,
) -> Samples:
    """Everyone, the maps mapped from disk, with the covariates that `adjust` names by map, and `keep` and the site.

    arrays: map -> float32 (people, voxels) in the row order of the table; what a map was made by, if it was fitted,
    lies beside it as .npz. Raises DataError when table and arrays
    disagree, or a covariate is missing.
    """
    values = {one: np.load(path, mmap_mode="r") for one, path in arrays.items()}
    for one, x in values.items():
        if len(x) != len(table):
            raise DataError(
                f"the {one} array has {len(x)} rows, the table of people {len(table)}; remove the work folder"
            )
    wanted = [
        *itertools.chain(*(adjust.get(one, ()) for one in arrays)),
        *([] if keep is None else [SITE_COLUMN, *keep]),
    ]
    beside = {one: file for one, path in arrays.items() if (file := path.with_suffix(".npz")).exists()}
    fitted = {one: dict(np.load(file)) for one, file in beside.items()}
    return Samples(values, {name: _numeric_column(table, name) for name in dict.fromkeys(wanted)}, fitted)


def _numeric_column(table: pd.DataFrame, name: str) -> NDArray[np.float64]:
    """A column to be adjusted for, (people,); raise DataError that names the people who lack it."""
    if name not in table:
        raise DataError(f"there is no column {name} to adjust for; choose from {', '.join(table.columns)}")
    numbers = pd.to_numeric(table[name], errors="coerce")
    bad = table.loc[numbers.isna(), "participant_id"].tolist()
    if bad:
        who = ", ".join(bad[:5]) + (f" and {len(bad) - 5} more" if len(bad) > 5 else "")
        raise DataError(f"{name} is to be adjusted for, and is missing or not a number for {who}; --exclude them")
    return numbers.to_numpy(float)
