"""The resting-state section of a participant's page: carpet plot, registration, maps and data quality of each run."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray

from bids_app.bids import outputs
from bids_app.errors import DataError
from bids_app.report.bold_run import RunData, RunMap, TemplateImages, inside_mask, run_row, run_warnings
from bids_app.report.carpet import draw_carpet
from bids_app.report.figures import LARGE_CUTS, MASK_COLOR, TISSUES, draw_map
from bids_app.report.mosaic import Mosaic, resample_to
from bids_app.report.page import format_number
from bids_app.report.participant import Figure, RunSection

SIGNED_SHARE = 0.02  # of the values in the mask below zero: the map has both signs


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

    def name_figure(desc: str) -> Path:
        name = outputs.filename(run.participant, run.session, "bold", ".png", **run.entities, desc=outputs.label(desc))
        return outputs.folder(root, run.participant, None, "figures") / name

    def add_figure(title: str, caption: str, desc: str) -> Path:
        file = name_figure(desc)
        drawings.append(Figure(title, caption, file.relative_to(root).as_posix()))
        return file

    inside = inside_mask(run)
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
    other = name_figure("registrationtemplate")
    drawings[-1] = replace(drawings[-1], other=other.relative_to(root).as_posix(), names=("BOLD", "template"))
    draw_registration(run, file, other, template, radiological=radiological)
    for run_map in maps:
        file = add_figure(run_map.name, run_map.caption, f"map{run_map.name}")
        draw_run_map(run_map, run, file, template, radiological=radiological)
    return RunSection(run.label, run_row(run, template), drawings, run_warnings(run, template))


def draw_registration(
    run: RunData, path: Path, template_path: Path, template: TemplateImages, *, radiological: bool = False
) -> None:
    """Draw the mean BOLD in template space, and the template alike, under the outlines of brains and tissues."""
    inside = inside_mask(run)
    mean = run.mean
    if mean is None:
        values = np.zeros(run.mask.shape, np.float32)
        values[inside] = run.series.mean(axis=1)
        mean = Nifti1Image(values, run.mask.affine)
    outlines = [
        (inside, run.mask.affine, "#7dff7a", "BOLD mask", 0.8),
        (np.asarray(template.mask.dataobj) > 0, template.mask.affine, MASK_COLOR, "template brain", 1.1),
    ]
    if template.tissues is not None:
        labels, affine = np.asarray(template.tissues.dataobj), template.tissues.affine
        for label in (2, 1):
            name, color = TISSUES[label]
            outlines.insert(0, (labels == label, affine, color, f"{template.whose} {name}", 0.5))
    for image, title, file in (
        (mean, f"Mean BOLD in template space: {run.label}", path),
        (template.brain, "Template", template_path),
    ):
        mosaic = Mosaic(image, template.mask, radiological=radiological, title=title, cuts=LARGE_CUTS)
        for region, affine, color, name, width in outlines:
            outlined = Nifti1Image(region.astype(np.float32), affine)
            mosaic.outline(outlined, level=0.5, color=color, label=name, width=width)
        mosaic.save(file)


def draw_run_map(
    run_map: RunMap, run: RunData, path: Path, template: TemplateImages, *, radiological: bool = False
) -> None:
    """Draw a map where the run has data, over the template elsewhere; diverging colours if it has both signs.

    Raises DataError for a map on another grid than the run's.
    """
    inside = inside_mask(run)
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


def _sample_tissues(
    image: Nifti1Image | None, mask: Nifti1Image, inside: NDArray[np.bool_]
) -> NDArray[np.integer] | None:
    if image is None:
        return None
    labels = np.rint(np.asarray(resample_to(image, mask, interpolation="nearest").dataobj)[inside])
    return np.asarray(labels, dtype=np.uint8)


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
    text = f"Mean BOLD image and template, under the outlines of the template{tissues}, with the brain mask of the run."
    if run.overlap is None:
        return text
    return f"{text} Dice overlap of the brains of its reference image and of the T1w image: {run.overlap:.2f}."
