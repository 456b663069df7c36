"""Registration of native space to the template. Images are ANTsImages, transforms are files in ITK's formats."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ants
import numpy as np
from scipy import ndimage

from bids_app.preprocess.affine import register_affine
from bids_app.preprocess.conform import average_blocks, find_box
from bids_app.preprocess.greedy import invert, register_greedy
from bids_app.preprocess.transforms import to_ants, world_affine, write_field, write_matrix

# Coarse images need a metric sensitive to edges: with few iterations mutual information enlarges the brain by a fifth.
FINE = {"reg_iterations": (100, 70, 20)}
SLOPPY = {"reg_iterations": (15, 8, 1), "syn_metric": "CC", "syn_sampling": 1}
GREEDY_FINE = (100, 50, 10)
GREEDY_SLOPPY = (60, 25, 5)
PRIOR_MM = 2.0
MARGIN = 8  # voxels round a brain, into which a warp may push it
MULTIPLE = 2 ** (max(len(GREEDY_FINE), len(GREEDY_SLOPPY)) - 1)  # of voxels, that no level of `greedy` fills up
TRIM = (0.01, 0.99)


@dataclass(frozen=True)
class Warps:
    """Transform files in ANTs' order: `forward` takes the moving image to the fixed one's grid, `inverse` back."""

    forward: list[str]
    inverse: list[str]
    invert: list[bool]


@contextmanager
def fix_seed(seed: int) -> Iterator[None]:
    """Fix the random sampling of registrations: antspyx 0.6.3 does not pass its `random_seed` on to ANTs."""
    before = os.environ.get("ANTS_RANDOM_SEED")
    os.environ["ANTS_RANDOM_SEED"] = str(seed or 2**31 - 1)  # ANTs seeds from the clock for 0
    try:
        yield
    finally:
        if before is None:
            del os.environ["ANTS_RANDOM_SEED"]
        else:
            os.environ["ANTS_RANDOM_SEED"] = before


def trim_intensities(image: ants.ANTsImage) -> ants.ANTsImage:
    """The image with non-zero intensities clipped at their 1st and 99th percentiles: outliers distort metrics."""
    values = image.numpy()
    low, high = np.quantile(values[values > 0], TRIM)
    return image.new_image_like(np.where(values > 0, values.clip(low, high), 0).astype(np.float32))


def register(
    fixed: ants.ANTsImage,
    moving: ants.ANTsImage,
    *,
    folder: str,
    name: str,
    seed: int,
    sloppy: bool,
    method: str,
    nonlinear: bool = True,
) -> dict[str, Warps]:
    """Transforms by kind: `affine` and, unless it is not wanted, `nonlinear`; their files are written into `folder`.

    method: "fast" (`affine.register_affine`, `greedy.register_greedy`; no seed) or "ants" (affine, SyN).
    """
    if method == "fast":
        return _register_fast(fixed, moving, folder=folder, name=name, sloppy=sloppy, nonlinear=nonlinear)
    start = affine(fixed, moving, folder=folder, name=name, seed=seed)
    if not nonlinear:
        return {"affine": start}
    return {"affine": start, "nonlinear": syn(fixed, moving, start, folder=folder, name=name, seed=seed, sloppy=sloppy)}


def _register_fast(
    fixed: ants.ANTsImage, moving: ants.ANTsImage, *, folder: str, name: str, sloppy: bool, nonlinear: bool
) -> dict[str, Warps]:
    target, target_affine = _crop(trim_intensities(fixed))
    brain, brain_affine = _crop(trim_intensities(moving))
    # in single precision, as its file has it
    matrix = register_affine(target, brain, target_affine, brain_affine).astype(np.float32).astype(np.float64)
    file = f"{folder}/{name}_affine.mat"
    write_matrix(matrix, file)
    warps = {"affine": Warps([file], [file], [True])}
    if nonlinear:
        to_voxels = np.linalg.inv(brain_affine) @ matrix @ target_affine
        moved = ndimage.affine_transform(brain, to_voxels[:3, :3], to_voxels[:3, 3], output_shape=target.shape, order=1)
        field = register_greedy(target, moved, GREEDY_SLOPPY if sloppy else GREEDY_FINE)
        files = [f"{folder}/{name}_{kind}.nii.gz" for kind in ("warp", "inversewarp")]
        for displacement, path in zip((field, invert(field)), files, strict=True):
            write_field(displacement, target_affine, path)
        warps["nonlinear"] = Warps([files[0], file], [file, files[1]], [True, False])
    return warps


def _crop(image: ants.ANTsImage) -> tuple[np.ndarray, np.ndarray]:
    """The values (X, Y, Z) in the box of what is not 0, in a margin of 0, and the affine of that box.

    The margin goes beyond the grid where the brain is near its border: a field is 0 at the border of its grid.
    """
    values = image.numpy()
    box = find_box(values > 0, (0, 0, 0))
    margins = [(MARGIN, MARGIN + (part.start - part.stop - 2 * MARGIN) % MULTIPLE) for part in box]
    matrix = world_affine(image)
    matrix[:3, 3] += matrix[:3, :3] @ [part.start - MARGIN for part in box]
    return np.ascontiguousarray(np.pad(values[box], margins), np.float32), matrix


def affine(fixed: ants.ANTsImage, moving: ants.ANTsImage, *, folder: str, name: str, seed: int) -> Warps:
    """Affine registration (12 parameters) by global correlation, which kept brains nearer to the template's size."""
    with fix_seed(seed):
        registration = ants.registration(
            fixed, trim_intensities(moving), "Affine", aff_metric="GC", outprefix=f"{folder}/{name}_"
        )
    matrix = registration["fwdtransforms"][0]
    return Warps([matrix], [matrix], [True])


def syn(
    fixed: ants.ANTsImage, moving: ants.ANTsImage, start: Warps, *, folder: str, name: str, seed: int, sloppy: bool
) -> Warps:
    """Symmetric diffeomorphic registration (Avants et al. 2008) after an affine one; few iterations with `sloppy`."""
    with fix_seed(seed):
        registration = ants.registration(
            fixed,
            trim_intensities(moving),
            "SyNOnly",
            initial_transform=start.forward[0],
            outprefix=f"{folder}/{name}_syn_",
            **(SLOPPY if sloppy else FINE),
        )
    warp = next(path for path in registration["fwdtransforms"] if path.endswith("Warp.nii.gz"))
    back = next(path for path in registration["invtransforms"] if path.endswith("InverseWarp.nii.gz"))
    return Warps([warp, start.forward[0]], [start.forward[0], back], [True, False])


def pull_back(
    prior: ants.ANTsImage, native: ants.ANTsImage, inverse: list[str], invert: list[bool], *, method: str
) -> ants.ANTsImage:
    """A prior of the template on the grid of a native image, linearly interpolated.

    With "fast", from a grid of about PRIOR_MM, which the priors themselves have.
    """
    if method == "ants":
        return ants.apply_transforms(native, prior, inverse, whichtoinvert=invert)
    shape = native.shape
    blocks, coarse_affine = average_blocks(native.numpy(), world_affine(native), PRIOR_MM)
    coarse = to_ants(blocks, coarse_affine)
    values = ants.apply_transforms(coarse, prior, inverse, whichtoinvert=invert).numpy()
    size = [round(mm / fine) for mm, fine in zip(coarse.spacing, native.spacing, strict=True)]
    zoomed = ndimage.zoom(values, size, order=1, grid_mode=True, mode="nearest")
    return native.new_image_like(zoomed[tuple(map(slice, shape))])
