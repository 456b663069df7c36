"""Resamples the regions excluded from `t1w` to the output grid."""

from pathlib import Path

import nibabel as nib
import numpy as np

from bids_app.atlases import atlas, freesurfer
from bids_app.atlases.templates import nearest
from bids_app.bids import images
from bids_app.errors import DataError
from bids_app.nodes.atlas import ResampledAtlas, resample_atlas
from bids_app.planning.participant_records import Anatomy, ExcludedMask, ExcludedRegions, TemplateFiles
from bids_app.preprocess.conform import read_image, to_nifti

# Dice of the labelled brain with the mask of its T1w; another session's, or another participant's, may be as low.
MIN_DICE = 0.5


def resample_excluded_regions(
    *,
    kind: str,
    anat: Anatomy,
    templates: TemplateFiles,
    excluded: ExcludedRegions,
    cache: str,
    space: str,
    seed: int,
    sloppy: bool,
) -> ExcludedMask:
    """`mask`, a file on the output grid that is 1 in the regions, and `note`, how they were obtained.

    Raises DataError where none of the regions has a voxel, or a wmparc is not aligned with its T1w.
    """
    grid = read_image(templates["brain"])
    if excluded["file"] is not None:
        numbers = freesurfer.numbers(excluded["regions"])
        inside = _warp_wmparc(Path(excluded["file"]), anat, templates["brain"], kind, numbers)
        note = f"transformed to {space} with the participant's transform ({kind}), nearest neighbour"
    else:
        name, stamp = freesurfer.ATLAS, atlas.stamp(freesurfer.ATLAS)
        folder = resample_atlas(
            cache=cache, name=name, stamp=stamp, template=templates, space=space, seed=seed, sloppy=sloppy
        )
        resampled = ResampledAtlas.read(folder)
        regions = freesurfer.equivalents(excluded["regions"]).values()
        labels = [label for label, region in resampled.names.items() if region in regions]
        inside, note = np.isin(resampled.labels, labels), resampled.note
    if not inside.any():
        raise DataError(f"{excluded['source']} has no voxel of {', '.join(excluded['regions'])}")
    to_nifti(inside.astype(np.uint8), grid.affine).to_filename("excluded.nii.gz")
    return {"mask": str(Path.cwd() / "excluded.nii.gz"), "note": note}


def _warp_wmparc(file: Path, anat: Anatomy, grid: str, kind: str, numbers: list[int]) -> np.ndarray:
    """The regions with these numbers on the template's grid (X, Y, Z)."""
    import ants  # loading takes longer than reading an atlas

    labels = read_excluded_regions(file)
    values, mask = np.asarray(labels.dataobj), read_image(anat["native"]["mask"])
    brain = np.asarray(mask.dataobj) > 0
    x, y, z = mask.shape
    labelled = nearest((values > 0).astype(np.uint8), labels.affine, (x, y, z), mask.affine) > 0
    dice = 2 * (brain & labelled).sum() / max(brain.sum() + labelled.sum(), 1)
    if dice < MIN_DICE:
        raise DataError(
            f"{'/'.join(file.parts[-3:])} does not overlap the brain of the T1w image (Dice {dice:.2f}): use the "
            "FreeSurfer folder that was computed from this T1w image"
        )
    to_nifti(np.isin(values, numbers).astype(np.float32), labels.affine).to_filename("native.nii.gz")
    moving = ants.image_read("native.nii.gz")
    forward = anat["warps"][kind]["forward"]
    warped = ants.apply_transforms(ants.image_read(grid), moving, forward, interpolator="nearestNeighbor")
    return np.asarray(warped.numpy() > 0.5)


def read_excluded_regions(file: Path) -> nib.Nifti1Image:
    """Labels int32 (X, Y, Z), RAS+, in scanner space. Raises DataError for an unreadable file."""
    try:
        image = images.open_image(file, "/".join(file.parts[-3:]))
        voxels = images.read_voxels(image, "/".join(file.parts[-3:])).reshape(image.shape[:3])
    except DataError as error:
        raise DataError(f"{error}, or run FreeSurfer again") from error
    values = np.rint(np.nan_to_num(voxels, posinf=0, neginf=0)).astype(np.int32)
    ordered: nib.Nifti1Image = nib.as_closest_canonical(nib.Nifti1Image(values, image.affine))
    return ordered
