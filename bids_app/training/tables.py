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
    values = {map_name: np.load(path, mmap_mode="r") for map_name, path in arrays.items()}
    for map_name, x in values.items():
        if len(x) != len(table):
            raise DataError(
                f"the {map_name} array has {len(x)} rows, the table of people {len(table)}; remove the work folder"
            )
    wanted = [
        *itertools.chain(*(adjust.get(map_name, ()) for map_name in arrays)),
        *([] if keep is None else [SITE_COLUMN, *keep]),
    ]
    beside = {map_name: file for map_name, path in arrays.items() if (file := path.with_suffix(".npz")).exists()}
    fitted = {map_name: dict(np.load(file)) for map_name, file in beside.items()}
    return Samples(values, {name: _numeric_column(table, name) for name in dict.fromkeys(wanted)}, fitted)


def _numeric_column(table: pd.DataFrame, name: str) -> NDArray[np.float64]:
    """A column to be adjusted for, (people,); raise DataError that names the people who lack it."""
    if name not in table:
        raise DataError(f"there is no column {name} to adjust for; choose from {', '.join(table.columns)}")
    numbers = pd.to_numeric(table[name], errors="coerce")
    bad = table.loc[numbers.isna(), "participant_id"].tolist()
    if bad:
        participants = ", ".join(bad[:5]) + (f" and {len(bad) - 5} more" if len(bad) > 5 else "")
        raise DataError(
            f"{name} is to be adjusted for, and is missing or not a number for {participants}; --exclude them"
        )
    return numbers.to_numpy(float)
