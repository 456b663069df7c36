"""Native space -> template space and back (ANTs through antspyx). Images are ANTsImages, transforms are files."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ants
import numpy as np

# Coarse images need a metric sensitive to edges: with few iterations mutual information enlarges the brain by a fifth.
FINE = {"reg_iterations": (100, 70, 20)}
SLOPPY = {"reg_iterations": (15, 8, 1), "syn_metric": "CC", "syn_sampling": 1}
TRIM = (0.01, 0.99)
EDGE = 2


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


def compose(warps: list[str], grid: ants.ANTsImage, moving: ants.ANTsImage, *, folder: str, name: str) -> Path:
    """The whole transform as one displacement field on the template's grid, mm."""
    prefix = f"{folder}/{name}_"
    return Path(ants.apply_transforms(grid, moving, warps, compose=prefix))


def jacobian(field: Path, grid: ants.ANTsImage) -> np.ndarray:
    """Determinant of the Jacobian (X, Y, Z) of a composed displacement field: native volume per template volume.

    Affine and warp are one field here, so the affine's determinant is in it; not its logarithm.
    """
    values = ants.create_jacobian_determinant_image(grid, str(field), do_log=False).numpy()
    inner = (slice(EDGE, -EDGE),) * 3  # closer to the border ANTs' differences extend beyond the field
    return np.pad(values[inner], EDGE, mode="edge")
