"""One raw T1w -> a 3D float32 image in RAS+ order with a plain header."""

from pathlib import Path
from typing import cast

import nibabel as nib
import numpy as np

from bids_app.bids import images
from bids_app.errors import DataError

MIN_VOXELS = 16


def load(path: Path) -> nib.Nifti1Image:
    """Read and check a structural image of any orientation and voxel size.

    Returns float32, RAS+ axis order, qform equal to sform.
    Raises DataError with the reason for a truncated file, a series, NaN, a constant image, a
    header without orientation or with shears.
    """
    image = open_t1w(path)
    values = images.read_voxels(image, path.name).reshape(image.shape[:3])
    _check_values(path.name, values)
    ordered = nib.as_closest_canonical(nib.Nifti1Image(values, image.affine))
    return to_nifti(np.asarray(ordered.dataobj, dtype=np.float32), ordered.affine)


def open_t1w(path: Path) -> nib.Nifti1Image:
    """Open a structural image and check its header; its voxels are read on access. Raises DataError with the reason."""
    image = images.open_image(path)
    if min(image.shape[:3]) < MIN_VOXELS:
        raise DataError(
            f"{path.name} has the shape {image.shape}; at least {MIN_VOXELS} voxels along each axis are required"
        )
    return image


def read_image(path: Path | str) -> nib.Nifti1Image:
    """A NIfTI image as it is stored; its voxels are read on access."""
    return cast(nib.Nifti1Image, nib.load(path))


def to_nifti(values: np.ndarray, affine: np.ndarray) -> nib.Nifti1Image:
    """A NIfTI image whose qform and sform agree, so that nibabel and ITK agree on its position."""
    image = nib.Nifti1Image(values, affine)
    image.set_qform(affine, code=1)
    image.set_sform(image.get_qform(), code=1)
    image.header.set_xyzt_units("mm")
    return image


def _check_values(name: str, values: np.ndarray) -> None:
    bad = int(values.size - np.isfinite(values).sum())
    if bad:
        raise DataError(
            f"{name} has {bad} voxels that are NaN or infinite; replace them (by 0 where they are background)"
        )
    if values.min() == values.max():
        raise DataError(f"{name} is {values.min():g} everywhere and contains no brain")
