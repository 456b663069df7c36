"""One raw T1w -> a 3D float32 image in RAS+ order with a plain header."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import nibabel as nib
import numpy as np
from isal import igzip

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


def average_blocks(values: np.ndarray, affine: np.ndarray, mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Means (float32) of blocks of whole voxels, about `mm` wide, and their affine; 0 is added where no block fits."""
    size = np.maximum(1, np.round(mm / np.linalg.norm(affine[:3, :3], axis=0)).astype(int))
    total = np.pad(values, [(0, int(-count % by)) for count, by in zip(values.shape, size, strict=True)])
    for axis in sorted(range(3), key=lambda axis: -total.strides[axis]):  # what lies together is added last
        first, *others = ((slice(None),) * axis + (slice(start, None, size[axis]),) for start in range(size[axis]))
        if others:
            part = total[first].astype(np.float32)
            for other in others:
                part += total[other]
            total = part
    coarse = affine.copy()
    coarse[:3, 3] += affine[:3, :3] @ ((size - 1) / 2)
    coarse[:3, :3] = affine[:3, :3] * size
    return np.ascontiguousarray(total, np.float32) / np.float32(size.prod()), coarse


def coarsen(image: nib.Nifti1Image, mm: float) -> nib.Nifti1Image:
    """The image with voxels of about `mm`, by means of whole voxels; unchanged where they are that large.

    Background (the value of the corner) stays out of the means, so that the edge of a skull-stripped brain is as bright
    as the rest.
    """
    values = np.asarray(image.dataobj, np.float32)
    background = values.flat[0]
    share, affine = average_blocks(values != background, image.affine, mm)
    if share.shape == values.shape:
        return image
    total, _ = average_blocks(np.where(values != background, values, 0), image.affine, mm)
    means = np.divide(total, share, out=np.full_like(total, background), where=share > 0.5)
    return to_nifti(means, affine)


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


def save(image: nib.Nifti1Image, path: Path | str) -> None:
    """Write an image as .nii.gz, compressed lightly; the same image gives the same bytes, whatever the time."""
    Path(path).write_bytes(igzip.compress(image.to_bytes(), compresslevel=1, mtime=0))


def find_box(inside: np.ndarray, margins: Sequence[int]) -> tuple[slice, ...]:
    """The smallest box (three slices) round all that is true, and `margins` voxels more within the grid."""
    box = []
    for axis, margin in enumerate(margins):
        along = np.flatnonzero(inside.any(axis=tuple(other for other in range(3) if other != axis)))
        box.append(slice(max(0, int(along[0]) - margin), min(int(along[-1]) + margin + 1, inside.shape[axis])))
    return tuple(box)


def crop(image: nib.Nifti1Image, box: tuple[slice, ...]) -> nib.Nifti1Image:
    """The part of the image within a box (three slices)."""
    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [part.start for part in box]
    return to_nifti(np.ascontiguousarray(np.asarray(image.dataobj)[box]), affine)


def _check_values(name: str, values: np.ndarray) -> None:
    bad = int(values.size - np.isfinite(values).sum())
    if bad:
        raise DataError(
            f"{name} has {bad} voxels that are NaN or infinite; replace them (by 0 where they are background)"
        )
    if values.min() == values.max():
        raise DataError(f"{name} is {values.min():g} everywhere and contains no brain")
