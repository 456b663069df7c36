"""The file of --network-maps: networks in 4D, with their names in a table beside it."""

import warnings
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_app.bids import outputs
from bids_app.errors import DataError, MissingInputError


def check(path: Path | None, asking: str) -> None:
    """Raise MissingInputError or DataError unless there is a 4D image of network maps; only its header is read."""
    if path is None or not path.is_file():
        raise MissingInputError(f"--maps {asking} needs --network-maps FILE, a 4D image; there is no {path}")
    try:
        shape = nib.load(path).shape
    except nib.filebasedimages.ImageFileError as error:
        raise DataError(f"--network-maps {path.name} is no image: {error}") from error
    if len(shape) != 4:
        raise DataError(f"--network-maps {path.name} has {len(shape)} axes in place of 4")


def read_names(path: Path) -> tuple[str, ...]:
    """The networks' names: of FILE.tsv's column `name`, else N01, N02, ... Raises DataError for too few or many."""
    count = nib.load(path).shape[3]
    beside = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".tsv")
    found = [f"N{number:02d}" for number in range(1, count + 1)]
    if beside.is_file():
        rows = [line.split("\t") for line in beside.read_text(encoding="utf-8").splitlines()]
        found = [row[rows[0].index("name")] for row in rows[1:] if any(row)]
    if len(found) != count:
        raise DataError(f"{beside.name} names {len(found)} networks, and the image holds {count}")
    return tuple(found)


def read_labels(path: Path | None, asking: str) -> tuple[str, ...]:
    """The names as they stand in names of files. Raises as `check` and `names`, DataError where two are the same."""
    check(path, asking)
    found = tuple(map(outputs.label, read_names(path)))
    if twice := sorted({name for name in found if found.count(name) > 1 or not name}):
        raise DataError(f"--network-maps {path.name}: several networks are called {twice[0]!r}; give each its own name")
    return found


def resample_networks(path: Path, mask: nib.Nifti1Image, inside: np.ndarray) -> np.ndarray:
    """Network maps (voxels, k) on the grid of `mask`, at the voxels `inside` (X, Y, Z)."""
    from nilearn.image import resample_img

    with warnings.catch_warnings():
        # maps of ones and zeros become the shares of each voxel, which is meant
        warnings.filterwarnings("ignore", "Resampling binary images", UserWarning)
        found = resample_img(
            nib.load(path), target_affine=mask.affine, target_shape=mask.shape, force_resample=True, copy_header=True
        )
    return np.ascontiguousarray(np.asarray(found.dataobj, dtype=np.float32)[inside])
