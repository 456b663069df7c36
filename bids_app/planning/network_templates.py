"""The file of --network-templates: networks in 4D, with their names in a table beside it."""

import warnings
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_app.bids import images, outputs, tables
from bids_app.errors import DataError, MissingInputError
from bids_app.preprocess.conform import read_image


def check(path: Path | None, map_name: str) -> Path:
    """The file, checked to be a 4D image of network maps by its header. Raises MissingInputError or DataError."""
    if path is None or not path.is_file():
        raise MissingInputError(f"--maps {map_name} requires --network-templates FILE, a 4D image; there is no {path}")
    images.open_image(path, f"--network-templates {path.name}", axes=(4,))
    return path


def read_names(path: Path) -> tuple[str, ...]:
    """The networks' names: of FILE.tsv's column `name`, else N01, N02, ... Raises DataError for too few or many."""
    count = read_image(path).shape[3]
    table = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".tsv")
    names = [f"N{number:02d}" for number in range(1, count + 1)]
    if table.is_file():
        title = f"--network-templates {table.name}"
        cells = tables.read_cells(table, title)
        tables.check_key(cells, "name", title)
        names = cells["name"].tolist()
    if len(names) != count:
        raise DataError(f"{table.name} lists {len(names)} networks, and the image contains {count}")
    return tuple(names)


def read_labels(path: Path | None, map_name: str) -> tuple[str, ...]:
    """The names as used in file names.

    Raises as `check` and `read_names`, and DataError if two are the same.
    """
    file = check(path, map_name)
    names = read_names(file)
    try:
        labels = tuple(map(outputs.label, names))
    except DataError as error:
        raise DataError(f"--network-templates {file.name}: {error}") from error
    if repeated := sorted({label for label in labels if labels.count(label) > 1 or not label}):
        raise DataError(
            f"--network-templates {file.name}: several networks are named {repeated[0]!r}; use unique names"
        )
    return labels


def resample_networks(path: Path, mask: nib.Nifti1Image, inside: np.ndarray) -> np.ndarray:
    """Network maps (voxels, k) on the grid of `mask`, at the voxels `inside` (X, Y, Z)."""
    from nilearn.image import resample_img

    title = f"--network-templates {path.name}"
    image = images.open_image(path, title, axes=(4,))
    readable = nib.Nifti1Image(images.read_stored(image, title), image.affine, image.header)
    with warnings.catch_warnings():
        # binary maps become the fraction of each voxel, as intended
        warnings.filterwarnings("ignore", "Resampling binary images", UserWarning)
        resampled = resample_img(
            readable, target_affine=mask.affine, target_shape=mask.shape, force_resample=True, copy_header=True
        )
    values = np.ascontiguousarray(np.asarray(resampled.dataobj, dtype=np.float32)[inside])
    _check_values(values, path)
    return values


def _check_values(values: np.ndarray, path: Path) -> None:
    """Raise DataError unless network maps (voxels, k) are finite and none is zero everywhere."""
    title, names = f"--network-templates {path.name}", read_names(path)
    if not np.isfinite(values).all():
        raise DataError(f"{title} has values that are NaN or infinite; write 0 where a network is not defined")
    if not (used := values.any(axis=0)).all():
        empty = ", ".join(names[at] for at in np.flatnonzero(~used)[:5])
        raise DataError(f"{title}: {empty} has no value within the brain of the maps; its affine may be wrong")
