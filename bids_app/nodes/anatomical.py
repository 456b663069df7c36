"""The steps of a T1w as nodes call them: files in, files out, in the node's folder; the mathematics is elsewhere.

ANTs is imported by the functions that use it: the process that builds the graph has no need of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np

from bids_app import catalogue
from bids_app.errors import DataError
from bids_app.maps import keywords
from bids_app.preprocess import conform, skull

if TYPE_CHECKING:
    import ants

Files = dict[str, Any]


def prepare_native(*, t1w: str, brain_mask: str | None, template: list[str] | None, seed: int, sloppy: bool) -> Files:
    """Check, orient, find the brain, correct the bias -> `native`: files `t1w`, `mask`, and facts about the image."""
    import ants

    from bids_app.preprocess import tissues

    image = conform.load(Path(t1w))
    image.to_filename("conformed.nii.gz")
    mask, method = _brain(image, brain_mask, template, seed=seed, sloppy=sloppy)
    conform.plain(mask.astype(np.float32), image.affine).to_filename("mask.nii.gz")
    corrected = tissues.correct_bias(_read("conformed.nii.gz"), _read("mask.nii.gz"), sloppy=sloppy)
    ants.image_write(corrected, "t1w.nii.gz")
    return {"native": {"t1w": _here("t1w"), "mask": _here("mask"), "facts": _facts(Path(t1w), mask_method=method)}}


def borrow_derivative(*, t1w: str, mask: str, gm: str, wm: str, csf: str, transform: str) -> Files:
    """A derivative's `native`, `tissues` and nonlinear `warps`, as the three steps of our own would give them."""
    import ants

    images = {name: _read(path).numpy() for name, path in (("GM", gm), ("WM", wm), ("CSF", csf))}
    inside = _read(mask)
    ants.image_write(inside > 0.5, "mask.nii.gz")
    return {
        "native": {"t1w": t1w, "mask": _here("mask"), "facts": _facts(Path(t1w), mask_method="fMRIPrep's")},
        "tissues": {"gm": gm, "wm": wm, "csf": csf, "dseg": _dseg(images, inside), "volumes": _volumes(images, inside)},
        "warps": {"syn": {"forward": [transform]}},
    }


def register_to_template(*, anat: Files, templates: Files, nonlinear: bool, seed: int, sloppy: bool) -> Files:
    """Add `warps`, the transforms to the template by kind (`affine`, and `syn` where wanted)."""
    from bids_app.preprocess import normalise

    target, brain = _read(templates["target"]), _brain_only(anat)
    start = normalise.affine(target, brain, folder=str(Path.cwd()), name="t1w", seed=seed)
    found = {"affine": vars(start)}
    if nonlinear:
        found["syn"] = vars(
            normalise.syn(target, brain, start, folder=str(Path.cwd()), name="t1w", seed=seed, sloppy=sloppy)
        )
    return {**anat, "warps": {**found, **anat.get("warps", {})}}


def segment_tissues(*, anat: Files, templates: Files, sloppy: bool) -> Files:
    """Add `tissues` in native space, with the priors brought there by the best transform that there is."""
    import ants

    from bids_app.preprocess import tissues

    t1w, mask = _read(anat["native"]["t1w"]), _read(anat["native"]["mask"])
    best = anat["warps"].get("syn", anat["warps"]["affine"])
    priors = [
        ants.apply_transforms(t1w, _read(templates[f"target_{name}"]), best["inverse"], whichtoinvert=best["invert"])
        for name in ("gm", "wm")
    ]
    found = tissues.segment(t1w, mask, *priors, folder=str(Path.cwd()), sloppy=sloppy)
    for name, image in found.items():
        ants.image_write(image, f"{name.lower()}.nii.gz")
    images = {name: image.numpy() for name, image in found.items()}
    files = {name.lower(): _here(name.lower()) for name in images}
    return {**anat, "tissues": {**files, "dseg": _dseg(images, mask), "volumes": _volumes(images, mask)}}


def warp_to_template(*, kind: str, anat: Files, templates: Files) -> Files:
    """What maps are made of, on the output grid by one transform: `t1w`, `gm`, `wm`, `csf`, `mask`, `jacobian`."""
    import ants

    from bids_app.preprocess import normalise

    grid, brain = _read(templates["brain"]), _brain_only(anat)
    forward = anat["warps"][kind]["forward"]
    field = normalise.composed(forward, grid, brain, folder=str(Path.cwd()), name="whole")
    native = {name: _read(anat["tissues"][name]) for name in ("gm", "wm", "csf")}
    sources = {"t1w": brain, "mask": _read(anat["native"]["mask"]), **native}
    for name, image in sources.items():
        warped = ants.apply_transforms(grid, image, forward)
        ants.image_write((warped > 0.5) if name == "mask" else warped, f"{name}.nii.gz")
    ants.image_write(grid.new_image_like(normalise.jacobian(field, grid)), "jacobian.nii.gz")
    field.unlink()
    return {name: _here(name) for name in (*sources, "jacobian")}


def make_map(*, map_name: str, sources: Files, parameters: Files, without: Files | None = None) -> str:
    """One map of the catalogue -> its file; `maps.KEYWORDS` says what `compute` may ask for. `parameters`: its options.

    without: regions (`without.place`) that the mask is to lack.
    """
    part = catalogue.load("maps", map_name)
    wanted = keywords(part)
    images = {key: nib.load(sources[key]) for key in (part.INPUT, *wanted) if key in sources}
    affine = images[part.INPUT].affine
    arrays = {key: np.asarray(image.dataobj, dtype=np.float32) for key, image in images.items()}
    if without is not None:
        arrays["mask"] = arrays["mask"] * (np.asarray(nib.load(without["mask"]).dataobj) == 0)
    supplied = {**parameters, **arrays, "affine": affine}
    values = part.compute(arrays[part.INPUT], **{key: supplied[key] for key in wanted})
    conform.plain(values, affine).to_filename(f"{map_name}.nii.gz")
    return _here(map_name)


def modulated_totals(sources: Files, volumes: dict[str, float]) -> dict[str, float]:
    """Modulated total of each tissue over its native volume; 1 where the Jacobian is right."""
    from bids_app.preprocess import tissues

    image = nib.load(sources["jacobian"])
    voxel_ml = float(np.prod(image.header.get_zooms()[:3])) / 1000
    jacobian = np.asarray(image.dataobj)
    warped = {name: np.asarray(nib.load(sources[name.lower()]).dataobj) for name in tissues.LABELS}
    return {
        name: float((values * jacobian).sum(dtype=np.float64) * voxel_ml / volumes[name])
        for name, values in warped.items()
    }


def _brain(
    image: nib.Nifti1Image, given: str | None, template: list[str] | None, *, seed: int, sloppy: bool
) -> tuple[np.ndarray, str]:
    from bids_app.preprocess import head

    values = np.asarray(image.dataobj)
    if given is not None:
        mask = nib.as_closest_canonical(nib.load(given))
        if mask.shape != image.shape or not np.allclose(mask.affine, image.affine, atol=1e-2):
            raise DataError(f"--brain-mask {Path(given).name} is not on the grid of its T1w")
        return np.asarray(mask.dataobj) > 0, "given by --brain-mask"
    found = skull.stripped(values, voxel_ml=float(np.prod(image.header.get_zooms())) / 1000)
    if found is not None:
        return found, "the image came skull-stripped"
    if template is None:
        raise DataError("a whole head, and no template with a head was planned for it")
    images = [_read(path) for path in template]
    mask = head.brain_mask(_read("conformed.nii.gz"), *images, folder=str(Path.cwd()), seed=seed, sloppy=sloppy)
    return mask.numpy() > 0, f"by registration to {Path(template[0]).name.split('_')[0].removeprefix('tpl-')}"


def _brain_only(anat: Files) -> ants.ANTsImage:
    return _read(anat["native"]["t1w"]) * _read(anat["native"]["mask"])


def _facts(t1w: Path, *, mask_method: str) -> dict[str, str]:
    image = nib.load(t1w)
    return {
        "Image": t1w.name,
        "Size": " x ".join(str(count) for count in image.shape[:3]) + " voxels",
        "Voxels": " x ".join(f"{mm:.2f}" for mm in image.header.get_zooms()[:3]) + " mm",
        "Orientation": "".join(nib.aff2axcodes(image.affine)),
        "Brain mask": mask_method,
    }


def _dseg(images: dict[str, np.ndarray], mask: ants.ANTsImage) -> str:
    """Write the likeliest tissue of each voxel; returns the file."""
    import ants

    from bids_app.preprocess import tissues

    labelled = mask.new_image_like(tissues.labels(images, mask.numpy()).astype(np.float32))
    ants.image_write(labelled, "dseg.nii.gz")
    return _here("dseg")


def _volumes(images: dict[str, np.ndarray], grid: ants.ANTsImage) -> dict[str, float]:
    from bids_app.preprocess import tissues

    return tissues.volumes(images, voxel_ml=float(np.prod(grid.spacing)) / 1000)


def _read(path: str) -> ants.ANTsImage:
    import ants

    return ants.image_read(str(path))


def _here(name: str) -> str:
    return str(Path.cwd() / f"{name}.nii.gz")
