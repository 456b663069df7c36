"""The resting-state part of a person's page: carpet, registration and maps of each run, and how much of it is left."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray

from bids_app.bids import outputs
from bids_app.errors import DataError
from bids_app.report import carpet, figures
from bids_app.report.mosaic import Mosaic, on_grid
from bids_app.report.page import number
from bids_app.report.person import Figure, Section

FEW_MINUTES = 5.0  # connectivity estimates settle at about that length (Van Dijk 2010)
FEW_DEGREES = 20  # a correlation of 0.4 is within chance then
MUCH_MOTION_MM = 0.5
MUCH_DROPPED = 0.5
LITTLE_COVERED = 0.8
SIGNED_SHARE = 0.02  # of the values in the mask below zero: the map has both signs
HEADINGS = {
    "volumes": "volumes",
    "dummy_scans": "left out",
    "dropped": "dropped",
    "minutes": "minutes left",
    "mean_fd": "mean FD (mm)",
    "max_fd": "largest FD (mm)",
    "covered": "covered (%)",
}


@dataclass(frozen=True)
class Run:
    """One run in template space. `session` and `entities` (task, run, ...) are labels without prefix.

    `series` (voxels, time) float32: the voxels of `mask` in C order, before denoising, without dummy scans; `tr` in s;
    `kept` (time,): false for dropped volumes; `fd` (time,) in mm and `dvars` (time,), standardised, with NaN
    where they do not exist; `denoised` (voxels, kept volumes), what the maps were computed on; `mean` is the mean BOLD
    without a mask, else it is computed within the mask; `freedom`: two for each frequency in the band, less the
    confounds, None without a band; `overlap`: Dice coefficient of the brains of BOLD and T1w, if
    they were aligned here.
    """

    participant: str
    session: str | None
    entities: Mapping[str, str]
    series: NDArray[np.float32]
    mask: Nifti1Image
    tr: float
    kept: NDArray[np.bool_]
    fd: NDArray[np.floating] | None = None
    dvars: NDArray[np.floating] | None = None
    denoised: NDArray[np.float32] | None = None
    mean: Nifti1Image | None = None
    dummy_scans: int = 0
    freedom: int | None = None
    overlap: float | None = None

    @property
    def label(self) -> str:
        """What tells the run from the others, as it stands in file names."""
        return "_".join(f"{key}-{value}" for key, value in self.entities.items())


@dataclass(frozen=True)
class Map:
    """One map (X, Y, Z) on the run's grid; `name` is unlike that of all other maps of the run."""

    name: str
    image: Nifti1Image
    unit: str
    caption: str = ""


@dataclass(frozen=True)
class Template:
    """The template's brain and its mask on the maps' grid.

    `tissues` (1 = GM, 2 = WM, 3 = CSF, on any grid of that space) are outlined and sort the carpet; `whose` they are:
    "the person's" or "the template's".
    """

    brain: Nifti1Image
    mask: Nifti1Image
    tissues: Nifti1Image | None = None
    whose: str = "the person's"


def draw(
    run: Run,
    root: Path,
    *,
    template: Template,
    maps: Sequence[Map] = (),
    fd_threshold: float | None = None,
    radiological: bool = False,
) -> Section:
    """Draw a run's carpet plot, registration and maps below `root`/sub-<label>/figures; its part of the page.

    Raises DataError where the arrays of the run do not belong together.
    """
    drawn: list[Figure] = []

    def place(title: str, caption: str, desc: str) -> Path:
        name = outputs.filename(run.participant, run.session, "bold", ".png", **run.entities, desc=outputs.label(desc))
        file = outputs.folder(root, run.participant, None, "figures") / name
        drawn.append(Figure(title, caption, file.relative_to(root).as_posix()))
        return file

    inside = _inside(run)
    carpet.draw(
        run.series,
        place("Carpet plot", _carpet_words(run, fd_threshold), "carpet"),
        tr=run.tr,
        kept=run.kept,
        tissue=_tissue(template.tissues, run.mask, inside),
        fd=run.fd,
        dvars=run.dvars,
        denoised=run.denoised,
        fd_threshold=fd_threshold,
        title=run.label,
    )
    caption = _registration_words(run, template)
    registration(run, place("Mean BOLD on the template", caption, "registration"), template, radiological=radiological)
    for one in maps:
        panel(one, run, place(one.name, one.caption, f"map{one.name}"), template, radiological=radiological)
    return Section(run.label, table(run, template), drawn, checks(run, template))


def registration(run: Run, path: Path, template: Template, *, radiological: bool = False) -> None:
    """Draw the mean BOLD in template space under the outlines of the template, the run's mask and the tissues."""
    mean = run.mean
    if mean is None:
        values = np.zeros(run.mask.shape, np.float32)
        values[_inside(run)] = run.series.mean(axis=1)
        mean = Nifti1Image(values, run.mask.affine)
    title = f"Mean BOLD in template space: {run.label}"
    mosaic = Mosaic(mean, template.mask, radiological=radiological, title=title)
    if template.tissues is not None:
        labels = np.asarray(template.tissues.dataobj)
        for label in (1, 2):
            name, color = figures.TISSUES[label]
            tissue = Nifti1Image((labels == label).astype(np.float32), template.tissues.affine)
            mosaic.outline(tissue, level=0.5, color=color, label=f"{template.whose} {name}", width=0.5)
    own = Nifti1Image(_inside(run).astype(np.float32), run.mask.affine)
    mosaic.outline(own, level=0.5, color="#7dff7a", label="BOLD mask", width=0.8)
    brain = Nifti1Image((np.asarray(template.mask.dataobj) > 0).astype(np.float32), template.mask.affine)
    mosaic.outline(brain, level=0.5, color=figures.MASK_COLOR, label="template brain", width=1.1)
    mosaic.save(path)


def panel(one: Map, run: Run, path: Path, template: Template, *, radiological: bool = False) -> None:
    """Draw a map where the run has data, over the template elsewhere; cold to hot round 0 if it has both signs.

    Raises DataError for a map on another grid than the run's.
    """
    inside = _inside(run)
    if one.image.shape != inside.shape or not np.allclose(one.image.affine, run.mask.affine, atol=1e-3):
        raise DataError(f"the map {one.name} ({one.image.shape}) is not on the grid of its run's mask ({inside.shape})")
    values = np.asarray(one.image.dataobj, dtype=np.float32)
    signed = bool(inside.any()) and float((values[inside] < 0).mean()) > SIGNED_SHARE
    figures.map_panel(
        Nifti1Image(np.where(inside, values, np.float32(np.nan)), one.image.affine),
        template.brain,
        template.mask,
        path,
        title=f"{one.name}: {run.label}",
        unit=_unit(one),
        colormap="berlin" if signed else "inferno",
        symmetric=signed,
        radiological=radiological,
    )


def measures(run: Run, template: Template | None = None) -> dict[str, float]:
    """The run in numbers, for tables: counts of volumes, minutes left, FD in mm (NaN where there is none).

    Keys are those of HEADINGS; `covered` (% of the template's brain that has BOLD) needs the template.
    """
    fd = np.empty(0) if run.fd is None else run.fd[np.isfinite(run.fd)]
    found = {
        "volumes": float(len(run.kept) + run.dummy_scans),
        "dummy_scans": float(run.dummy_scans),
        "dropped": float((~run.kept).sum()),
        "minutes": float(run.kept.sum() * run.tr / 60),
        "mean_fd": float(fd.mean()) if len(fd) else float("nan"),
        "max_fd": float(fd.max()) if len(fd) else float("nan"),
    }
    return found if template is None else {**found, "covered": 100 * _covered(run, template)}


def table(run: Run, template: Template) -> dict[str, str]:
    """The row of the page's table, by heading."""
    found = measures(run, template)
    digits = {"minutes": ".1f", "mean_fd": ".3f", "max_fd": ".2f", "covered": ".1f"}
    shown = {key: "n/a" if np.isnan(value) else f"{value:{digits.get(key, '.0f')}}" for key, value in found.items()}
    return {"run": run.label, "TR (s)": number(run.tr), **{HEADINGS[key]: text for key, text in shown.items()}}


def checks(run: Run, template: Template) -> list[str]:
    """What somebody should look at, in words."""
    found, said = measures(run, template), []
    if found["minutes"] < FEW_MINUTES:
        said.append(f"{run.label}: {found['minutes']:.1f} minutes are left, under {FEW_MINUTES:g}: maps are unsteady")
    if run.freedom is not None and run.freedom < FEW_DEGREES:
        said.append(
            f"{run.label}: {run.freedom} degrees of freedom are left in the band, under {FEW_DEGREES}: maps of "
            "band-passed series are unsteady; use fewer confounds, a wider band, or a longer run"
        )
    if found["dropped"] > MUCH_DROPPED * len(run.kept):
        said.append(f"{run.label}: {found['dropped']:.0f} of {len(run.kept)} volumes were dropped")
    if found["mean_fd"] > MUCH_MOTION_MM:
        said.append(f"{run.label}: mean FD is {found['mean_fd']:.2f} mm, over {MUCH_MOTION_MM:g}: the head moved much")
    if found["covered"] < 100 * LITTLE_COVERED:
        said.append(
            f"{run.label}: BOLD covers {found['covered']:.0f} % of the template's brain: look at the field of view and "
            "the registration"
        )
    return said


def tissues(probabilities: Mapping[int, Nifti1Image], *, mask: Nifti1Image | None = None) -> Nifti1Image:
    """The tissue that is most probable, where one reaches a half: (X, Y, Z) uint8, 0 elsewhere.

    `probabilities` (X, Y, Z), 0 to 1, by label (1 = GM, 2 = WM, 3 = CSF); all on the grid of the first. With a `mask`
    and no CSF, CSF is what the mask leaves over.
    """
    first = next(iter(probabilities.values()))
    arrays = {
        label: np.asarray(on_grid(one, first, interpolation="linear").dataobj, dtype=np.float32)
        for label, one in probabilities.items()
    }
    if mask is not None and 3 not in arrays:
        inside = np.asarray(on_grid(mask, first, interpolation="nearest").dataobj) > 0
        arrays[3] = np.where(inside, 1 - sum(arrays.values()), np.float32(0))
    stacked = np.stack(list(arrays.values()))
    best = np.array(list(arrays), dtype=np.uint8)[stacked.argmax(axis=0)]
    return Nifti1Image(np.where(stacked.max(axis=0) >= 0.5, best, 0).astype(np.uint8), first.affine)


def _inside(run: Run) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = np.asarray(run.mask.dataobj) > 0
    if inside.sum() != len(run.series):
        raise DataError(
            f"{run.label}: the mask has {inside.sum()} voxels, the series {len(run.series)}: are they of the same run?"
        )
    return inside


def _tissue(image: Nifti1Image | None, mask: Nifti1Image, inside: NDArray[np.bool_]) -> NDArray[np.integer] | None:
    if image is None:
        return None
    labels = np.rint(np.asarray(on_grid(image, mask, interpolation="nearest").dataobj)[inside])
    return np.asarray(labels, dtype=np.uint8)


def _covered(run: Run, template: Template) -> float:
    brain = np.asarray(on_grid(template.mask, run.mask, interpolation="nearest").dataobj) > 0
    return float(_inside(run)[brain].mean()) if brain.any() else 0.0


def _carpet_words(run: Run, fd_threshold: float | None) -> str:
    left_out = f", without the first {run.dummy_scans}" if run.dummy_scans else ""
    text = (
        f"Each row is a voxel, each column a volume of {number(run.tr)} s{left_out}; rows are less their linear trend, "
        "in units of their SD. FD: framewise displacement of the head. DVARS: change of the image from one volume to "
        "the next, standardised."
    )
    limit = "" if fd_threshold is None else f" (FD over {number(fd_threshold)} mm)"
    return text + (f" Dropped volumes{limit} are marked in red." if not run.kept.all() else " No volume was dropped.")


def _unit(one: Map) -> str:
    """The unit of this map where a unit says it for several kinds, as 'beta: ...; z: ...'."""
    kinds = dict(part.split(": ", 1) for part in one.unit.split("; ") if ": " in part)
    return kinds.get(one.name.partition("_")[0], one.unit)


def _registration_words(run: Run, template: Template) -> str:
    tissues = "" if template.tissues is None else f" and {template.whose} tissues"
    text = f"The mean BOLD image under the template's outline{tissues}, with the run's own mask."
    if run.overlap is None:
        return text
    return f"{text} The brains of its reference volume and of the T1w overlap by {run.overlap:.2f} (Dice)."
