"""Coordinates of studies: a tab-separated table, or the JSON of NiMARE's datasets and studysets (NIMADS)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_app.bids import tables
from bids_app.bids.json_files import read_object
from bids_app.errors import DataError
from bids_app.regions.ale import Study

OPTION = "--reference-map"
SUFFIXES = (".tsv", ".json")
AXES = ["x", "y", "z"]
DEFAULT_PEOPLE = 20  # sample size of a study without one: the width is 9.2 mm (10.0 with 10 participants, 8.8 with 40)
MAX_DISTANCE_MM = 150.0  # beyond any brain in MNI space
Row = tuple[str, object, object, object, object, object]


def is_foci_table(path: Path) -> bool:
    """Return whether a file contains coordinates, by its name."""
    return path.suffix.lower() in SUFFIXES


def read_foci(path: Path) -> tuple[list[Study], str]:
    """Read studies with their foci, and return them with a description.

    Columns x, y, z (mm MNI) and optionally study (without it every line is a study), n (sample size; 20 where empty)
    and space. Raises DataError for unusable content.
    """
    try:
        table = _read_json(path) if path.suffix.lower() == ".json" else tables.read_cells(path, f"{OPTION} {path.name}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{OPTION} {path.name} has no readable coordinates ({reason})") from error
    table = table.rename(columns=str.lower).reset_index(drop=True)
    if twice := sorted(set(table.columns[table.columns.duplicated()])):
        raise DataError(f"{OPTION} {path.name} has several columns with the same name: {', '.join(twice)}")
    if missing := [axis for axis in AXES if axis not in table]:
        has = ", ".join(map(str, table.columns)) or "none"
        raise DataError(f"{OPTION} {path.name} has no column {', '.join(missing)}; its columns: {has}")
    if table.empty:
        raise DataError(f"{OPTION} {path.name} has no coordinates")
    return _group_studies(table, path.name)


def _group_studies(table: pd.DataFrame, name: str) -> tuple[list[Study], str]:
    """Check a table and return its studies in order, with a description."""
    foci = np.column_stack([_numbers(table[axis], axis, name) for axis in AXES])
    if np.abs(foci).max() > MAX_DISTANCE_MM:
        raise DataError(
            f"{OPTION} {name}: a coordinate is more than {MAX_DISTANCE_MM:.0f} mm from the origin; "
            "coordinates must be in mm (MNI)"
        )
    for space in table["space"].unique() if "space" in table else ():
        if space not in ("", "n/a") and not str(space).upper().startswith("MNI"):
            raise DataError(f"{OPTION} {name} has coordinates in {space}; convert them to MNI space first")
    of_study = table["study"] if "study" in table else table.index.astype(str)
    if (of_study == "").any():
        raise DataError(f"{OPTION} {name} has a row without study")
    sample_sizes = _people_per_line(table, name)
    studies, silent = [], 0
    for study, rows in table.groupby(of_study, sort=False).indices.items():
        sizes = np.unique(sample_sizes[rows])
        if len(sizes) > 1:
            raise DataError(f"{OPTION} {name}: study {study} has several values of n")
        silent += bool(np.isnan(sizes[0]))
        studies.append(Study(foci[rows], float(np.nan_to_num(sizes[0], nan=DEFAULT_PEOPLE))))
    assumed = f" ({DEFAULT_PEOPLE} participants assumed in {silent})" if silent else ""
    counted = f"{len(studies)} {'study' if len(studies) == 1 else 'studies'}"
    return studies, f"activation likelihood of {len(foci)} coordinates of {counted}{assumed}"


def _people_per_line(table: pd.DataFrame, name: str) -> NDArray[np.float64]:
    """Return the sample size of each line's study, (lines,), NaN where missing."""
    sample_sizes = np.full(len(table), np.nan)
    if "n" not in table:
        return sample_sizes
    said = ~table["n"].isin(["", "n/a"]).to_numpy()
    sample_sizes[said] = _numbers(table["n"][said], "n", name)
    if (sample_sizes < 1).any():
        raise DataError(
            f"{OPTION} {name}: n must be the number of participants of a study, not {np.nanmin(sample_sizes):g}"
        )
    return sample_sizes


def _numbers(column: "pd.Series[Any]", title: str, name: str) -> NDArray[np.float64]:
    """Return a column as finite numbers, (lines,)."""
    values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    if not np.isfinite(values).all():
        wrong = int((~np.isfinite(values)).argmax())
        line, value = column.index[wrong] + 1, column.iloc[wrong]
        raise DataError(f"{OPTION} {name}, coordinate {line}: {title} is {value!r}, which is not a number")
    return values


def _read_json(path: Path) -> pd.DataFrame:
    """Read either of NiMARE's formats as a table."""
    content = read_object(path, f"{OPTION} {path.name}")
    rows = _studyset_rows(content) if isinstance(content.get("studies"), list) else _dataset_rows(content)
    return pd.DataFrame(list(rows), columns=["study", "space", *AXES, "n"])


def _dataset_rows(dataset: dict[str, Any]) -> Iterator[Row]:
    """Yield the rows of a dataset: contrasts of studies, each axis a list."""
    for study, about in dataset.items():
        for contrast, of in about["contrasts"].items():
            if coords := of.get("coords"):
                n = _mean_sample_size(of.get("metadata", {}))
                for x, y, z in zip(coords["x"], coords["y"], coords["z"], strict=True):
                    yield f"{study}-{contrast}", coords["space"], x, y, z, n


def _studyset_rows(studyset: dict[str, Any]) -> Iterator[Row]:
    """Yield the rows of a studyset: analyses of studies, each point with three coordinates."""
    for study in studyset["studies"]:
        for analysis in study["analyses"]:
            n = _mean_sample_size({**study.get("metadata", {}), **analysis.get("metadata", {})})
            for point in analysis["points"]:
                x, y, z = point["coordinates"]
                yield f"{study['id']}-{analysis['id']}", point["space"], x, y, z, n


def _mean_sample_size(metadata: dict[str, Any]) -> float | str:
    """Return the mean of a contrast's sample sizes, as in NiMARE; an empty string without any."""
    sizes = metadata.get("sample_sizes") or []
    return float(np.mean(sizes)) if sizes else ""
