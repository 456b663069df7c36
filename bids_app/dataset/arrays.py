"""The values of one map in all samples as an array on disk, so that memory does not grow with the sample size."""

import hashlib
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from bids_app.bids import images
from bids_app.dataset.grid import Grid
from bids_app.errors import DataError, MissingInputError

FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))


def stack_images(
    files: Sequence[Path | tuple[Path, ...]],
    grid: Grid,
    folder: Path,
    *,
    smoothing_mm: float = 0.0,
    form: str = "raw",
    progress: Iterable[int] | None = None,
) -> Path:
    """Write in-mask values, float32 (samples, voxels), for np.load(mmap_mode="r"), and return the file.

    Several files of one sample are averaged. Each image is scaled by its own non-zero values according to `form`:
    "mean" divides by their mean, "zscore" subtracts their mean and divides by their SD, "raw" leaves them. It is then
    smoothed on the whole volume by a Gaussian of `smoothing_mm` FWHM. The file is named by a hash of its inputs and
    reused if it exists. `progress` may be a progress bar over range(len(files)).
    Raises DataError, which names the file, for another grid or for a value in the mask that is not finite.
    """
    rows = [(file,) if isinstance(file, Path) else file for file in files]
    target = folder / f"{_hash_inputs(rows, grid, smoothing_mm, form, folder)}.npy"
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f".{target.stem}.{os.getpid()}.npy"
    try:
        table = np.lib.format.open_memmap(unfinished, mode="w+", dtype=np.float32, shape=(len(rows), grid.voxels))
        for index in range(len(rows)) if progress is None else progress:
            table[index] = np.mean([_read_values(path, grid, smoothing_mm, form) for path in rows[index]], axis=0)
        table.flush()
        del table
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    return target


def _read_values(path: Path, grid: Grid, smoothing_mm: float, form: str) -> NDArray[np.float32]:
    """Read the in-mask values (voxels,) of one image, scaled and smoothed."""
    try:
        image = images.open_image(path)
        volume = images.read_voxels(image, path.name).reshape(image.shape[:3])
    except DataError as problem:
        raise DataError(f"{problem}. Or run the participant level again for this participant") from problem
    return read_on_grid(volume, image.affine, grid, smoothing_mm, form, path.name)


def read_on_grid(
    volume: NDArray[np.float32],
    affine: NDArray[np.float64],
    grid: Grid,
    smoothing_mm: float,
    form: str,
    name: str,
) -> NDArray[np.float32]:
    """Return the in-mask values (voxels,) of a volume (X, Y, Z), scaled and smoothed as in `stack_images`.

    Raises DataError with `name` for another grid, for a value in the mask that is not finite, or one without values.
    """
    if not grid.same_place(volume.shape, affine):
        raise DataError(
            f"{name} (shape {volume.shape}, voxels of {_format_edges(affine)} mm) is not on the analysis "
            f"grid (shape {grid.mask.shape}, {_format_edges(grid.affine)} mm); "
            "run the participant level again with one --resolution and --output-space"
        )
    bad = int((~np.isfinite(grid.vector(volume))).sum())
    if bad:
        raise DataError(
            f"{name} has {bad} voxels in the brain mask that are not finite (NaN); "
            "repair the image or --exclude the participant"
        )
    return scale_and_smooth(volume, grid, smoothing_mm, form, name)


def scale_and_smooth(
    volume: NDArray[np.float32], grid: Grid, smoothing_mm: float, form: str, name: str
) -> NDArray[np.float32]:
    """Return the in-mask values (voxels,) of a volume (X, Y, Z), scaled and smoothed as in `stack_images`.

    Raises DataError with `name` where it cannot be scaled.
    """
    volume = _apply_form(volume, form, name)
    if smoothing_mm > 0:
        sigma = [smoothing_mm / FWHM_PER_SIGMA / edge for edge in grid.voxel_mm]
        # a NaN outside the mask would be smoothed into it
        volume = gaussian_filter(np.nan_to_num(volume, copy=False, posinf=0.0, neginf=0.0), sigma, mode="constant")
    return np.asarray(grid.vector(volume), dtype=np.float32)


def _apply_form(volume: NDArray[np.float32], form: str, name: str) -> NDArray[np.float32]:
    """Return a volume scaled by its non-zero values; it stays zero elsewhere."""
    if form == "raw":
        return volume
    inside = np.isfinite(volume) & (volume != 0)
    values = volume[inside].astype(np.float64)
    divisor = (values.mean() if form == "mean" else values.std()) if values.size else 0.0
    if divisor == 0:
        raise DataError(f"{name} has no values that vary and cannot be scaled ({form}); --exclude the participant")
    formed = np.zeros_like(volume)
    formed[inside] = (values - (0.0 if form == "mean" else values.mean())) / divisor
    return formed


def _format_edges(affine: NDArray[np.float64]) -> str:
    return " x ".join(f"{edge:.2f}" for edge in nib.affines.voxel_sizes(affine))


def stamp_file(path: Path, folder: Path) -> str:
    """Return path, size and modification time of a file, in one line.

    The path is relative to `folder`, the work folder: it stays the same where both are moved together, and differs for
    files of one name in different data sets. Raises MissingInputError.
    """
    try:
        state = path.stat()
    except OSError as problem:
        raise MissingInputError(f"{path.name} cannot be read ({problem.strerror}): restore it") from problem
    return f"{os.path.relpath(path, folder)} {state.st_size} {state.st_mtime_ns}"


def _hash_inputs(rows: list[tuple[Path, ...]], grid: Grid, smoothing_mm: float, form: str, folder: Path) -> str:
    """Return a hash of the inputs: files by `stamp_file`, mask, affine, smoothing and form."""
    digest = hashlib.sha256(f"{smoothing_mm!r} {form} {grid.mask.shape}".encode())
    digest.update(np.packbits(grid.mask).tobytes())
    digest.update(grid.affine.tobytes())
    for paths in rows:
        for path in paths:
            digest.update(f"\n{stamp_file(path, folder)}".encode())
        digest.update(b"\n--")
    return digest.hexdigest()[:32]
