"""The resting-state section of a participant's page: carpet plot, registration, maps and data quality of each run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray

from bids_app.bids import outputs
from bids_app.errors import DataError
from bids_app.report.carpet import draw_carpet
from bids_app.report.figures import MASK_COLOR, TISSUES, draw_map
from bids_app.report.mosaic import Mosaic, resample_to
from bids_app.report.page import format_number
from bids_app.report.participant import Figure, RunSection

MIN_MINUTES = 5.0  # connectivity estimates stabilise at about this length (Van Dijk 2010)
MIN_DEGREES = 20  # with fewer, a correlation of 0.4 is compatible with chance
MAX_MEAN_FD_MM = 0.5
MAX_DROPPED = 0.5
MIN_COVERED = 0.8
SIGNED_SHARE = 0.02  # of the values in the mask below zero: the map has both signs
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


def draw_run(
    run: RunData,
    root: Path,
    *,
    template: TemplateImages,
    maps: Sequence[RunMap] = (),
    fd_threshold: float | None = None,
    radiological: bool = False,
) -> RunSection:
    """Draw a run's carpet plot, registration and maps in `root`/sub-<label>/figures; returns its section of the page.

    Raises DataError where the arrays of the run do not belong together.
    """
    drawings: list[Figure] = []

    def add_figure(title: str, caption: str, desc: str) -> Path:
        name = outputs.filename(run.participant, run.session, "bold", ".png", **run.entities, desc=outputs.label(desc))
        file = outputs.folder(root, run.participant, None, "figures") / name
        drawings.append(Figure(title, caption, file.relative_to(root).as_posix()))
        return file

    inside = _inside_mask(run)
    draw_carpet(
        run.series,
        add_figure("Carpet plot", _carpet_caption(run, fd_threshold), "carpet"),
        tr=run.tr,
        sample_mask=run.sample_mask,
        tissue=_sample_tissues(template.tissues, run.mask, inside),
        fd=run.fd,
        dvars=run.dvars,
        denoised=run.denoised,
        fd_threshold=fd_threshold,
        title=run.label,
    )
    caption = _registration_caption(run, template)
    file = add_figure("Mean BOLD on the template", caption, "registration")
    draw_registration(run, file, template, radiological=radiological)
    for run_map in maps:
        file = add_figure(run_map.name, run_map.caption, f"map{run_map.name}")
        draw_run_map(run_map, run, file, template, radiological=radiological)
    return RunSection(run.label, run_row(run, template), drawings, run_warnings(run, template))


def draw_registration(run: RunData, path: Path, template: TemplateImages, *, radiological: bool = False) -> None:
    """Draw the mean BOLD in template space under the outlines of the template, the run's mask and the tissues."""
    mean = run.mean
    if mean is None:
        values = np.zeros(run.mask.shape, np.float32)
        values[_inside_mask(run)] = run.series.mean(axis=1)
        mean = Nifti1Image(values, run.mask.affine)
    title = f"Mean BOLD in template space: {run.label}"
    mosaic = Mosaic(mean, template.mask, radiological=radiological, title=title)
    if template.tissues is not None:
        labels = np.asarray(template.tissues.dataobj)
        for label in (1, 2):
            name, color = TISSUES[label]
            tissue = Nifti1Image((labels == label).astype(np.float32), template.tissues.affine)
            mosaic.outline(tissue, level=0.5, color=color, label=f"{template.whose} {name}", width=0.5)
    run_mask = Nifti1Image(_inside_mask(run).astype(np.float32), run.mask.affine)
    mosaic.outline(run_mask, level=0.5, color="#7dff7a", label="BOLD mask", width=0.8)
    brain = Nifti1Image((np.asarray(template.mask.dataobj) > 0).astype(np.float32), template.mask.affine)
    mosaic.outline(brain, level=0.5, color=MASK_COLOR, label="template brain", width=1.1)
    mosaic.save(path)


def draw_run_map(
    run_map: RunMap, run: RunData, path: Path, template: TemplateImages, *, radiological: bool = False
) -> None:
    """Draw a map where the run has data, over the template elsewhere; diverging colours if it has both signs.

    Raises DataError for a map on another grid than the run's.
    """
    inside = _inside_mask(run)
    if run_map.image.shape != inside.shape or not np.allclose(run_map.image.affine, run.mask.affine, atol=1e-3):
        raise DataError(
            f"the map {run_map.name} ({run_map.image.shape}) is not on the grid of the mask of its run ({inside.shape})"
        )
    values = np.asarray(run_map.image.dataobj, dtype=np.float32)
    signed = bool(inside.any()) and float((values[inside] < 0).mean()) > SIGNED_SHARE
    draw_map(
        Nifti1Image(np.where(inside, values, np.float32(np.nan)), run_map.image.affine),
        template.brain,
        template.mask,
        path,
        title=f"{run_map.name}: {run.label}",
        unit=_map_unit(run_map),
        colormap="berlin" if signed else "inferno",
        symmetric=signed,
        radiological=radiological,
    )


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


def label_tissues(probabilities: Mapping[int, Nifti1Image], *, mask: Nifti1Image | None = None) -> Nifti1Image:
    """The most probable tissue, where its probability is at least 0.5: (X, Y, Z) uint8, 0 elsewhere.

    `probabilities` (X, Y, Z), 0 to 1, by label (1 = GM, 2 = WM, 3 = CSF); all on the grid of the first. With a `mask`
    and no CSF, CSF is the rest of the mask.
    """
    first = next(iter(probabilities.values()))
    arrays = {
        label: np.asarray(resample_to(image, first, interpolation="linear").dataobj, dtype=np.float32)
        for label, image in probabilities.items()
    }
    if mask is not None and 3 not in arrays:
        inside = np.asarray(resample_to(mask, first, interpolation="nearest").dataobj) > 0
        arrays[3] = np.where(inside, 1 - sum(arrays.values()), np.float32(0))
    stacked = np.stack(list(arrays.values()))
    best = np.array(list(arrays), dtype=np.uint8)[stacked.argmax(axis=0)]
    return Nifti1Image(np.where(stacked.max(axis=0) >= 0.5, best, 0).astype(np.uint8), first.affine)


def _inside_mask(run: RunData) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = np.asarray(run.mask.dataobj) > 0
    if inside.sum() != len(run.series):
        raise DataError(
            f"{run.label}: the mask has {inside.sum()} voxels, the series {len(run.series)}; are they from the same "
            "run?"
        )
    return inside


def _sample_tissues(
    image: Nifti1Image | None, mask: Nifti1Image, inside: NDArray[np.bool_]
) -> NDArray[np.integer] | None:
    if image is None:
        return None
    labels = np.rint(np.asarray(resample_to(image, mask, interpolation="nearest").dataobj)[inside])
    return np.asarray(labels, dtype=np.uint8)


def _coverage(run: RunData, template: TemplateImages) -> float:
    brain = np.asarray(resample_to(template.mask, run.mask, interpolation="nearest").dataobj) > 0
    return float(_inside_mask(run)[brain].mean()) if brain.any() else 0.0


def _carpet_caption(run: RunData, fd_threshold: float | None) -> str:
    dummies = f", without the first {run.dummy_scans}" if run.dummy_scans else ""
    text = (
        f"Each row is a voxel, each column a volume of {format_number(run.tr)} s{dummies}; rows are detrended and "
        "divided by their SD. FD: framewise displacement. DVARS: change of the image from one volume to the next, "
        "standardised."
    )
    limit = "" if fd_threshold is None else f" (FD above {format_number(fd_threshold)} mm)"
    censored = not run.sample_mask.all()
    return text + (f" Censored volumes{limit} are marked in red." if censored else " No volume was censored.")


def _map_unit(run_map: RunMap) -> str:
    """The unit of this map, where the unit lists several kinds as 'beta: ...; z: ...'."""
    kinds = dict(part.split(": ", 1) for part in run_map.unit.split("; ") if ": " in part)
    return kinds.get(run_map.name.partition("_")[0], run_map.unit)


def _registration_caption(run: RunData, template: TemplateImages) -> str:
    tissues = "" if template.tissues is None else f" and of {template.whose} tissues"
    text = f"The mean BOLD image under the outline of the template{tissues}, with the brain mask of the run."
    if run.overlap is None:
        return text
    return f"{text} Dice overlap of the brains of its reference image and of the T1w image: {run.overlap:.2f}."
