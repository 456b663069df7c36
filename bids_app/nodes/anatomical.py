"""T1w processing steps as called by nodes: files in, files out, in the node's folder; the mathematics is elsewhere.

ANTs is imported by the functions that use it, since the process that builds the graph does not need it.
"""

from __future__ import annotations

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


STRIPPED = "from the skull-stripped input image"


def prepare_native(*, t1w: str, brain_mask: str | None, template: list[str] | None, seed: int, sloppy: bool) -> Anatomy:
    """Check, reorient, extract the brain, correct the bias -> `native`: files `t1w`, `mask`, and image facts."""
    import ants

    from bids_app.preprocess import tissues

    image = conform.load(Path(t1w))
    image.to_filename("conformed.nii.gz")
    mask, method = _find_brain(image, brain_mask, template, seed=seed, sloppy=sloppy)
    if method == STRIPPED:
        values = skull.remove_offset(np.asarray(image.dataobj))
        conform.to_nifti(values, image.affine).to_filename("conformed.nii.gz")
    conform.to_nifti(mask.astype(np.float32), image.affine).to_filename("mask.nii.gz")
    corrected = tissues.correct_bias(_read_ants("conformed.nii.gz"), _read_ants("mask.nii.gz"), sloppy=sloppy)
    ants.image_write(corrected, "t1w.nii.gz")
    return {
        "native": {
            "t1w": _output_path("t1w"),
            "mask": _output_path("mask"),
            "facts": _describe_image(Path(t1w), mask_method=method),
        }
    }


def borrow_derivative(*, t1w: str, mask: str, gm: str, wm: str, csf: str, transform: str) -> Anatomy:
    """The `native`, `tissues` and nonlinear `warps` of a derivative, in the format of Pellucid's own three steps."""
    import ants

    images = {name: _read_ants(path).numpy() for name, path in (("GM", gm), ("WM", wm), ("CSF", csf))}
    inside = _read_ants(mask)
    ants.image_write(inside > 0.5, "mask.nii.gz")
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
        "warps": {"syn": {"forward": [transform]}},
    }


def register_to_template(
    *, anat: Anatomy, templates: TemplateFiles, nonlinear: bool, seed: int, sloppy: bool
) -> Anatomy:
    """Add `warps`, the transforms to the template by kind (`affine`, and `syn` if needed)."""
    from bids_app.preprocess import normalise

    target, brain = _read_ants(templates["target"]), _mask_brain(anat)
    start = normalise.affine(target, brain, folder=str(Path.cwd()), name="t1w", seed=seed)
    warps = {"affine": _transforms(start)}
    if nonlinear:
        syn = normalise.syn(target, brain, start, folder=str(Path.cwd()), name="t1w", seed=seed, sloppy=sloppy)
        warps["syn"] = _transforms(syn)
    return {**anat, "warps": {**warps, **anat.get("warps", {})}}


def segment_tissues(*, anat: Anatomy, templates: TemplateFiles, sloppy: bool) -> Anatomy:
    """Add `tissues` in native space, with the priors transformed there by the best available transform."""
    import ants

    from bids_app.preprocess import tissues

    t1w, mask = _read_ants(anat["native"]["t1w"]), _read_ants(anat["native"]["mask"])
    best = anat["warps"].get("syn", anat["warps"]["affine"])
    priors = [
        ants.apply_transforms(t1w, _read_ants(file), best["inverse"], whichtoinvert=best["invert"])
        for file in (templates["target_gm"], templates["target_wm"])
    ]
    probabilities = tissues.segment(t1w, mask, *priors, folder=str(Path.cwd()), sloppy=sloppy)
    for name, image in probabilities.items():
        ants.image_write(image, f"{name.lower()}.nii.gz")
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
    import ants

    from bids_app.preprocess import normalise

    grid, brain = _read_ants(templates["brain"]), _mask_brain(anat)
    forward = anat["warps"][kind]["forward"]
    field = normalise.compose(forward, grid, brain, folder=str(Path.cwd()), name="whole")
    tissues = anat["tissues"]
    native = {"gm": tissues["gm"], "wm": tissues["wm"], "csf": tissues["csf"], "mask": anat["native"]["mask"]}
    for name, image in {"t1w": brain, **{name: _read_ants(path) for name, path in native.items()}}.items():
        warped = ants.apply_transforms(grid, image, forward)
        ants.image_write((warped > 0.5) if name == "mask" else warped, f"{name}.nii.gz")
    ants.image_write(grid.new_image_like(normalise.jacobian(field, grid)), "jacobian.nii.gz")
    field.unlink()
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
    conform.to_nifti(values, affine).to_filename(f"{map_name}.nii.gz")
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


def _find_brain(
    image: nib.Nifti1Image, mask_file: str | None, template: list[str] | None, *, seed: int, sloppy: bool
) -> tuple[np.ndarray, str]:
    """The brain mask (X, Y, Z), and a description of its source."""
    from bids_app.preprocess import head

    values = np.asarray(image.dataobj)
    if mask_file is not None:
        title = f"--brain-mask {Path(mask_file).name}"
        given_mask: nib.Nifti1Image = nib.as_closest_canonical(images.open_image(Path(mask_file), title))
        if given_mask.shape != image.shape or not np.allclose(given_mask.affine, image.affine, atol=1e-2):
            raise DataError(f"{title} is not on the grid of its T1w")
        inside = images.read_voxels(given_mask, title) > 0
        skull.check_volume(title, inside, voxel_ml=float(np.prod(image.header.get_zooms())) / 1000)
        return inside, "from --brain-mask"
    stripped_mask = skull.find_stripped_brain(values, voxel_ml=float(np.prod(image.header.get_zooms())) / 1000)
    if stripped_mask is not None:
        return stripped_mask, STRIPPED
    if template is None:
        raise DataError("the image shows a whole head, and no template with a head was prepared for it")
    template_head, template_mask = (_read_ants(path) for path in template)
    head_image = _read_ants("conformed.nii.gz")
    mask = head.brain_mask(head_image, template_head, template_mask, folder=str(Path.cwd()), seed=seed, sloppy=sloppy)
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
    import ants

    from bids_app.preprocess import tissues

    labelled = mask.new_image_like(tissues.labels(images, mask.numpy()).astype(np.float32))
    ants.image_write(labelled, "dseg.nii.gz")
    return _output_path("dseg")


def _tissue_volumes(images: dict[str, np.ndarray], grid: ants.ANTsImage) -> dict[str, float]:
    from bids_app.preprocess import tissues

    return tissues.volumes(images, voxel_ml=float(np.prod(grid.spacing)) / 1000)


def _read_ants(path: str) -> ants.ANTsImage:
    import ants

    return ants.image_read(str(path))


def _output_path(name: str) -> str:
    return str(Path.cwd() / f"{name}.nii.gz")
