"""Places the regions that are taken out of `t1w` on the grid of the outputs."""

import json
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from bids_app.atlases import atlas, freesurfer
from bids_app.atlases.templates import nearest
from bids_app.errors import DataError
from bids_app.nodes.atlas import resample_atlas
from bids_app.planning.excluded_regions import WMPARC
from bids_app.preprocess.conform import to_nifti

Files = dict[str, Any]
MIN_DICE = 0.5  # of the labelled brain with the mask of its T1w; another session's, or another person's, may be as low


def resample_excluded_regions(
    *, kind: str, anat: Files, templates: Files, asked: Files, cache: str, space: str, seed: int, sloppy: bool
) -> Files:
    """`mask`, a file on the output grid that is 1 in the regions, and `note`, how they came there.

    Raises DataError where none of the regions has a voxel, or a wmparc does not lie where its T1w does.
    """
    grid = nib.load(templates["brain"])
    if asked["from"] == WMPARC:
        inside = _warp_wmparc(Path(asked["file"]), anat, templates["brain"], kind, freesurfer.numbers(asked["regions"]))
        note = f"brought to {space} by nearest neighbour with the person's transform ({kind})"
    else:
        common = {"template": templates, "space": space, "seed": seed, "sloppy": sloppy}
        stamp = atlas.stamp(freesurfer.ATLAS)
        placed = Path(resample_atlas(cache=cache, name=freesurfer.ATLAS, stamp=stamp, **common))
        about = json.loads((placed / "atlas.json").read_text())
        names = freesurfer.equivalents(asked["regions"]).values()
        wanted = [int(number) for number, name in about["names"].items() if name in names]
        inside, note = np.isin(np.asarray(nib.load(placed / "labels.nii.gz").dataobj), wanted), about["note"]
    if not inside.any():
        raise DataError(f"{asked['from']} has no voxel of {', '.join(asked['regions'])}")
    to_nifti(inside.astype(np.uint8), grid.affine).to_filename("without.nii.gz")
    return {"mask": str(Path.cwd() / "without.nii.gz"), "note": note}


def _warp_wmparc(file: Path, anat: Files, grid: str, kind: str, numbers: list[int]) -> np.ndarray:
    import ants  # takes longer to load than an atlas to read

    labels = read_excluded_regions(file)
    values, mask = np.asarray(labels.dataobj), nib.load(anat["native"]["mask"])
    brain = np.asarray(mask.dataobj) > 0
    known = nearest((values > 0).astype(np.uint8), labels.affine, mask.shape, mask.affine) > 0
    dice = 2 * (brain & known).sum() / max(brain.sum() + known.sum(), 1)
    if dice < MIN_DICE:
        raise DataError(
            f"{'/'.join(file.parts[-3:])} does not lie where the T1w's brain does (Dice {dice:.2f}): "
            "give the FreeSurfer folder that was made from this T1w"
        )
    to_nifti(np.isin(values, numbers).astype(np.float32), labels.affine).to_filename("native.nii.gz")
    moving = ants.image_read("native.nii.gz")
    forward = anat["warps"][kind]["forward"]
    warped = ants.apply_transforms(ants.image_read(grid), moving, forward, interpolator="nearestNeighbor")
    return np.asarray(warped.numpy() > 0.5)


def read_excluded_regions(file: Path) -> nib.Nifti1Image:
    """Labels int32 (X, Y, Z), RAS+, in scanner space. Raises DataError for what cannot be read."""
    try:
        image = nib.load(file)
        values = np.rint(np.asarray(image.dataobj)).astype(np.int32)
    except (OSError, EOFError, zlib.error, ValueError, nib.filebasedimages.ImageFileError) as error:
        raise DataError(f"{'/'.join(file.parts[-3:])} cannot be read ({error}); run FreeSurfer again") from error
    return nib.as_closest_canonical(nib.Nifti1Image(values, image.affine))
