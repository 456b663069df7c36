"""The confounds table of a simulated run, with fMRIPrep's columns.

DVARS: Power et al. 2012, doi:10.1016/j.neuroimage.2011.10.018; standardised as Nichols, arXiv:1704.01469. aCompCor:
Behzadi et al., NeuroImage 37, 90 (2007), doi:10.1016/j.neuroimage.2007.04.042.
"""

import csv
from pathlib import Path

import numpy as np

from bids_app.phantom import bold, movement
from bids_app.phantom.deformation import Array
from bids_app.phantom.description import write_json
from bids_app.phantom.function import TISSUES

SLOWEST_S = 128.0
PURE, FEWEST = 0.9, 20
COMPONENTS = 5


def columns(run: bold.Run, *, tr: float) -> tuple[dict[str, Array], dict[str, dict[str, object]]]:
    """Every column (volumes,), NaN for missing values, and the sidecar's description of the components."""
    inside = run.tissues.sum(axis=0) > 0.5
    brain = run.still[inside]
    wm, csf = (_pure_series(run, name) for name in ("WM", "CSF"))
    plain, standard = dvars(brain)
    slow = cosines(brain.shape[1], tr)
    parts, explained = compcor(np.vstack([wm, csf]), slow)
    table: dict[str, Array] = {
        "global_signal": brain.mean(axis=0),
        "csf": csf.mean(axis=0),
        "white_matter": wm.mean(axis=0),
        "dvars": plain,
        "std_dvars": standard,
        "framewise_displacement": movement.framewise_displacement(run.moved),
    }
    for name in ("global_signal", "csf", "white_matter"):
        step = np.diff(table[name], prepend=np.nan)
        table |= {
            f"{name}_derivative1": step,
            f"{name}_power2": table[name] ** 2,
            f"{name}_derivative1_power2": step**2,
        }
    table |= {f"cosine{number:02d}": values for number, values in enumerate(slow)}
    table |= {f"a_comp_cor_{number:02d}": values for number, values in enumerate(parts)}
    about: dict[str, dict[str, object]] = {
        f"a_comp_cor_{number:02d}": {
            "Method": "aCompCor",
            "Mask": "combined",
            "Retained": True,
            "VarianceExplained": round(float(share), 6),
            "CumulativeVarianceExplained": round(float(explained[: number + 1].sum()), 6),
        }
        for number, share in enumerate(explained)
    }
    return table | movement.expand(run.moved), about


def write(path: Path, columns: dict[str, Array], about: dict[str, dict[str, object]]) -> None:
    """Write the table and its sidecar; NaN is n/a."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerow(columns)
        rows = zip(*columns.values(), strict=True)
        table.writerows(["n/a" if np.isnan(value) else f"{value:.8g}" for value in row] for row in rows)
    write_json(path.with_suffix(".json"), about)


def dvars(series: Array) -> tuple[Array, Array]:
    """DVARS of (voxels, volumes), and by what noise of the same SD and autocorrelation would give; the first is NaN."""
    change = np.sqrt((np.diff(series, axis=1) ** 2).mean(axis=0, dtype=np.float64))
    upper, lower = np.percentile(series, [75, 25], axis=1, method="lower")
    spread = (upper - lower) / 1.349
    centred = series - series.mean(axis=1, keepdims=True)
    before, after = centred[:, :-1], centred[:, 1:]
    lag = (before * after).sum(axis=1) / np.maximum((centred**2).sum(axis=1), 1e-9)
    expected = float((np.sqrt(2 * (1 - lag)) * spread).mean())
    return np.concatenate([[np.nan], change]), np.concatenate([[np.nan], change / expected])


def cosines(volumes: int, tr: float) -> Array:
    """The cosines (count, volumes) of periods above 128 s, of length 1: those removed by SPM's high-pass filter."""
    count = int(2 * volumes * tr / SLOWEST_S)
    unit: Array = bold.drifts(volumes, count) * np.sqrt(2 / volumes)
    return unit


def compcor(series: Array, slow: Array) -> tuple[Array, Array]:
    """The first principal courses (count, volumes) of (voxels, volumes) without `slow`, and their parts of variance."""
    cleaned = series - series.mean(axis=1, keepdims=True)
    cleaned = cleaned - (cleaned @ slow.T) @ slow
    cleaned = cleaned / np.maximum(cleaned.std(axis=1, keepdims=True), 1e-9)
    cleaned = cleaned.astype(np.float64)
    variances, vectors = np.linalg.eigh(cleaned.T @ cleaned)
    courses, share = vectors[:, ::-1].T, variances[::-1] / variances.sum()
    # The sign of a singular vector is arbitrary.
    signs = np.sign(courses[:, np.argmax(np.abs(courses), axis=1)].diagonal())[:, None]
    return (courses * signs)[:COMPONENTS], share[:COMPONENTS]


def _pure_series(run: bold.Run, name: str) -> Array:
    """The series (voxels, volumes) of nearly pure voxels of one tissue; of the purest if there are few."""
    share = run.tissues[TISSUES.index(name)]
    order = np.argsort(-share, kind="stable")
    return run.still[order[: max(FEWEST, int((share > PURE).sum()))]]
