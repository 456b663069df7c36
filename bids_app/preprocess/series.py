"""A 4D BOLD file and its mask -> the time series of the mask's voxels, read once, straight to float32."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from bids_app.bids import images
from bids_app.errors import DataError

BLOCK_BYTES = 1 << 23  # of the file held in memory at a time
SAME_PLACE_MM = 1e-3
BOLD_KINDS = "iuf"

Grid = tuple[tuple[int, int, int], NDArray[np.float64]]


def load(
    bold: Path, mask: Path, *, onto: Grid | None = None
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float64]]:
    """Read the series of a mask's voxels: series (voxels, time), mask (X, Y, Z), affine (4, 4) to world RAS+ mm.

    Voxels come in numpy's C order, `data[mask]`. `onto` is the shape and affine of another grid in the same space:
    each volume is interpolated linearly at its voxels, and so is the mask, thresholded at a half. The file is
    decompressed a few volumes at a time, and only the mask's voxels are kept.
    Raises DataError for an image that is not 4D, cannot be read, is constant or not finite, and for a mask that is
    empty or of another grid.
    """
    image = open_series(bold)
    inside = _mask(mask, image, bold.name)
    affine = np.asarray(image.affine, dtype=np.float64)
    if onto is None or _is_same_grid(onto, (inside.shape, affine)):
        where: tuple[NDArray[np.intp], ...] = np.nonzero(inside)
        weights = None
    else:
        inside, where, weights = _linear_weights(inside, affine, onto)
        affine = np.asarray(onto[1], dtype=np.float64)
    try:
        series = _read(bold, image, where, weights)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(
            f"{bold.name} cannot be read ({type(error).__name__}: {error}); it may be truncated: fetch it again"
        ) from error
    _check_values(bold.name, series)
    return series, inside, affine


def open_series(bold: Path) -> nib.Nifti1Image:
    """The image, without reading its voxels. Raises DataError unless it is a series of volumes."""
    image = images.open_image(bold, axes=(4,))
    if image.shape[3] < 2:
        raise DataError(f"{bold.name} has the shape {image.shape}; a series of volumes is required")
    return image


def _mask(mask: Path, image: nib.Nifti1Image, name: str) -> NDArray[np.bool_]:
    mask_image = images.open_image(mask)
    inside = images.read_voxels(mask_image, mask.name).reshape(mask_image.shape[:3]) > 0.5
    grid = (inside.shape, np.asarray(mask_image.affine))
    if not _is_same_grid(grid, (image.shape[:3], image.affine)):
        raise DataError(
            f"{mask.name} has the grid {_describe_grid(*grid)} and {name} the grid "
            f"{_describe_grid(image.shape[:3], image.affine)}; use the mask that was computed from this image"
        )
    if not inside.any():
        raise DataError(f"{mask.name} is empty: no voxel is inside the brain")
    return inside


def _is_same_grid(first: tuple[Any, Any], second: tuple[Any, Any]) -> bool:
    return tuple(first[0]) == tuple(second[0]) and np.allclose(first[1], second[1], rtol=0, atol=SAME_PLACE_MM)


def _describe_grid(shape: tuple[int, ...], affine: NDArray[np.float64]) -> str:
    sizes = " x ".join(f"{size:.3g}" for size in nib.affines.voxel_sizes(affine))
    origin = ", ".join(f"{value:.4g}" for value in affine[:3, 3])
    return f"{' x '.join(map(str, shape))} of {sizes} mm with its first voxel at {origin}"


def _linear_weights(
    inside: NDArray[np.bool_], affine: NDArray[np.float64], onto: Grid
) -> tuple[NDArray[np.bool_], tuple[NDArray[np.intp], ...], sparse.csr_array]:
    """The mask on another grid, the source voxels that it needs (3 x (sources,)), and weights (voxels, sources)."""
    shape = onto[0]
    steps = np.linalg.inv(affine) @ onto[1]
    points = steps[:3, :3] @ np.indices(shape).reshape(3, -1) + steps[:3, 3:]
    last = np.array(inside.shape)[:, None] - 1
    within = ((points > -SAME_PLACE_MM) & (points < last + SAME_PLACE_MM)).all(axis=0)
    nearest = np.rint(np.clip(points, 0, last)).astype(np.intp)
    within &= ndimage.maximum_filter(inside, 3)[tuple(nearest)]  # the rest of the field is far from the mask
    points = np.clip(points[:, within], 0, last)
    low = np.minimum(np.floor(points).astype(np.intp), np.maximum(last - 1, 0))
    share = points - low
    corners, parts = [], []
    for corner in np.ndindex(2, 2, 2):
        side = np.array(corner)[:, None]
        corners.append(np.ravel_multi_index(tuple(np.minimum(low + side, last)), inside.shape))
        parts.append(np.prod(np.where(side == 1, share, 1 - share), axis=0))
    sources, weights = np.stack(corners, axis=1), np.stack(parts, axis=1)
    covered = (weights * inside.ravel()[sources]).sum(axis=1) > 0.5
    if not covered.any():
        raise DataError("the BOLD mask has no voxel on the grid of --resolution; check its space")
    new = np.zeros(int(np.prod(shape)), dtype=bool)
    new[np.flatnonzero(within)[covered]] = True
    needed, column = np.unique(sources[covered], return_inverse=True)
    rows = np.repeat(np.arange(int(covered.sum())), 8)
    matrix = sparse.csr_array(
        (weights[covered].ravel().astype(np.float32), (rows, column.ravel())), shape=(int(covered.sum()), len(needed))
    )
    return new.reshape(shape), np.unravel_index(needed, inside.shape), matrix


def _read(
    bold: Path,
    image: nib.Nifti1Image,
    where: tuple[NDArray[np.intp], ...],
    weights: sparse.csr_array | None,
) -> NDArray[np.float32]:
    """The series at the voxels `where`, or at weighted sums of them, in blocks of volumes."""
    proxy = cast(nib.arrayproxy.ArrayProxy, image.dataobj)
    volume, volumes = int(np.prod(image.shape[:3])), image.shape[3]
    at = np.ravel_multi_index(where, image.shape[:3], order="F")  # x runs fastest in a file
    series = np.empty((len(at) if weights is None else weights.shape[0], volumes), dtype=np.float32)
    step = max(1, BLOCK_BYTES // (volume * proxy.dtype.itemsize))
    block = np.empty((step, volume), dtype=proxy.dtype)
    with _open_unpacked(bold) as file:
        _skip(file, proxy.offset)
        for first in range(0, volumes, step):
            count = min(step, volumes - first)
            _fill(file, block[:count])
            values = block[:count].take(at, axis=1).astype(np.float32)
            if (proxy.slope, proxy.inter) != (1, 0):
                values *= np.float32(proxy.slope)
                values += np.float32(proxy.inter)
            series[:, first : first + count] = values.T if weights is None else weights @ values.T
        while file.read(BLOCK_BYTES):  # the checksum is compared at the end of a file, not before
            pass
    return series


@contextmanager
def _open_unpacked(bold: Path) -> Iterator[BinaryIO]:
    """The bytes of an image; gzip by isal if installed, which is twice as fast as zlib."""
    if bold.suffix != ".gz":
        with bold.open("rb") as file:
            yield file
        return
    try:
        from isal import igzip, isal_zlib
    except ImportError:  # there are no wheels for every processor
        with gzip.open(bold) as file:
            yield cast(BinaryIO, file)
        return
    try:
        with igzip.open(bold) as file:
            yield file
    except isal_zlib.error as error:  # type: ignore[misc] # an exception that is not of a standard type
        raise OSError(str(error)) from error


def _skip(file: BinaryIO, count: int) -> None:
    if len(file.read(count)) < count:
        raise EOFError("the file ends within its header")


def _fill(file: BinaryIO, block: NDArray[Any]) -> None:
    """Read as many bytes as a C-contiguous array holds."""
    rest = block.data.cast("B")
    while rest:
        count = file.readinto(rest)  # type: ignore[attr-defined]
        if not count:
            raise EOFError("the file ends before its last volume")
        rest = rest[count:]


def _check_values(name: str, series: NDArray[np.float32]) -> None:
    """Raise DataError for values that are not finite in the mask, or for a series that never changes."""
    bad = int((~np.isfinite(series.sum(axis=1, dtype=np.float64))).sum())
    if bad:
        raise DataError(f"{name} has {bad} voxels in its mask that are NaN or infinite at some time; correct the image")
    if (series == series[:, :1]).all():
        what = "0" if not series.any() else "constant in time"
        raise DataError(f"{name} is {what} everywhere in its mask and contains no signal")
