"""T1w processing steps as called by nodes: files in, files out, in the node's folder; the mathematics is elsewhere.

ANTs is imported by the functions that use it, since the process that builds the graph does not need it.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np

from bids_app import catalogue
from bids_app.bids import images
from bids_app.errors import DataError
from bids_app.maps import keywords
from bids_app.planning.participant_records import Anatomy, ExcludedMask, TemplateFiles, Transforms, WarpedAnatomy
from bids_app.preprocess import conform, skull
from bids_app.preprocess.conform import read_image

if TYPE_CHECKING:
    import ants

    from bids_app.preprocess.normalise import Warps


WORKING_MM = 1.0
SLOPPY_MM = 2.0
MARGIN_MM = 10.0  # kept round the brain
STRIPPED = "from the skull-stripped input image"


def prepare_native(
    *, t1w: str, brain_mask: str | None, template: list[str] | None, seed: int, sloppy: bool, anatomy: str
) -> Anatomy:
    """Check, reorient, extract the brain, correct the bias -> `native`: files `t1w`, `mask`, and image facts.

    Unless by ANTs, this is at voxels of about 1 mm where the image has finer ones (of 2 mm if `sloppy`), and of the
    image there is what lies within 10 mm of the box round the brain.
    """

    from bids_app.preprocess import tissues

    image = conform.load(Path(t1w))
    mask = None if brain_mask is None else _read_mask(image, Path(brain_mask))
    if anatomy == "fast":
        working_mm = SLOPPY_MM if sloppy else WORKING_MM
        if mask is not None:
            mask = conform.average_blocks(mask, image.affine, working_mm)[0] > 0.5
        image = conform.coarsen(image, working_mm)
    conform.save(image, "conformed.nii.gz")
    method = "from --brain-mask"
    if mask is None:
        mask, method = _find_brain(image, template, seed=seed, sloppy=sloppy, anatomy=anatomy)
    values = np.asarray(image.dataobj)
    if method == STRIPPED:
        values = skull.remove_offset(values)
        conform.save(conform.to_nifti(values, image.affine), "conformed.nii.gz")
    skull.check_intensities(Path(t1w).name, values, mask)
    inside = conform.to_nifti(mask.astype(np.float32), image.affine)
    if anatomy == "fast":
        voxel_mm = image.header.get_zooms()[:3]
        box = conform.find_box(mask, [math.ceil(MARGIN_MM / mm) for mm in voxel_mm])
        inside = conform.crop(inside, box)
        conform.save(conform.crop(read_image("conformed.nii.gz"), box), "conformed.nii.gz")
    conform.save(inside, "mask.nii.gz")
    corrected = tissues.correct_bias(
        _read_ants("conformed.nii.gz"), _read_ants("mask.nii.gz"), sloppy=sloppy, method=anatomy
    )
    _write_ants(corrected, "t1w")
    return {
        "native": {
            "t1w": _output_path("t1w"),
            "mask": _output_path("mask"),
            "facts": _describe_image(Path(t1w), mask_method=method),
        }
    }


def borrow_derivative(*, t1w: str, mask: str, gm: str, wm: str, csf: str, transform: str) -> Anatomy:
    """The `native`, `tissues` and nonlinear `warps` of a derivative, in the format of Pellucid's own three steps."""

    images = {name: _read_ants(path).numpy() for name, path in (("GM", gm), ("WM", wm), ("CSF", csf))}
    inside = _read_ants(mask)
    _write_ants(inside > 0.5, "mask")
    return {
        "native": {
            "t1w": t1w,
            "mask": _output_path("mask"),
            "facts": _describe_image(Path(t1w), mask_method="fMRIPrep's"),
        },
        "tissues": {
            "gm": gm,
            "wm": wm,
            "csf": csf,
            "dseg": _write_dseg(images, inside),
            "volumes": _tissue_volumes(images, inside),
        },
        "warps": {"nonlinear": {"forward": [transform]}},
    }


def register_to_template(
    *, anat: Anatomy, templates: TemplateFiles, nonlinear: bool, seed: int, sloppy: bool, anatomy: str
) -> Anatomy:
    """Add `warps`, the transforms to the template by kind (`affine`, and `nonlinear` if needed)."""
    from bids_app.preprocess import normalise

    target, brain = _read_ants(templates["target"]), _mask_brain(anat)
    registered = normalise.register(
        target,
        brain,
        folder=str(Path.cwd()),
        name="t1w",
        seed=seed,
        sloppy=sloppy,
        method=anatomy,
        nonlinear=nonlinear,
    )
    warps = {kind: _transforms(transforms) for kind, transforms in registered.items()}
    return {**anat, "warps": {**warps, **anat.get("warps", {})}}


def segment_tissues(*, anat: Anatomy, templates: TemplateFiles, sloppy: bool, anatomy: str) -> Anatomy:
    """Add `tissues` in native space, with the priors transformed there by the best available transform."""
    import ants

    from bids_app.preprocess import normalise, tissues

    t1w, mask = _read_ants(anat["native"]["t1w"]), _read_ants(anat["native"]["mask"])
    best = anat["warps"].get("nonlinear", anat["warps"]["affine"])
    box, inside = ants.crop_image(t1w, mask), ants.crop_image(mask, mask)
    priors = [
        normalise.pull_back(_read_ants(file), box, best["inverse"], best["invert"], method=anatomy)
        for file in (templates["target_gm"], templates["target_wm"])
    ]
    cropped = tissues.segment(box, inside, *priors, folder=str(Path.cwd()), sloppy=sloppy, method=anatomy)
    probabilities = {name: ants.decrop_image(image, t1w * 0) for name, image in cropped.items()}
    for name, image in probabilities.items():
        _write_ants(image, name.lower())
    arrays = {name: image.numpy() for name, image in probabilities.items()}
    return {
        **anat,
        "tissues": {
            "gm": _output_path("gm"),
            "wm": _output_path("wm"),
            "csf": _output_path("csf"),
            "dseg": _write_dseg(arrays, mask),
            "volumes": _tissue_volumes(arrays, mask),
        },
    }


def warp_to_template(*, kind: str, anat: Anatomy, templates: TemplateFiles) -> WarpedAnatomy:
    """The inputs of maps, on the output grid by one transform: `t1w`, `gm`, `wm`, `csf`, `mask`, `jacobian`."""
    from bids_app.preprocess import transforms

    grid, brain = _read_ants(templates["brain"]), _mask_brain(anat)
    tissues = anat["tissues"]
    native = {"gm": tissues["gm"], "wm": tissues["wm"], "csf": tissues["csf"], "mask": anat["native"]["mask"]}
    points, affine = transforms.follow(anat["warps"][kind]["forward"], grid), transforms.world_affine(grid)
    for name, image in {"t1w": brain, **{name: _read_ants(path) for name, path in native.items()}}.items():
        warped = transforms.warp(image, points)
        _write(warped > 0.5 if name == "mask" else warped, affine, name)
    _write(transforms.jacobian(points, affine), affine, "jacobian")
    return {
        "t1w": _output_path("t1w"),
        "mask": _output_path("mask"),
        "gm": _output_path("gm"),
        "wm": _output_path("wm"),
        "csf": _output_path("csf"),
        "jacobian": _output_path("jacobian"),
    }


def make_map(
    *, map_name: str, sources: WarpedAnatomy, parameters: dict[str, Any], excluded: ExcludedMask | None = None
) -> str:
    """The file of one map; `maps.KEYWORDS` lists the arguments of `compute`. `parameters`: its options.

    excluded: regions to remove from the mask.
    """
    part = catalogue.load("maps", map_name)
    names = keywords(part)
    files = {name: str(file) for name, file in sources.items()}
    images = {name: read_image(files[name]) for name in (part.INPUT, *names) if name in files}
    arrays = {name: np.asarray(image.dataobj, dtype=np.float32) for name, image in images.items()}
    if excluded is not None:
        arrays["mask"] = arrays["mask"] * (np.asarray(read_image(excluded["mask"]).dataobj) == 0)
    affine = images[part.INPUT].affine
    supplied = {**parameters, **arrays, "affine": affine}
    values = part.compute(arrays[part.INPUT], **{name: supplied[name] for name in names})
    conform.save(conform.to_nifti(values, affine), f"{map_name}.nii.gz")
    return _output_path(map_name)


def modulated_totals(sources: WarpedAnatomy, volumes: dict[str, float]) -> dict[str, float]:
    """Modulated total of each tissue over its native volume; 1 where the Jacobian is right."""
    image = read_image(sources["jacobian"])
    voxel_ml = float(np.prod(image.header.get_zooms()[:3])) / 1000
    jacobian = np.asarray(image.dataobj)
    files = {"GM": sources["gm"], "WM": sources["wm"], "CSF": sources["csf"]}
    warped = {name: np.asarray(read_image(file).dataobj) for name, file in files.items()}
    return {
        name: float((values * jacobian).sum(dtype=np.float64) * voxel_ml / volumes[name])
        for name, values in warped.items()
    }


def _transforms(warps: Warps) -> Transforms:
    return {"forward": warps.forward, "inverse": warps.inverse, "invert": warps.invert}


def _read_mask(image: nib.Nifti1Image, file: Path) -> np.ndarray:
    """A mask that the user has supplied for the image (X, Y, Z)."""
    title = f"--brain-mask {file.name}"
    supplied: nib.Nifti1Image = nib.as_closest_canonical(images.open_image(file, title))
    if supplied.shape != image.shape or not np.allclose(supplied.affine, image.affine, atol=1e-2):
        raise DataError(f"{title} is not on the grid of its T1w")
    inside = images.read_voxels(supplied, title) > 0
    skull.check_volume(title, inside, voxel_ml=float(np.prod(image.header.get_zooms())) / 1000)
    return inside


def _find_brain(
    image: nib.Nifti1Image, template: list[str] | None, *, seed: int, sloppy: bool, anatomy: str
) -> tuple[np.ndarray, str]:
    """The brain mask (X, Y, Z), and a description of its source."""
    from bids_app.preprocess import head

    values = np.asarray(image.dataobj)
    stripped_mask = skull.find_stripped_brain(values, voxel_ml=float(np.prod(image.header.get_zooms())) / 1000)
    if stripped_mask is not None:
        return stripped_mask, STRIPPED
    if template is None:
        raise DataError("the image shows a whole head, and no template with a head was prepared for it")
    template_head, template_mask = (_read_ants(path) for path in template)
    head_image = _read_ants("conformed.nii.gz")
    mask = head.brain_mask(
        head_image, template_head, template_mask, folder=str(Path.cwd()), seed=seed, sloppy=sloppy, method=anatomy
    )
    if not mask.numpy().any():
        raise DataError("no brain was found in the image: is it a T1w image of a head? If so, supply --brain-mask")
    return mask.numpy() > 0, f"from registration to {Path(template[0]).name.split('_')[0].removeprefix('tpl-')}"


def _mask_brain(anat: Anatomy) -> ants.ANTsImage:
    return _read_ants(anat["native"]["t1w"]) * _read_ants(anat["native"]["mask"])


def _describe_image(t1w: Path, *, mask_method: str) -> dict[str, str]:
    image = read_image(t1w)
    return {
        "Image": t1w.name,
        "Size": " x ".join(str(count) for count in image.shape[:3]) + " voxels",
        "Voxels": " x ".join(f"{mm:.2f}" for mm in nib.affines.voxel_sizes(image.affine)) + " mm",
        "Orientation": "".join(nib.aff2axcodes(image.affine)),
        "Brain mask": mask_method,
    }


def _write_dseg(images: dict[str, np.ndarray], mask: ants.ANTsImage) -> str:
    """Write the most probable tissue of each voxel; returns the file."""

    from bids_app.preprocess import tissues

    labelled = mask.new_image_like(tissues.labels(images, mask.numpy()).astype(np.float32))
    return _write_ants(labelled, "dseg")


def _tissue_volumes(images: dict[str, np.ndarray], grid: ants.ANTsImage) -> dict[str, float]:
    from bids_app.preprocess import tissues

    return tissues.volumes(images, voxel_ml=float(np.prod(grid.spacing)) / 1000)


def _read_ants(path: str) -> ants.ANTsImage:
    import ants

    return ants.image_read(str(path))


def _write_ants(image: ants.ANTsImage, name: str) -> str:
    """Write an ANTsImage; returns the file."""
    from bids_app.preprocess.transforms import world_affine

    return _write(image.numpy(), world_affine(image), name)


def _write(values: np.ndarray, affine: np.ndarray, name: str) -> str:
    """Write an image (X, Y, Z) as float32; returns the file."""
    conform.save(conform.to_nifti(values.astype(np.float32), affine), f"{name}.nii.gz")
    return _output_path(name)


def _output_path(name: str) -> str:
    return str(Path.cwd() / f"{name}.nii.gz")
