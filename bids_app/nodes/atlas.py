"""Atlases on the grid of the maps: transformed if both templates are available, otherwise the mismatch is stated."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_app import __version__
from bids_app.atlases import atlas, templates
from bids_app.errors import DataError, MissingInputError
from bids_app.nodes.cache import cached_folder
from bids_app.planning.participant_records import TemplateFiles
from bids_app.preprocess.conform import read_image, to_nifti
from bids_app.regions.atlas_on_grid import resample_to_grid


@dataclass(frozen=True)
class ResampledAtlas:
    """An atlas on a grid: labels (X, Y, Z), names by label, and how it was resampled."""

    name: str
    labels: np.ndarray
    names: dict[int, str]
    note: str

    @classmethod
    def read(cls, folder: str | Path) -> ResampledAtlas:
        """Read what `resample_atlas` has written."""
        content = json.loads((Path(folder) / "atlas.json").read_text())
        labels = np.asarray(read_image(Path(folder) / "labels.nii.gz").dataobj)
        names = {int(label): name for label, name in content["names"].items()}
        return cls(content["name"], labels, names, content["note"])


def resample_atlas(
    *, cache: str, name: str, stamp: str, template: TemplateFiles, space: str, seed: int, sloppy: bool
) -> str:
    """Write `labels.nii.gz` and `atlas.json` (region names, a note about space) for one atlas; returns their folder.

    `stamp` distinguishes versions of the atlas (`atlas.stamp`).
    """
    grid = read_image(template["mask"])
    depends = (stamp, space, grid.shape, grid.affine.tolist(), seed, sloppy, __version__)
    key = hashlib.sha256(repr(depends).encode()).hexdigest()[:12]

    def make(folder: Path) -> None:
        source = atlas.load(name)
        labels, note = _labels_on_grid(source, grid, template, folder, space=space, seed=seed, sloppy=sloppy)
        if not labels[np.asarray(grid.dataobj) > 0.5].any():
            raise DataError(
                f"--atlas {name}: none of its regions lies within the brain of the maps, so its affine or its space is "
                "wrong; correct it"
            )
        to_nifti(labels.astype(np.int32), grid.affine).to_filename(folder / "labels.nii.gz")
        content = {
            "name": source.name,
            "note": note,
            "citation": source.citation,
            "names": {str(label): region for label, region in source.names.items()},
        }
        (folder / "atlas.json").write_text(json.dumps(content, indent=2))

    return str(cached_folder(cache, f"atlas-{key}", make))


def _labels_on_grid(
    source: atlas.Atlas,
    grid: nib.Nifti1Image,
    template: TemplateFiles,
    folder: Path,
    *,
    space: str,
    seed: int,
    sloppy: bool,
) -> tuple[np.ndarray, str]:
    """Labels (X, Y, Z), and a description of how they were brought to the space."""
    x, y, z = grid.shape
    if source.space == space:
        return resample_to_grid(source, (x, y, z), grid.affine), (f"declared space: {space}, that of the maps")
    try:
        brain = templates.brain(source.space)
    except MissingInputError:
        note = (
            f"declared space: {source.space}; shown in {space} without a transform, so borders may be off by "
            "some millimetres"
        )
        return resample_to_grid(source, (x, y, z), grid.affine), note
    return (
        _register_and_warp(source, brain, template, folder, seed=seed, sloppy=sloppy),
        f"declared space: {source.space}; transformed to {space} by registration of the two template brains",
    )


def _register_and_warp(
    source: atlas.Atlas, brain: nib.Nifti1Image, template: TemplateFiles, folder: Path, *, seed: int, sloppy: bool
) -> np.ndarray:
    import ants  # loading takes longer than looking up a resampled atlas

    from bids_app.preprocess import normalise

    def read(image: nib.Nifti1Image) -> ants.ANTsImage:
        path = folder / "moving.nii.gz"
        to_nifti(np.asarray(image.dataobj, dtype=np.float32), image.affine).to_filename(path)
        return ants.image_read(str(path))

    moving = read(brain)
    target = ants.image_read(template["target"])
    warps = normalise.register(
        target, moving, folder=str(folder), name="atlas", seed=seed, sloppy=sloppy, method="fast"
    )["nonlinear"]
    image = read(nib.Nifti1Image(source.labels.astype(np.float32), source.affine))
    grid = ants.image_read(template["mask"])
    warped = ants.apply_transforms(grid, image, warps.forward, interpolator="nearestNeighbor")
    (folder / "moving.nii.gz").unlink()
    labels: np.ndarray = np.rint(warped.numpy())
    return labels
