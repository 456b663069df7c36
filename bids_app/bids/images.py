"""The one door for images that users provide: the header is checked by arithmetic before any voxel is read."""

import math
import zlib
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from bids_app.errors import DataError

VOXEL_MM = (0.05, 25.0)
MAX_VOXELS = 2**30  # of a volume: a whole head at 0.25 mm has half of it
MAX_SHEAR = 1e-2
UNREADABLE: tuple[type[Exception], ...] = (
    OSError, EOFError, zlib.error, ValueError, TypeError, ArithmeticError, MemoryError,
    nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError,
)  # fmt: skip


def open_image(path: Path, title: str = "", *, axes: tuple[int, ...] = (3,)) -> nib.Nifti1Image:
    """Open an image whose header can be used, without reading its voxels.

    axes: how many axes it may have, trailing axes of length 1 aside. `title` is what messages call it. Raises DataError
    for a file that is no image, has complex or coloured voxels, impossible lengths, less data than its header says
    (uncompressed), no orientation, a singular, sheared or infinite affine, or voxels of an impossible size.
    """
    title = title or path.name
    try:
        # a compressed file that is kept open is read volume by volume in one pass
        image = cast(nib.Nifti1Image, nib.load(path, keep_file_open=True))
        shape, affine, dtype = image.shape, np.asarray(image.affine, float), image.get_data_dtype()
    except UNREADABLE as error:
        reason = f"{type(error).__name__}: {error}".replace(str(path), path.name)
        raise DataError(
            f"{title} cannot be read as an image ({reason}); it may be truncated: fetch it again"
        ) from error
    if dtype.kind not in "biuf":
        kind = "complex (its magnitude is required: part-mag)" if dtype.kind == "c" else f"of type {dtype}"
        raise DataError(f"{title} has voxels that are {kind}; one real number per voxel is required")
    _check_shape(title, shape, axes)
    start = int(getattr(image.dataobj, "offset", 0))
    if path.suffix == ".nii" and path.stat().st_size < start + math.prod(shape) * dtype.itemsize:
        raise DataError(f"{title} is shorter than its header says, so it is truncated; fetch it again")
    check_affine(title, affine)
    header = image.header
    if isinstance(header, nib.Nifti1Header) and not (header["qform_code"] or header["sform_code"]):
        raise DataError(
            f"{title} has neither qform nor sform, so left and right are unknown; convert it again from DICOM"
        )
    return image


def read_voxels(image: nib.Nifti1Image, title: str) -> NDArray[np.float32]:
    """The voxels of an image that `open_image` opened. Raises DataError where the file ends early or is damaged."""
    return read_stored(image, title, np.float32)


def read_stored(image: nib.Nifti1Image, title: str, dtype: Any = None) -> NDArray[Any]:
    """As `read_voxels`; without a `dtype`, of the type in which they are stored."""
    try:
        return np.asarray(image.dataobj, dtype=dtype)
    except UNREADABLE as error:
        raise DataError(
            f"{title} cannot be read completely ({type(error).__name__}: {error}); it may be truncated: fetch it again"
        ) from error


def check_affine(title: str, affine: NDArray[np.float64]) -> None:
    """Raise DataError for an affine (4, 4), voxels to mm, that no scanner writes."""
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not sizes.all() or abs(np.linalg.det(affine[:3, :3] / sizes)) < MAX_SHEAR:
        raise DataError(f"{title} has an orientation that is singular or not finite; convert it again from DICOM")
    if not (VOXEL_MM[0] <= sizes.min() and sizes.max() <= VOXEL_MM[1]):
        shown = " x ".join(f"{size:g}" for size in sizes)
        raise DataError(
            f"{title} has voxels of {shown} mm, which no scanner measures: its unit may be wrong; convert it again"
        )
    axes = affine[:3, :3] / sizes
    if np.abs(axes.T @ axes - np.eye(3)).max() > MAX_SHEAR:
        raise DataError(f"{title} has a sheared sform; resample it to right-angled voxels")


def time_unit(image: nib.Nifti1Image) -> str:
    """The unit of time in the header of a series, as nibabel names it; unknown for a code that is none."""
    try:
        return str(image.header.get_xyzt_units()[1])
    except KeyError:
        return "unknown"


def describe_qform_conflict(image: nib.Nifti1Image) -> str:
    """A sentence where qform and sform place the image differently, by more than half a voxel; "" otherwise."""
    header: Any = image.header
    if not isinstance(header, nib.Nifti1Header) or not (header["qform_code"] and header["sform_code"]):
        return ""
    corners = np.array(np.meshgrid(*([0, length - 1] for length in image.shape[:3]))).reshape(3, -1)
    try:
        forms = [np.asarray(form, float) for form in (image.get_qform(), image.get_sform())]
    except UNREADABLE:
        return "Its qform cannot be read; the sform was used."
    apart = np.linalg.norm((forms[0] - forms[1])[:3, :3] @ corners + (forms[0] - forms[1])[:3, 3:], axis=0).max()
    if not apart > 0.5 * np.linalg.norm(forms[1][:3, :3], axis=0).min():
        return ""
    codes = ["".join(str(code) for code in nib.orientations.aff2axcodes(form)) for form in forms]
    axes = f" and name the axes {codes[0]} and {codes[1]}" if codes[0] != codes[1] else ""
    return f"Its qform and sform differ by up to {apart:.0f} mm{axes}; the sform was used: check left and right."


def _check_shape(title: str, shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    used = len(shape)
    while used > 3 and used not in axes and shape[used - 1] == 1:
        used -= 1
    if used not in axes:
        wanted = " or ".join(map(str, axes))
        raise DataError(f"{title} has the shape {shape}, {used} axes instead of {wanted}")
    if min(shape) < 1 or math.prod(shape[:3]) > MAX_VOXELS:
        raise DataError(f"{title} has the shape {shape}, which no scanner measures; convert it again from DICOM")
