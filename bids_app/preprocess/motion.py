"""Head motion in a run: a rigid transform per volume, six parameters and framewise displacement.

Parameters have the signs, axes and order of fMRIPrep's, which are those of FSL's MCFLIRT (Jenkinson et al. 2002,
NeuroImage 17:825).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ants
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from bids_app.errors import DataError
from bids_app.preprocess import rigid
from bids_app.preprocess.spline import Spline
from bids_app.preprocess.transforms import read_matrix, to_ants, write_matrix

PARAMETERS = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
RADIUS_MM = 50.0
FIRST = 16  # volumes from which the reference is computed
MARGIN = 2  # voxels
MIN_MASK = 200

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Motion:
    """`files`: one transform per volume, as ANTs takes them, from the reference's points to the volume's.

    `parameters` (T, 6): trans_x, trans_y, trans_z in mm, rot_x, rot_y, rot_z in rad.
    """

    files: list[str]
    parameters: Array


def reference(data: NDArray[np.float32], affine: Array) -> NDArray[np.float32]:
    """The median (X, Y, Z) of the first 16 volumes, each rigidly aligned to the middle one.

    data (X, Y, Z, T), steady-state and not slice-time corrected. Raises DataError if no head is found.
    """
    first = data[..., :FIRST]
    target = np.ascontiguousarray(first[..., first.shape[3] // 2], np.float32)
    moved = [
        _resample(first[..., number], affine, matrix, np.ones(target.shape, bool)).reshape(target.shape)
        for number, matrix in enumerate(_matrices(first, affine, target))
    ]
    middle: NDArray[np.float32] = np.median(np.stack(moved), axis=0).astype(np.float32)
    return middle


def estimate(data: NDArray[np.float32], affine: Array, reference: NDArray[np.float32], *, folder: str) -> Motion:
    """Register every volume of data (X, Y, Z, T) to the reference (X, Y, Z) on the same grid.

    Writes `volume-0000.mat`, ... in `folder`. Raises DataError if no head is found.
    """
    matrices = _matrices(data, affine, reference)
    files = [f"{folder}/volume-{number:04d}.mat" for number in range(len(matrices))]
    for file, matrix in zip(files, matrices, strict=True):
        write_matrix(matrix, Path(file))
    return Motion(files, parameters(matrices, affine, centre=rigid.centre_of_mass(reference, affine)))


def parameters(matrices: Sequence[Array], affine: Array, *, centre: Array) -> Array:
    """Six parameters (T, 6) of matrices (4, 4) from the reference's world (RAS+, mm) to each volume's.

    They move the volume onto the reference. Axes are those of the image in RAS+ order,
    the first reversed (so trans_x > 0 is a movement to the left); rotations (rad) about `centre` (mm, world) go
    clockwise for these axes and are taken about z, then y, then x.
    """
    axes = np.diag([-1.0, 1.0, 1.0]) @ (affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)).T
    rows = np.empty((len(matrices), 6))
    for number, matrix in enumerate(matrices):
        back = np.linalg.inv(matrix)
        rows[number, :3] = axes @ (back[:3, :3] @ centre + back[:3, 3] - centre)
        turned = axes @ back[:3, :3] @ axes.T
        rows[number, 3:] = Rotation.from_matrix(turned.T).as_euler("XYZ")
    return rows


def displacement(parameters: Array) -> Array:
    """Framewise displacement (T,), mm, after Power et al. 2012 (NeuroImage 59:2142); the first is NaN.

    The sum of the absolute changes of the six parameters (T, 6), rotations as arcs on a sphere of 50 mm.
    """
    steps = np.abs(np.diff(parameters, axis=0)) * [1, 1, 1, *[RADIUS_MM] * 3]
    return np.concatenate([[np.nan], steps.sum(axis=1)])


def series(
    data: NDArray[np.float32], affine: Array, motion: Sequence[str], mask: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """The series (voxels, T) of the mask's voxels (X, Y, Z, of the reference) after realignment; cubic splines.

    data (X, Y, Z, T); `motion`: one transform file per volume. Beyond the field of view the nearest voxel is used.
    """
    if len(motion) != data.shape[3]:
        raise DataError(f"{len(motion)} transforms for {data.shape[3]} volumes")
    held = np.empty((int(mask.sum()), data.shape[3]), np.float32)
    for number, file in enumerate(motion):
        held[:, number] = _resample(data[..., number], affine, read_matrix(Path(file)), mask)
    return held


def head(image: ants.ANTsImage) -> NDArray[np.bool_]:
    """A rough mask (X, Y, Z) of the head or brain in a BOLD volume. Raises DataError if there is none."""
    inside: NDArray[np.bool_] = image.numpy() > 0
    if np.ptp(image.numpy()) > 0:
        inside = ants.get_mask(image).numpy() > 0
    if inside.sum() < MIN_MASK:
        raise DataError(f"no head was found in the BOLD run: only {inside.sum()} of its voxels are bright")
    return inside


def _matrices(data: NDArray[np.float32], affine: Array, target: NDArray[np.float32]) -> list[Array]:
    """A matrix (4, 4) for every volume, from the target's world to the volume's; each is sought near the one before."""
    inside = ndimage.binary_dilation(head(to_ants(target, affine)), iterations=MARGIN)
    fixed = rigid.prepare(target, inside, affine)
    matrices, last = [], np.eye(4)
    for number in range(data.shape[3]):
        last = rigid.align(fixed, np.ascontiguousarray(data[..., number], np.float32), last)
        matrices.append(last)
    return matrices


def _resample(
    values: NDArray[np.float32], affine: Array, matrix: Array, inside: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """A volume (X, Y, Z) at the reference's voxels of `inside` (n,); beyond the volume, its nearest voxel."""
    steps = np.linalg.inv(affine) @ matrix @ affine
    return Spline(values).sample(np.argwhere(inside).astype(np.float32), steps, clip=True)[0]
