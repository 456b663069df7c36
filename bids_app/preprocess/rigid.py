"""The position of a head in one volume, to hundredths of a millimetre: Gauss-Newton steps on splines.

Least squares as in Friston et al. 1995 (Hum Brain Mapp 3:165), inverse-compositional as in Baker & Matthews 2004 (Int
J Comput Vis 56:221), so that slopes are those of the reference and are computed once; from blurred blocks of voxels,
which capture large movements, to the voxels of the run.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from bids_app.preprocess.conform import average_blocks
from bids_app.preprocess.spline import Spline

FWHM_VOXELS, MIN_FWHM_MM = 1.4, 4.0  # of the finest level: sharper biases towards whole voxels, wider follows signals
COARSE_MM = 8.0  # of blocks
COARSE_FWHM_MM = (24.0, 12.0)
MIN_BLOCKS = 4  # along each axis; a thinner slab is aligned on its voxels alone
MAX_POINTS = 40000
STEPS = 12
DONE_MM = 1e-3
RADIUS_MM = 50.0  # converts an angle to mm, for the stopping criterion
EDGE = 1  # voxels at the border whose slopes are one-sided

Array = NDArray[np.float64]
Volume = NDArray[np.float32]


@dataclass(frozen=True)
class Level:
    """The reference, smoothed by `fwhm` (mm), ready for its volumes.

    points (n, 3), voxels; design (n, 7): the derivatives of their values with respect to six parameters (mm, rad about
    `centre`, mm in the world), and the values themselves, for a change of brightness; affine (4, 4).
    """

    points: Volume
    design: Array
    centre: Array
    affine: Array
    fwhm: float


@dataclass(frozen=True)
class Fixed:
    """The reference on blocks, from blurred to sharp, and on its voxels; `mass` is its centre of mass, mm."""

    coarse: tuple[Level, ...]
    fine: Level
    mass: Array


def prepare(reference: Volume, mask: NDArray[np.bool_], affine: Array) -> Fixed:
    """Slopes of the smoothed reference (X, Y, Z) at the voxels of `mask`; at most 40,000 of them, evenly spread."""
    blocks, wide = average_blocks(reference, affine, COARSE_MM)
    share, _ = average_blocks(mask, affine, COARSE_MM)
    levels = COARSE_FWHM_MM if min(blocks.shape) >= MIN_BLOCKS else ()
    coarse = tuple(_prepare_level(blocks, share > 0, wide, fwhm) for fwhm in levels)
    fwhm = max(MIN_FWHM_MM, FWHM_VOXELS * float(np.linalg.norm(affine[:3, :3], axis=0).mean()))
    return Fixed(coarse, _prepare_level(reference, mask, affine, fwhm), centre_of_mass(blocks, wide))


def align(fixed: Fixed, volume: Volume, start: Array) -> Array:
    """The rigid matrix (4, 4) from the reference's world (RAS+, mm) to the volume's.

    volume (X, Y, Z) on the reference's grid. It is sought near `start`, such as the position in the volume before, and
    near that in which the centres of mass coincide.
    """
    blocks, wide = average_blocks(volume, fixed.fine.affine, COARSE_MM)
    centred = np.eye(4)
    centred[:3, 3] = centre_of_mass(blocks, wide) - fixed.mass
    candidates = [(start, 0.0), (centred, 0.0)]
    for level in fixed.coarse:
        spline = Spline(_smooth(blocks, wide, level.fwhm))
        candidates = [_refine(level, spline, matrix) for matrix, _ in candidates]
    best, _ = min(candidates, key=lambda each: each[1])
    return refine(fixed, volume, best)


def refine(fixed: Fixed, volume: Volume, start: Array) -> Array:
    """The matrix near `start`, as in `align`, that fits the voxels best; `start` where too few of them overlap."""
    return _refine(fixed.fine, Spline(_smooth(volume, fixed.fine.affine, fixed.fine.fwhm)), start)[0]


def centre_of_mass(values: Volume, affine: Array) -> Array:
    """Of an image (X, Y, Z), mm in the world; negative values count as 0, and an image without positive ones
    has its middle."""
    positive = np.maximum(values, 0)
    voxel = ndimage.center_of_mass(positive) if positive.any() else (np.array(values.shape) - 1) / 2
    return np.asarray(affine[:3, :3] @ voxel + affine[:3, 3], np.float64)


def _prepare_level(reference: Volume, mask: NDArray[np.bool_], affine: Array, fwhm: float) -> Level:
    smooth = _smooth(reference, affine, fwhm)
    inner = np.zeros(mask.shape, bool)
    inner[(slice(EDGE, -EDGE),) * 3] = mask[(slice(EDGE, -EDGE),) * 3]
    voxels = np.argwhere(inner)
    voxels = voxels[:: max(1, -(-len(voxels) // MAX_POINTS))].T
    slopes = np.stack([along[tuple(voxels)] for along in np.gradient(smooth)]).astype(np.float64)
    slopes = np.linalg.inv(affine[:3, :3]).T @ slopes  # per mm in the world
    points = affine[:3, :3] @ voxels + affine[:3, 3:]
    centre = points.mean(axis=1)
    # of x -> x + w × (x - c): slope · (w × d) = w · (d × slope)
    turns = np.cross((points - centre[:, None]).T, slopes.T)
    design = np.column_stack([slopes.T, turns, smooth[tuple(voxels)]])
    return Level(voxels.T.astype(np.float32), design, centre, np.asarray(affine, np.float64), fwhm)


def _refine(level: Level, spline: Spline, start: Array) -> tuple[Array, float]:
    """The matrix near `start` with the least misfit, and that misfit (infinite with too little overlap)."""
    to_voxels = np.linalg.inv(level.affine)
    best, matrix, least = start, start, np.inf
    for _ in range(STEPS + 1):
        values, seen = spline.sample(level.points, to_voxels @ matrix @ level.affine, clip=False)
        if seen.sum() < 10 * level.design.shape[1]:
            return start, np.inf
        inside, design = values[seen].astype(np.float64), level.design[seen]
        misfit = _misfit(inside, design[:, 6])
        if misfit < least:
            best, least = matrix, misfit
        fit = np.linalg.lstsq(design.T @ design, design.T @ inside, rcond=None)[0]
        step = fit[:6] / fit[6] if fit[6] else np.zeros(6)
        matrix = matrix @ np.linalg.inv(_matrix(step, level.centre))
        if np.abs(step * [1, 1, 1, *[RADIUS_MM] * 3]).max() < DONE_MM:
            break
    return best, least


def _misfit(values: Array, expected: Array) -> float:
    """The fraction of `values` that is not a multiple of `expected`: 0 to 1."""
    size = float((values @ values) * (expected @ expected))
    return 1 - float(values @ expected) ** 2 / size if size else 1.0


def _matrix(step: Array, centre: Array) -> Array:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(step[3:]).as_matrix()
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre + step[:3]
    return matrix


def _smooth(values: Volume, affine: Array, fwhm: float) -> Volume:
    sigma = fwhm / np.sqrt(8 * np.log(2)) / np.linalg.norm(affine[:3, :3], axis=0)
    smooth: Volume = ndimage.gaussian_filter(np.asarray(values, np.float32), sigma)
    return smooth
