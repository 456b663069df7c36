"""Atlases on the grid of the maps: transformed where both templates are there, else the mismatch is stated."""

import hashlib
import json
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_app import __version__
from bids_app.atlases import atlas, templates
from bids_app.errors import MissingInputError
from bids_app.nodes.cache import cached_folder
from bids_app.preprocess.conform import to_nifti
from bids_app.regions.atlas_on_grid import resample_to_grid


def resample_atlas(
    *, cache: str, name: str, stamp: str, template: dict[str, str], space: str, seed: int, sloppy: bool
) -> str:
    """Write `labels.nii.gz` and `atlas.json` (region names, a note about space) for one atlas; returns their folder.

    `stamp` is the atlas's own (`atlas.stamp`).
    """
    grid = nib.load(template["mask"])
    depends = (stamp, space, grid.shape, grid.affine.tolist(), seed, sloppy, __version__)
    key = hashlib.sha256(repr(depends).encode()).hexdigest()[:12]

    def make(making: Path) -> None:
        found = atlas.load(name)
        labels, note = _labels_on_grid(found, grid, template, making, space=space, seed=seed, sloppy=sloppy)
        to_nifti(labels.astype(np.int32), grid.affine).to_filename(making / "labels.nii.gz")
        content = {
            "name": found.name,
            "note": note,
            "citation": found.citation,
            "names": {str(key): text for key, text in found.names.items()},
        }
        (making / "atlas.json").write_text(json.dumps(content, indent=2))

    return str(cached_folder(cache, f"atlas-{key}", make))


def _labels_on_grid(
    found: atlas.Atlas,
    grid: nib.Nifti1Image,
    files: dict[str, str],
    folder: Path,
    *,
    space: str,
    seed: int,
    sloppy: bool,
) -> tuple[np.ndarray, str]:
    if found.space == space:
        return resample_to_grid(found, grid.shape, grid.affine), f"declares {space}, the space of the maps"
    try:
        brain = templates.brain(found.space)
    except MissingInputError:
        note = (
            f"declares {found.space}; shown on {space} without a transform, so borders may be off by some millimetres"
        )
        return resample_to_grid(found, grid.shape, grid.affine), note
    return (
        _register_and_warp(found, brain, files, folder, seed=seed, sloppy=sloppy),
        f"declares {found.space}; transformed to {space} by registering the two templates' brains",
    )


def _register_and_warp(
    found: atlas.Atlas, brain: nib.Nifti1Image, files: dict[str, str], folder: Path, *, seed: int, sloppy: bool
) -> np.ndarray:
    import ants  # takes longer to load than a placed atlas to find

    from bids_app.preprocess import normalise

    def read(image: nib.Nifti1Image) -> ants.ANTsImage:
        path = folder / "moving.nii.gz"
        to_nifti(np.asarray(image.dataobj, dtype=np.float32), image.affine).to_filename(path)
        return ants.image_read(str(path))

    moving = read(brain)
    target = ants.image_read(files["target"])
    start = normalise.affine(target, moving, folder=str(folder), name="atlas", seed=seed)
    warps = normalise.syn(target, moving, start, folder=str(folder), name="atlas", seed=seed, sloppy=sloppy)
    image = read(nib.Nifti1Image(found.labels.astype(np.float32), found.affine))
    warped = ants.apply_transforms(ants.image_read(files["mask"]), image, warps.forward, interpolator="nearestNeighbor")
    (folder / "moving.nii.gz").unlink()
    return np.rint(warped.numpy())
