"""One raw T1w -> a 3D float32 image in RAS+ order with a plain header."""

import zlib
from pathlib import Path
from typing import cast

import nibabel as nib
import numpy as np

from bids_app.errors import DataError

MAX_SHEAR = 1e-2
MIN_VOXELS = 16


def load(path: Path) -> nib.Nifti1Image:
    """Read and check a structural image of any orientation and voxel size.

    Returns float32, RAS+ axis order, qform equal to sform.
    Raises DataError with the reason for a truncated file, a series, NaN, a constant image, a
    header without orientation or with shears.
    """
    try:
        image = read_image(path)
        values = np.asarray(image.dataobj, dtype=np.float32)
    except (OSError, EOFError, zlib.error, ValueError, nib.filebasedimages.ImageFileError) as error:
        raise DataError(
            f"{path.name} cannot be read ({type(error).__name__}: {error}); it may be truncated: fetch it again"
        ) from error
    values = values.reshape(values.shape[:3]) if values.size == np.prod(values.shape[:3]) else values
    _check_values(path.name, values)
    check_header(path.name, image)
    ordered = nib.as_closest_canonical(nib.Nifti1Image(values, image.affine))
    return to_nifti(np.asarray(ordered.dataobj, dtype=np.float32), ordered.affine)


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
    if values.ndim != 3 or min(values.shape) < MIN_VOXELS:
        raise DataError(
            f"{name} has the shape {values.shape}; a 3D image of at least {MIN_VOXELS} voxels along each axis is "
            "required"
        )
    bad = int(values.size - np.isfinite(values).sum())
    if bad:
        raise DataError(
            f"{name} has {bad} voxels that are NaN or infinite; replace them (by 0 where they are background)"
        )
    if values.min() == values.max():
        raise DataError(f"{name} is {values.min():g} everywhere and contains no brain")


def check_header(name: str, image: nib.Nifti1Image) -> None:
    """Raise DataError for an image without orientation."""
    header = image.header
    if isinstance(header, nib.Nifti1Header) and not (header["qform_code"] or header["sform_code"]):
        raise DataError(
            f"{name} has neither qform nor sform, so left and right are unknown; convert it again from DICOM"
        )
    axes = image.affine[:3, :3] / np.linalg.norm(image.affine[:3, :3], axis=0)
    if np.abs(axes.T @ axes - np.eye(3)).max() > MAX_SHEAR:
        raise DataError(f"{name} has a sheared sform; resample it to right-angled voxels")
