"""Confounds of BOLD series, named as fMRIPrep's columns.

DVARS: Power et al. 2012, NeuroImage 59:2142, standardised after Nichols 2013 (arXiv:1704.01469). aCompCor: Behzadi et
al. 2007, NeuroImage 37:90. The 24 columns of motion: Friston et al. 1996, Magn Reson Med 35:346. Esteban et al. 2019,
Nat Methods 16:111, for their names and their combination.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import linalg, ndimage

from bids_app.errors import DataError
from bids_app.preprocess.motion import PARAMETERS, displacement

Array = NDArray[np.float64]

SLOWEST_S = 128.0
EXPLAINED = 0.5  # of the variance explained by the retained components
MIN_VOXELS = 20  # voxels of a mask
# Minimum purity of a voxel and distance from other tissues, strictest first: small brains and large voxels have few.
STRICTNESS = ((0.99, 2), (0.99, 1), (0.95, 1), (0.9, 1), (0.95, 0), (0.8, 0), (0.5, 0))
SD_OF_QUARTILES = 1.349
MEDIAN = 1000.0
CHUNK = 4096  # voxels
STILL = 1e-6  # of a voxel's level: smaller variation is rounding error
MASKS = {"c": "CSF", "w": "WM", "a": "combined"}
KNOWN = {
    "global_signal": "mean signal of the brain",
    "csf": "mean signal of eroded cerebrospinal fluid",
    "white_matter": "mean signal of eroded white matter",
    "dvars": "root mean square over the brain of the change from one volume to the next, median signal 1000",
    "std_dvars": "DVARS divided by its expected value for noise of the same variance and autocorrelation",
    "framewise_displacement": "sum of the changes of six motion parameters, mm, rotations on a sphere of 50 mm",
}


def masks(probabilities: Mapping[str, NDArray[np.float32]], brain: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    """Eroded masks `CSF` and `WM` (X, Y, Z): by the strictest rule that leaves 20 voxels.

    `probabilities` of GM, WM and CSF, and the brain, on the grid of the BOLD reference. A voxel has to be pure, within
    the brain and as many voxels away from grey matter (and CSF from the brain's border) as the rule says.
    Raises DataError where a tissue has fewer than 20 voxels by the loosest rule.
    """
    grey = probabilities["GM"] > 0.5
    eroded = {}
    for name in ("CSF", "WM"):
        for purity, away in STRICTNESS:
            pure = (probabilities[name] > purity) & brain
            if away:
                near = ndimage.binary_dilation(grey, iterations=away)
                pure &= ~near
                pure &= ndimage.binary_erosion(brain if name == "CSF" else probabilities[name] > 0.5, iterations=away)
            if pure.sum() >= MIN_VOXELS:
                break
        else:
            raise DataError(
                f"only {int(pure.sum())} voxels of the BOLD run are {name}, and {MIN_VOXELS} are required for its "
                "signal; check the segmentation of the T1w image and the coregistration of BOLD and T1w"
            )
        eroded[name] = pure
    return eroded


def table(
    series: NDArray[np.float32],
    brain: NDArray[np.bool_],
    tissues: Mapping[str, NDArray[np.bool_]],
    *,
    parameters: Array,
    tr: float,
) -> tuple[pd.DataFrame, dict[str, dict[str, Any]]]:
    """Every confound (T rows), n/a as NaN, and the sidecar's description of the components.

    series (voxels, T): realigned, of the voxels `brain` (X, Y, Z); tissues: masks (X, Y, Z) of CSF and WM;
    parameters (T, 6): `motion.Motion`'s. Raises DataError if numbers of volumes differ.
    """
    if len(parameters) != series.shape[1]:
        raise DataError(f"{len(parameters)} rows of motion for {series.shape[1]} volumes")
    inside = {name: np.asarray(mask[brain]) for name, mask in tissues.items()}
    regions = {"CSF": inside["CSF"], "WM": inside["WM"], "combined": inside["CSF"] | inside["WM"]}
    signals = {
        "global_signal": series.mean(axis=0, dtype=np.float64),
        "csf": series[regions["CSF"]].mean(axis=0, dtype=np.float64),
        "white_matter": series[regions["WM"]].mean(axis=0, dtype=np.float64),
    }
    columns = expand(signals)
    columns["std_dvars"], columns["dvars"] = dvars(series)
    columns["framewise_displacement"] = displacement(parameters)
    slow = cosines(series.shape[1], tr)
    components: dict[str, dict[str, Any]] = {}
    for letter, name in MASKS.items():
        courses, sizes, shares = compcor(series[regions[name]], slow)
        for number, course in enumerate(courses.T):
            column = f"{letter}_comp_cor_{number:02d}"
            columns[column] = course
            components[column] = _component(name, sizes, shares, number)
    columns |= {f"cosine{number:02d}": course for number, course in enumerate(slow.T)}
    columns |= expand(dict(zip(PARAMETERS, np.asarray(parameters, np.float64).T, strict=True)))
    return pd.DataFrame(columns), components


def expand(courses: Mapping[str, Array]) -> dict[str, Array]:
    """Courses (T,) by name, each with its backward differences (the first NaN) and the squares of both."""
    columns: dict[str, Array] = {}
    for name, values in courses.items():
        steps = np.concatenate([[np.nan], np.diff(values)])
        columns |= {name: values, f"{name}_derivative1": steps}
        columns |= {f"{name}_power2": values**2, f"{name}_derivative1_power2": steps**2}
    return columns


def dvars(series: NDArray[np.float32]) -> tuple[Array, Array]:
    """Standardised DVARS and DVARS, each (T,), the first NaN, of series (voxels, T) brought to a median of 1000.

    The former is the latter divided by its expectation under noise with each voxel's robust SD and lag-1
    autocorrelation: 1 without motion. Constant voxels are excluded. Raises DataError if all are constant.
    """
    scaled = series * np.float32(MEDIAN / np.median(series))
    upper, lower = np.percentile(scaled, [75, 25], axis=1, method="lower")
    spread = (upper - lower) / SD_OF_QUARTILES
    varying = spread > 0
    if not varying.any():
        raise DataError("no voxel of the brain varies in time: the BOLD run contains no signal")
    scaled, spread = scaled[varying], spread[varying]
    steps = np.sqrt(np.square(np.diff(scaled, axis=1)).mean(axis=0, dtype=np.float64))
    centred = scaled - scaled.mean(axis=1, keepdims=True)
    lagged = np.einsum("vt,vt->v", centred[:, 1:], centred[:, :-1]) / np.einsum("vt,vt->v", centred, centred)
    expected = float((np.sqrt(2 * (1 - lagged)) * spread).mean(dtype=np.float64))
    return np.concatenate([[np.nan], steps / expected]), np.concatenate([[np.nan], steps])


def cosines(volumes: int, tr: float) -> Array:
    """The cosines (T, count) of the discrete cosine transform with periods above 128 s, each of length 1."""
    count = max(int(2 * volumes * tr / SLOWEST_S) - 1, 0)
    middle = (np.arange(volumes) + 0.5) / volumes
    return np.asarray(np.sqrt(2 / volumes) * np.cos(np.pi * np.outer(middle, np.arange(1, count + 1))))


def compcor(series: NDArray[np.float32], slow: Array) -> tuple[Array, Array, Array]:
    """Principal courses (T, k) of series (voxels, T), all singular values, and the part of the variance each explains.

    Mean and `slow` (T, count), orthonormal and of mean 0, are regressed out of each voxel, which is then scaled to SD
    1. The courses that explain half of the variance are returned, of length 1, their largest value positive.
    """
    volumes = series.shape[1]
    # T x T instead of voxels x T, from blocks of voxels: the same courses at a fraction of time and memory
    squared = np.zeros((volumes, volumes))
    for first in range(0, len(series), CHUNK):
        values = series[first : first + CHUNK].astype(np.float64)
        level = np.abs(values).max(axis=1, keepdims=True)
        values -= values.mean(axis=1, keepdims=True)
        values -= (values @ slow) @ slow.T
        spread = values.std(axis=1, keepdims=True)
        values /= np.where(spread > STILL * level, spread, np.inf)
        squared += values.T @ values
    variances, courses = linalg.eigh(squared)
    variances, courses = variances[::-1].clip(0), courses[:, ::-1]
    if variances[0] == 0:
        return np.empty((volumes, 0)), variances, variances
    shares = variances / variances.sum()
    retained = courses[:, : int(np.searchsorted(np.cumsum(shares), EXPLAINED)) + 1]
    retained = retained * np.sign(retained[np.abs(retained).argmax(axis=0), np.arange(retained.shape[1])])
    return retained, np.sqrt(variances), shares


def write(frame: pd.DataFrame, path: Path, *, components: Mapping[str, Mapping[str, Any]] | None = None) -> Path:
    """Write the table, NaN as n/a, and its sidecar (the same name, .json). Returns the table's path.

    `path` ends with `desc-confounds_timeseries.tsv`; `components` is their description by `table`.
    """
    path = Path(path)
    frame.to_csv(path, sep="\t", index=False, na_rep="n/a", float_format="%.9g")
    sidecar: dict[str, dict[str, Any]] = {}
    for column in map(str, frame.columns):
        if text := _describe(column):
            sidecar[column] = {"Description": text}
    sidecar |= {name: dict(values) for name, values in (components or {}).items()}
    path.with_suffix(".json").write_text(json.dumps(sidecar, indent=2) + "\n", encoding="utf-8")
    return path


def _component(mask: str, sizes: Array, shares: Array, number: int) -> dict[str, Any]:
    return {
        "Method": "aCompCor",
        "Mask": mask,
        "Retained": True,
        "SingularValue": float(sizes[number]),
        "VarianceExplained": float(shares[number]),
        "CumulativeVarianceExplained": float(shares[: number + 1].sum()),
    }


def _describe(column: str) -> str:
    """The description of a column; empty for components, which `table` describes."""
    if column.startswith("cosine"):
        return f"cosine of a period above {SLOWEST_S:g} s"
    for name in (*PARAMETERS, *KNOWN):
        if column == name or column.startswith((f"{name}_derivative1", f"{name}_power2")):
            terms = ", its change from the previous volume" * ("derivative1" in column) + ", squared" * (
                "power2" in column
            )
            unit = "mm" if name.startswith("trans") else "rad"
            moved = f"{'translation' if unit == 'mm' else 'rotation'} ({name[-1]}), {unit}"
            return KNOWN.get(name, moved) + terms
    return ""
