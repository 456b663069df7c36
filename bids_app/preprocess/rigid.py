"""The position of a head in one volume, to hundredths of a millimetre: Gauss-Newton steps on splines.

Least squares as in Friston et al. 1995 (Hum Brain Mapp 3:165), inverse-compositional as in Baker & Matthews 2004 (Int
J Comput Vis 56:221), so that slopes are those of the reference and are computed once. It starts from a registration by
ANTs, which captures large movements but interpolates linearly, which biases it towards whole voxels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

FWHM_MM = 6.0
MAX_POINTS = 40000
STEPS = 12
DONE_MM = 1e-3
RADIUS_MM = 50.0  # converts an angle to mm, for the stopping criterion
EDGE = 1  # voxels at the border whose slopes are one-sided

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Fixed:
    """The reference, ready for its volumes.

    points (3, n), mm in the world, of the voxels used; design (n, 7): the derivatives of their values with respect to
    six parameters (mm, rad about `centre`), and the values themselves, for a change of brightness; affine (4, 4).
    """

    points: Array
    design: Array
    centre: Array
    affine: Array


def prepare(reference: NDArray[np.float32], mask: NDArray[np.bool_], affine: Array) -> Fixed:
    """Slopes of the smoothed reference (X, Y, Z) at the voxels of `mask`; at most 40,000 of them, evenly spread."""
    smooth = _smooth(reference, affine)
    inner = np.zeros(mask.shape, bool)
    inner[(slice(EDGE, -EDGE),) * 3] = mask[(slice(EDGE, -EDGE),) * 3]
    voxels = np.argwhere(inner)
    voxels = voxels[:: max(1, -(-len(voxels) // MAX_POINTS))].T
    slopes = np.stack([along[tuple(voxels)] for along in np.gradient(smooth)]).astype(np.float64)
    slopes = np.linalg.inv(affine[:3, :3]).T @ slopes  # per mm in the world
    points = affine[:3, :3] @ voxels + affine[:3, 3:]
    centre = points.mean(axis=1)
    turns = np.cross(
        (points - centre[:, None]).T, slopes.T
    )  # of x -> x + w × (x - c): slope · (w × d) = w · (d × slope)
    design = np.column_stack([slopes.T, turns, smooth[tuple(voxels)]])
    return Fixed(points, design, centre, np.asarray(affine, np.float64))


def refine(fixed: Fixed, volume: NDArray[np.float32], start: Array) -> Array:
    """The rigid matrix (4, 4) from the reference's world to the volume's, refined from `start`.

    volume (X, Y, Z) on the reference's grid. Returns `start` if the steps lead to a worse fit.
    """
    coefficients = ndimage.spline_filter(_smooth(volume, fixed.affine), order=3, output=np.float32)
    to_voxels = np.linalg.inv(fixed.affine)
    last = np.array(volume.shape)[:, None] - 1
    best, matrix, least = start, start, np.inf
    for _ in range(STEPS + 1):
        to_volume = to_voxels @ matrix
        voxels = to_volume[:3, :3] @ fixed.points + to_volume[:3, 3:]
        seen = ((voxels >= 0) & (voxels <= last)).all(axis=0)
        if seen.sum() < 10 * fixed.design.shape[1]:
            return start
        values = ndimage.map_coordinates(coefficients, voxels[:, seen], order=3, prefilter=False).astype(np.float64)
        design = fixed.design[seen]
        misfit = _misfit(values, design[:, 6])
        if misfit < least:
            best, least = matrix, misfit
        fit = np.linalg.solve(design.T @ design, design.T @ values)
        step = fit[:6] / fit[6]
        matrix = matrix @ np.linalg.inv(_matrix(step, fixed.centre))
        if np.abs(step * [1, 1, 1, *[RADIUS_MM] * 3]).max() < DONE_MM:
            break
    return best


def _misfit(values: Array, expected: Array) -> float:
    """The fraction of `values` that is not a multiple of `expected`: 0 to 1."""
    return 1 - float(values @ expected) ** 2 / float((values @ values) * (expected @ expected))


def _matrix(step: Array, centre: Array) -> Array:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(step[3:]).as_matrix()
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre + step[:3]
    return matrix


def _smooth(values: NDArray[np.float32], affine: Array) -> NDArray[np.float32]:
    sigma = FWHM_MM / np.sqrt(8 * np.log(2)) / np.linalg.norm(affine[:3, :3], axis=0)
    smooth: NDArray[np.float32] = ndimage.gaussian_filter(np.asarray(values, np.float32), sigma)
    return smooth
