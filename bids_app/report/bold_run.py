"""One BOLD run as reports show it: its data, its numbers and the warnings on its quality."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray

from bids_app.errors import DataError
from bids_app.report.mosaic import resample_to
from bids_app.report.page import format_number

MIN_MINUTES = 5.0  # connectivity estimates stabilise at about this length (Van Dijk 2010)
MIN_DEGREES = 20  # with fewer, a correlation of 0.4 is compatible with chance
MAX_MEAN_FD_MM = 0.5
MAX_DROPPED = 0.5
MIN_COVERED = 0.8
HEADINGS = {
    "volumes": "volumes",
    "dummy_scans": "dummy scans",
    "dropped": "censored",
    "minutes": "minutes retained",
    "mean_fd": "mean FD (mm)",
    "max_fd": "maximum FD (mm)",
    "covered": "coverage (%)",
}


@dataclass(frozen=True)
class RunData:
    """One run in template space. `session` and `entities` (task, run, ...) are labels without prefix.

    `series` (voxels, time) float32: the voxels of `mask` in C order, before denoising, without dummy scans; `tr` in s;
    `sample_mask` (time,): false for censored volumes; `fd` (time,) in mm and `dvars` (time,), standardised, NaN
    where undefined; `denoised` (voxels, retained volumes): the input of the maps; `mean`: the mean BOLD image,
    computed within the mask if None; `freedom`: two per frequency in the band, minus the confounds, None without a
    band; `overlap`: Dice coefficient of the brains of BOLD and T1w, if they were registered here.
    """

    participant: str
    session: str | None
    entities: Mapping[str, str]
    series: NDArray[np.float32]
    mask: Nifti1Image
    tr: float
    sample_mask: NDArray[np.bool_]
    fd: NDArray[np.floating] | None = None
    dvars: NDArray[np.floating] | None = None
    denoised: NDArray[np.float32] | None = None
    mean: Nifti1Image | None = None
    dummy_scans: int = 0
    freedom: int | None = None
    overlap: float | None = None

    @property
    def label(self) -> str:
        """The entities that identify the run, as in file names."""
        return "_".join(f"{key}-{value}" for key, value in self.entities.items())


@dataclass(frozen=True)
class RunMap:
    """One map (X, Y, Z) on the grid of the run; `name` is unique within the run."""

    name: str
    image: Nifti1Image
    unit: str
    caption: str = ""


@dataclass(frozen=True)
class TemplateImages:
    """The template's brain and its mask on the maps' grid.

    `tissues` (1 = GM, 2 = WM, 3 = CSF, on any grid of that space) are outlined and order the carpet plot; `whose`:
    "the participant's" or "the template's".
    """

    brain: Nifti1Image
    mask: Nifti1Image
    tissues: Nifti1Image | None = None
    whose: str = "the participant's"


def run_measures(run: RunData, template: TemplateImages | None = None) -> dict[str, float]:
    """The run in numbers, for tables: counts of volumes, minutes retained, FD in mm (NaN where there is none).

    Keys are those of HEADINGS; `covered` (% of the template brain covered by BOLD) needs the template.
    """
    fd = np.empty(0) if run.fd is None else run.fd[np.isfinite(run.fd)]
    numbers = {
        "volumes": float(len(run.sample_mask) + run.dummy_scans),
        "dummy_scans": float(run.dummy_scans),
        "dropped": float((~run.sample_mask).sum()),
        "minutes": float(run.sample_mask.sum() * run.tr / 60),
        "mean_fd": float(fd.mean()) if len(fd) else float("nan"),
        "max_fd": float(fd.max()) if len(fd) else float("nan"),
    }
    return numbers if template is None else {**numbers, "covered": 100 * _coverage(run, template)}


def run_row(run: RunData, template: TemplateImages) -> dict[str, str]:
    """The row of the page's table, by heading."""
    numbers = run_measures(run, template)
    digits = {"minutes": ".1f", "mean_fd": ".3f", "max_fd": ".2f", "covered": ".1f"}
    shown = {key: "n/a" if np.isnan(value) else f"{value:{digits.get(key, '.0f')}}" for key, value in numbers.items()}
    return {"run": run.label, "TR (s)": format_number(run.tr), **{HEADINGS[key]: text for key, text in shown.items()}}


def run_warnings(run: RunData, template: TemplateImages) -> list[str]:
    """Warnings on data quality, as sentences."""
    numbers, warnings = run_measures(run, template), []
    if numbers["minutes"] < MIN_MINUTES:
        minutes = f"{numbers['minutes']:.1f} minutes retained, fewer than {MIN_MINUTES:g}"
        warnings.append(f"{run.label}: {minutes}: maps are unreliable")
    if run.freedom is not None and run.freedom < MIN_DEGREES:
        warnings.append(
            f"{run.label}: {run.freedom} degrees of freedom remain in the band, fewer than {MIN_DEGREES}: maps of "
            "band-pass filtered series are unreliable; use fewer confounds, a wider band or a longer run"
        )
    if numbers["dropped"] > MAX_DROPPED * len(run.sample_mask):
        warnings.append(f"{run.label}: {numbers['dropped']:.0f} of {len(run.sample_mask)} volumes were censored")
    if numbers["mean_fd"] > MAX_MEAN_FD_MM:
        warnings.append(
            f"{run.label}: mean FD is {numbers['mean_fd']:.2f} mm, above {MAX_MEAN_FD_MM:g}: strong head motion"
        )
    if numbers["covered"] < 100 * MIN_COVERED:
        warnings.append(
            f"{run.label}: BOLD covers {numbers['covered']:.0f} % of the template brain: check the field of view and "
            "the registration"
        )
    return warnings


def inside_mask(run: RunData) -> NDArray[np.bool_]:
    """The mask of a run (X, Y, Z). Raises DataError where it is not that of the series."""
    inside: NDArray[np.bool_] = np.asarray(run.mask.dataobj) > 0
    if inside.sum() != len(run.series):
        raise DataError(
            f"{run.label}: the mask has {inside.sum()} voxels, the series {len(run.series)}; are they from the same "
            "run?"
        )
    return inside


def _coverage(run: RunData, template: TemplateImages) -> float:
    brain = np.asarray(resample_to(template.mask, run.mask, interpolation="nearest").dataobj) > 0
    return float(inside_mask(run)[brain].mean()) if brain.any() else 0.0
