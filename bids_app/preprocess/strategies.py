"""Confounds to regress out, by the name of a strategy, and volumes to keep, by head motion.

`24p-wm-csf`: six motion parameters, their differences and the squares of both (Friston et al. 1996, MRM 35:346;
Satterthwaite et al. 2013, NeuroImage 64:240) with the mean signals of CSF and white matter; the others are nilearn's
(Wang et al. 2024, PLoS Comput Biol 20:e1011942).
"""

import json
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bids_app.bids import tables
from bids_app.bids.json_files import read_object
from bids_app.errors import DataError, UsageError

if TYPE_CHECKING:
    import pandas as pd

MOTION = tuple(
    f"{axis}{term}"
    for term in ("", "_derivative1", "_power2", "_derivative1_power2")
    for axis in ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
)
COLUMNS = {"24p-wm-csf": (*MOTION, "csf", "white_matter")}
NILEARN = ("simple", "scrubbing", "compcor", "ica_aroma")
STRATEGIES = (*COLUMNS, *NILEARN, "none")


def read_confounds(path: Path) -> "pd.DataFrame":
    """A table of confounds, (time, columns), n/a as NaN. Raises DataError unless it is a table of numbers."""
    import pandas as pd

    table = tables.read_cells(path)
    words = table.mask(table.apply(lambda values: values.str.casefold().isin(tables.MISSING_WORDS)))
    numbers = words.apply(pd.to_numeric, errors="coerce").astype(np.float64)
    wrong = words.notna() & numbers.isna()
    if wrong.any(axis=None):
        column = next(name for name in words if wrong[name].any())
        line = wrong.index[wrong[column]][0]
        value = words.at[line, column]
        raise DataError(f"{path.name}, line {line}: {column} is {value!r}, which is neither a number nor n/a")
    table_of_numbers: pd.DataFrame = numbers.reset_index(drop=True)
    return table_of_numbers


def choose(
    name: str, confounds: Path, *, bold: Path | None = None, fd_threshold: float = 0.5
) -> tuple["pd.DataFrame | None", NDArray[np.bool_]]:
    """The confounds of a strategy, (time, k), None for "none", and which volumes it keeps, (time,).

    `confounds` is fMRIPrep's table, its JSON file beside it; only the name of `bold` is used. Every strategy
    but "none" drops the non-steady-state volumes, and "scrubbing" those with much motion and segments of fewer than
    5 volumes between them. A value missing in the first row only is filled from the second, as in nilearn.
    Raises UsageError for an unknown name, DataError for a table that lacks what the strategy needs.
    """
    if name not in STRATEGIES:
        raise UsageError(f"--denoise {name}: choose from {', '.join(STRATEGIES)}")
    table = read_confounds(confounds)
    sample_mask = np.ones(len(table), dtype=bool)
    if name == "none":
        return None, sample_mask
    if name in NILEARN:
        _check_aroma(name, bold)
        return _by_nilearn(name, confounds, table, fd_threshold=fd_threshold)
    if missing := [column for column in COLUMNS[name] if column not in table]:
        raise DataError(
            f"{confounds.name} lacks {len(missing)} of the {len(COLUMNS[name])} columns that --denoise {name} "
            f"requires: {', '.join(missing[:6])}{', ...' if len(missing) > 6 else ''}; choose another --denoise"
        )
    sample_mask[: count_non_steady_state(table)] = False
    columns = table[list(COLUMNS[name])].copy()
    if len(columns) > 1:
        columns.iloc[0] = columns.iloc[0].fillna(columns.iloc[1])
    return columns, sample_mask


def _check_aroma(name: str, bold: Path | None) -> None:
    if name == "ica_aroma" and (bold is None or "_desc-smoothAROMAnonaggr_" not in bold.name):
        raise DataError(
            "--denoise ica_aroma requires fMRIPrep's desc-smoothAROMAnonaggr_bold, which "
            f"{bold.name if bold else 'is not here'} is not; choose another --denoise"
        )


def _by_nilearn(
    name: str, confounds: Path, table: "pd.DataFrame", *, fd_threshold: float
) -> tuple["pd.DataFrame", NDArray[np.bool_]]:
    """The confounds that nilearn's loader selects from `table`, which it finds by the name of an image beside it.

    It is given the table and its JSON file as they were read here, whatever dialects they are written in.
    """
    from nilearn.interfaces.fmriprep import load_confounds_strategy

    options = {"fd_threshold": fd_threshold if fd_threshold > 0 else np.inf} if name == "scrubbing" else {}
    desc = "smoothAROMAnonaggr" if name == "ica_aroma" else "preproc"
    stem = confounds.name.split("_desc-confounds")[0]
    description = confounds.with_suffix(".json")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        file = Path(folder) / f"{stem}_desc-confounds_timeseries.tsv"
        table.to_csv(file, sep="\t", na_rep="n/a", index=False)
        if description.is_file():
            file.with_suffix(".json").write_text(json.dumps(read_object(description)), encoding="utf-8")
        # `check` reports it with the numbers
        warnings.filterwarnings("ignore", "All volumes were marked as motion outliers", RuntimeWarning)
        try:
            chosen, steady = load_confounds_strategy(f"{folder}/{stem}_desc-{desc}_bold.nii.gz", name, **options)
        except (ValueError, KeyError) as error:
            raise DataError(f"{confounds.name} cannot be used for --denoise {name}: {error}") from error
    sample_mask = np.ones(len(table), dtype=bool) if steady is None else np.isin(np.arange(len(table)), steady)
    return chosen, sample_mask


def count_non_steady_state(table: "pd.DataFrame") -> int:
    """The number of non-steady-state volumes at the start according to fMRIPrep (T1 not yet in equilibrium)."""
    columns = [column for column in table if str(column).startswith("non_steady_state")]
    marked = np.flatnonzero((table[columns] > 0).to_numpy().any(axis=1))
    return int(marked[-1]) + 1 if len(marked) else 0


def sample_mask(fd: NDArray[np.float64], *, threshold: float) -> NDArray[np.bool_]:
    """The sample mask (time,): true for volumes whose framewise displacement (mm) is not above the threshold.

    A threshold of 0 or less keeps all. The first volume's displacement is unknown (NaN), and it is kept.
    Raises DataError where another one is NaN.
    """
    fd = np.asarray(fd, dtype=np.float64)
    unknown = np.flatnonzero(np.isnan(fd[1:])) + 1
    if threshold <= 0:
        return np.ones(len(fd), dtype=bool)
    if len(unknown):
        raise DataError(
            f"framewise_displacement is missing in {len(unknown)} rows after the first (first: row "
            f"{unknown[0] + 1}); correct the confounds table, or disable censoring with --fd-threshold 0"
        )
    return ~(fd > threshold)


def minutes(sample_mask: NDArray[np.bool_], tr: float) -> float:
    """The duration of the kept volumes, in minutes."""
    return float(sample_mask.sum()) * tr / 60
