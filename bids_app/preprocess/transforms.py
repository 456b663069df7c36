"""Transforms between native space and the template, in ITK's files, and images sampled through them.

ITK's world is LPS+, that of everything else here RAS+; both in mm.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import ants
import numpy as np
from numpy.typing import NDArray

from bids_app.preprocess._registration_loops import sample_points
from bids_app.preprocess.conform import read_image, save, to_nifti

Array = NDArray[np.float64]
Values = NDArray[np.float32]

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def world_affine(image: ants.ANTsImage) -> Array:
    """The affine (4, 4) from voxels to RAS+ mm of an image, whose own header is in LPS+."""
    matrix = np.eye(4)
    matrix[:3, :3] = image.direction * np.asarray(image.spacing)
    matrix[:3, 3] = image.origin
    return np.asarray(LPS @ matrix)


def to_ants(values: NDArray[np.floating], affine: Array) -> ants.ANTsImage:
    """An ANTsImage of values (X, Y, Z) and their affine (4, 4) to RAS+ mm."""
    lps = LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    return ants.from_numpy(values, lps[:3, 3].tolist(), spacing.tolist(), lps[:3, :3] / spacing)


def read_matrix(file: Path | str) -> Array:
    """A rigid or affine transform file as a matrix (4, 4) between worlds in RAS+, mm."""
    transform = ants.read_transform(str(file))
    itk, centre = np.eye(4), np.asarray(transform.fixed_parameters[:3], np.float64)
    itk[:3, :3] = np.reshape(transform.parameters[:9], (3, 3))
    itk[:3, 3] = np.asarray(transform.parameters[9:12]) + centre - itk[:3, :3] @ centre
    return np.asarray(LPS @ itk @ LPS)


def write_matrix(matrix: Array, file: Path | str) -> None:
    """Write a matrix (4, 4) between worlds in RAS+, mm, in single precision as ANTs reads it."""
    itk = LPS @ matrix @ LPS
    transform = ants.new_ants_transform(precision="float", dimension=3, transform_type="AffineTransform")
    transform.set_parameters([*itk[:3, :3].ravel(), *itk[:3, 3]])
    transform.set_fixed_parameters([0.0, 0.0, 0.0])
    ants.write_transform(transform, str(file))


def write_field(field: Values, affine: Array, file: Path | str) -> None:
    """Write displacements (3, X, Y, Z) in voxels as ITK's field: mm, in LPS+."""
    millimetres = np.moveaxis(field, 0, -1) @ (LPS[:3, :3] @ affine[:3, :3]).T
    image = to_nifti(millimetres[:, :, :, None].astype(np.float32), affine)
    image.header.set_intent("vector")
    save(image, file)


def follow(files: Sequence[str], grid: ants.ANTsImage) -> Values:
    """The world positions (X, Y, Z, 3), RAS+ mm, to which transforms take the voxels of a grid, one after the other.

    files: matrices and displacement fields in ANTs' order, the first possibly a composite (`.h5`). A field is 0 outside
    its own grid.
    """
    points = _move(world_affine(grid), np.moveaxis(np.indices(grid.shape, np.float32), 0, -1))
    composites, others = (files[:1], files[1:]) if files and files[0].endswith(".h5") else ([], files)
    if composites:
        with tempfile.TemporaryDirectory() as folder:
            field = ants.apply_transforms(grid, grid, list(composites), compose=f"{folder}/")
            points = points + _read_displacements(field)
    for file in others:
        points = _move(read_matrix(file), points) if file.endswith(".mat") else _add_field(file, points)
    return points


def warp(image: ants.ANTsImage, points: Values) -> Values:
    """The image (X, Y, Z), linearly interpolated at world positions (X, Y, Z, 3) in RAS+ mm; 0 outside it."""
    return _sample(image.numpy(), world_affine(image), points)


def jacobian(points: Values, affine: Array) -> Values:
    """Determinant of the Jacobian (X, Y, Z) of the positions (X, Y, Z, 3) of a grid: native volume per template volume.

    The determinant of an affine part is in it; not its logarithm. By central differences, one-sided at the border.
    """
    x, y, z = (np.gradient(points, axis=axis) for axis in range(3))
    volume = np.einsum("xyzi,xyzi->xyz", x, np.cross(y, z))
    return np.asarray(volume / np.linalg.det(affine[:3, :3]), np.float32)


def _move(matrix: Array, points: Values) -> Values:
    single = matrix.astype(np.float32)
    return np.asarray(points @ single[:3, :3].T + single[:3, 3])


def _sample(values: NDArray[np.floating], affine: Array, points: Values) -> Values:
    result = np.empty(points.shape[:-1], np.float32)
    to_voxels = np.ascontiguousarray(np.linalg.inv(affine)[:3])
    sample_points(np.ascontiguousarray(values, np.float32), to_voxels, points.reshape(-1, 3), result.reshape(-1))
    return result


def _add_field(file: str, points: Values) -> Values:
    """The points, moved by a displacement field."""
    displacements, affine = _read_displacements(file), read_image(file).affine
    moved = points.copy()
    for axis in range(3):
        moved[..., axis] += _sample(displacements[..., axis], affine, points)
    return moved


def _read_displacements(file: str) -> Values:
    """A field (X, Y, Z, 3), in mm and RAS+."""
    stored = np.asarray(read_image(file).dataobj, np.float32)
    return np.asarray(stored[:, :, :, 0] * np.diag(LPS)[:3].astype(np.float32))
