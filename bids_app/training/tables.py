"""The table of samples, and the arrays of their maps."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_app.errors import DataError
from bids_app.training.feature_pipeline import SITE_COLUMN, Samples


def read_table(path: Path, *, text: Sequence[str] = ("participant_id", "session_id", "class")) -> pd.DataFrame:
    """Read a table of participant_id, session_id and other columns; n/a is NA. text: columns that are never numbers."""
    return pd.read_csv(path, sep="\t", dtype=dict.fromkeys(text, str), keep_default_na=False, na_values=["n/a", ""])


def load_samples(
    table: pd.DataFrame,
    arrays: Mapping[str, Path],
    adjust: Mapping[str, tuple[str, ...]],
    keep: tuple[str, ...] | None,
) -> Samples:
    """Load all samples, the maps memory-mapped, with the covariates in `adjust` (by map) and, for ComBat, `keep` and
    the site.

    arrays: map -> float32 (samples, voxels) in the row order of the table; the arrays that a map was fitted with are
    beside it as .npz. Raises DataError when table and arrays disagree, or a covariate is missing.
    """
    values = {map_name: np.load(path, mmap_mode="r") for map_name, path in arrays.items()}
    for map_name, x in values.items():
        if len(x) != len(table):
            raise DataError(
                f"the {map_name} array has {len(x)} rows and the table of participants {len(table)}; remove the "
                "work folder"
            )
    wanted = [
        *itertools.chain(*(adjust.get(map_name, ()) for map_name in arrays)),
        *([] if keep is None else [SITE_COLUMN, *keep]),
    ]
    beside = {map_name: file for map_name, path in arrays.items() if (file := path.with_suffix(".npz")).exists()}
    fitted = {map_name: dict(np.load(file)) for map_name, file in beside.items()}
    return Samples(values, {name: _numeric_column(table, name) for name in dict.fromkeys(wanted)}, fitted)


def _numeric_column(table: pd.DataFrame, name: str) -> NDArray[np.float64]:
    """Return a covariate as numbers, (samples,). Raises DataError that names the participants who lack it."""
    if name not in table:
        raise DataError(f"there is no covariate column {name}; choose from {', '.join(table.columns)}")
    numbers = pd.to_numeric(table[name], errors="coerce")
    bad = table.loc[numbers.isna(), "participant_id"].tolist()
    if bad:
        participants = ", ".join(bad[:5]) + (f" and {len(bad) - 5} more" if len(bad) > 5 else "")
        raise DataError(f"the covariate {name} is missing or not a number for {participants}; --exclude them")
    return numbers.to_numpy(float)
