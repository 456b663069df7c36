"""The template on the grids of a run, with its priors: created once and cached in the work folder by content."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import nibabel as nib
import numpy as np

from bids_app import __version__
from bids_app.atlases import templates
from bids_app.nodes.cache import cached_folder
from bids_app.planning.participant_records import TemplateFiles
from bids_app.preprocess.conform import to_nifti

if TYPE_CHECKING:
    from bids_app.planning.group import GroupPlan
    from bids_app.settings import Settings

FINE_MM = 2.0
COARSE_MM = 4.0
TISSUES: tuple[Literal["gm", "wm"], ...] = ("gm", "wm")


def template_of_analysis(analysis: "GroupPlan", settings: "Settings") -> TemplateFiles:
    """The template of a group analysis, on the finest grid of its maps (`prepare_template`)."""
    return prepare_template(
        cache=str(settings.work_dir),
        space=analysis.space,
        resolution=min(analysis.resolutions.values()),
        sloppy=analysis.sloppy,
        seed=settings.compute.random_seed,
    )


def prepare_template(
    *,
    cache: str,
    space: str,
    resolution: float,
    sloppy: bool,
    seed: int,
    box: Sequence[float] = (),
    anatomy: str = "fast",
) -> TemplateFiles:
    """Files of the template: `target` (brain to register to) with `target_gm` and `target_wm` (priors), and on the
    output grid (`templates.grid`, box in mm) `brain`, `mask`, `gm`, `wm`."""
    depends = (space, resolution, sloppy, seed, anatomy, __version__, *box)
    key = hashlib.sha256(repr(depends).encode()).hexdigest()[:12]
    folder = cached_folder(
        cache,
        f"template-{space}-{key}",
        lambda fresh: _write_template(
            fresh, space=space, resolution=resolution, sloppy=sloppy, seed=seed, box=box, anatomy=anatomy
        ),
    )
    return {
        "target": str(folder / "target.nii.gz"),
        "target_gm": str(folder / "target_gm.nii.gz"),
        "target_wm": str(folder / "target_wm.nii.gz"),
        "brain": str(folder / "brain.nii.gz"),
        "mask": str(folder / "mask.nii.gz"),
        "gm": str(folder / "gm.nii.gz"),
        "wm": str(folder / "wm.nii.gz"),
    }


def _write_template(
    folder: Path, *, space: str, resolution: float, sloppy: bool, seed: int, box: Sequence[float], anatomy: str
) -> None:
    fine = templates.brain(space)
    # by local correlation, coarse voxels hide small effects, and save little
    target_mm = COARSE_MM if sloppy and anatomy == "ants" else FINE_MM
    for name, mm in (("target", target_mm), ("brain", resolution)):
        shape, affine = templates.grid(space, mm, box if name == "brain" else ())
        mask = templates.brain_mask(fine, shape, affine)
        # Coarser voxels blur the brain's edge outwards, and a registration would enlarge brains to that size.
        brain = templates.resample(fine, shape, affine, order="linear").get_fdata() * mask.get_fdata()
        _save(folder, name, nib.Nifti1Image(brain, affine))
        if name == "brain":
            _save(folder, "mask", mask)
    _warp_priors(folder, seed=seed, sloppy=sloppy, anatomy=anatomy)


def _warp_priors(folder: Path, *, seed: int, sloppy: bool, anatomy: str) -> None:
    """nilearn's priors are of another template, so they are registered to this one (brain to brain)."""
    import ants  # loading takes longer than looking up existing templates

    from bids_app.preprocess import normalise

    def read(name: str) -> ants.ANTsImage:
        return ants.image_read(str(folder / f"{name}.nii.gz"))

    target, brain, mask = (read(name) for name in ("target", "brain", "mask"))
    _save(folder, "moving", templates.brain(templates.PRIOR_SPACE))
    moving = read("moving")
    warps = normalise.register(
        target, moving, folder=str(folder), name="prior", seed=seed, sloppy=sloppy, method=anatomy
    )["nonlinear"]
    for tissue in TISSUES:
        _save(folder, "moving", templates.tissue_prior(tissue))
        prior = read("moving")
        for name, grid in ((tissue, brain * mask), (f"target_{tissue}", target)):
            ants.image_write(ants.apply_transforms(grid, prior, warps.forward), str(folder / f"{name}.nii.gz"))
    (folder / "moving.nii.gz").unlink()


def _save(folder: Path, name: str, image: nib.Nifti1Image) -> None:
    to_nifti(np.asarray(image.dataobj, dtype=np.float32), image.affine).to_filename(folder / f"{name}.nii.gz")
