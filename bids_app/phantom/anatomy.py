"""A participant simulated from the template: another shape, size and pose of the same brain."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_app.phantom.deformation import Array, exponential, positions, random_velocity, transform
from bids_app.phantom.region import Field

VELOCITY_MM = 4.0
SMOOTHNESS_MM = 9.0
DISPLACEMENT_MM = 2.0
SCALE = 0.04
ROTATION_DEGREES = 5.0
TRANSLATION_MM = 5.0
MARGIN_MM = 12.0


@dataclass(frozen=True)
class Brain:
    """The template ready to be sampled, on one grid: spline coefficients, continued beyond the mask; mask, 0 to 1.

    near: what is not further from the brain than any deformation carries it; white: an intensity of white matter.
    """

    coefficients: Array
    mask: Array
    near: NDArray[np.uint8]
    affine: Array
    white: float


def prepare(values: Array, affine: Array, *, resolution_mm: float) -> Brain:
    """Crop the template (X, Y, Z; 0 outside the brain) and smooth it as a voxel of `resolution_mm` does.

    The smoothing has the variance of a box of that width, less the box that the template was sampled with.
    """
    voxel_mm = float(np.linalg.norm(affine[:3, 0]))
    margin = int(np.ceil(MARGIN_MM / voxel_mm))
    bounds = ndimage.find_objects((values > 0).astype(np.uint8))[0]
    low = [max(0, part.start - margin) for part in bounds]
    cropped = values[tuple(slice(start, part.stop + margin) for start, part in zip(low, bounds, strict=True))]
    inside = (cropped > 0).astype(np.float32)
    share = ndimage.gaussian_filter(inside, 2.0)
    beyond = ndimage.gaussian_filter(cropped, 2.0) / np.maximum(share, 1e-6)
    filled = np.where(inside > 0, cropped, beyond)
    sigma = float(np.sqrt(max((resolution_mm / voxel_mm) ** 2 - 1, 0) / 12))
    shifted = affine.copy()
    shifted[:3, 3] = affine[:3, :3] @ low + affine[:3, 3]
    return Brain(
        coefficients=ndimage.spline_filter(ndimage.gaussian_filter(filled, sigma), order=3, output=np.float32),
        mask=ndimage.gaussian_filter(inside, sigma),
        near=(ndimage.uniform_filter(inside, 2 * margin - 1) > 1e-6).astype(np.uint8),
        affine=shifted,
        white=float(np.percentile(cropped[cropped > 0], 90)),
    )


def scanner_grid(shape: tuple[int, ...], affine: Array, *, resolution_mm: float) -> tuple[tuple[int, ...], Array]:
    """The scanner's grid (shape, affine): RAS+, the field of view of the given grid with a margin on every side."""
    corners = np.array([[0, 0, 0], [size - 1 for size in shape]], np.float32).T
    low, high = transform(corners, affine).T
    count = np.ceil((high - low + 2 * MARGIN_MM) / resolution_mm).astype(int)
    scanner = np.diag([resolution_mm] * 3 + [1.0])
    scanner[:3, 3] = (low + high) / 2 - resolution_mm * (count - 1) / 2
    return tuple(int(size) for size in count), scanner.round(4)


def draw_pose(rng: np.random.Generator) -> Array:
    """The pull-back affine of a random rotation, translation and size, about the origin of the world."""
    x, y, z = np.deg2rad(rng.uniform(-ROTATION_DEGREES, ROTATION_DEGREES, 3))
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    forward = np.eye(4)
    forward[:3, :3] = about_z @ about_y @ about_x * (1 + rng.uniform(-SCALE, SCALE))
    forward[:3, 3] = rng.uniform(-TRANSLATION_MM, TRANSLATION_MM, 3)
    return np.asarray(np.linalg.inv(forward), np.float64)


def draw_shape(brain: Brain, rng: np.random.Generator) -> Field:
    """A random diffeomorphism of the template's space, that makes the participant's brain differ from it."""
    voxel_mm = float(np.linalg.norm(brain.affine[:3, 0]))
    size = tuple(int(np.ceil(count * voxel_mm / VELOCITY_MM)) + 1 for count in brain.mask.shape)
    velocity = random_velocity(size, rng, voxel_mm=VELOCITY_MM, smoothness_mm=SMOOTHNESS_MM, rms_mm=DISPLACEMENT_MM)
    affine = brain.affine.copy()
    affine[:3, :3] *= VELOCITY_MM / voxel_mm
    return Field(exponential(velocity), affine)


def sample_brain(brain: Brain, sources: list[Field], posed: Array, shape: tuple[int, ...], scanner: Array) -> Array:
    """The brain (X, Y, Z) in the scanner, 0 outside; all maps are composed and the template is interpolated once."""
    image = np.zeros(int(np.prod(shape)), np.float32)
    visible, points = visible_voxels(brain, sources, posed, shape, scanner)
    voxels = transform(points, np.linalg.inv(brain.affine))
    inside = ndimage.map_coordinates(brain.mask, voxels, order=1) > 0.5
    image[visible[inside]] = ndimage.map_coordinates(
        brain.coefficients, voxels[:, inside], order=3, mode="nearest", prefilter=False
    )
    return image.reshape(shape)


def visible_voxels(
    brain: Brain, sources: list[Field], posed: Array, shape: tuple[int, ...], scanner: Array
) -> tuple[NDArray[np.intp], Array]:
    """Which voxels of a scanner's grid (flat indices) may see the brain, and where in the template's world (3, N).

    Order: the pose, then each field, from the scanner back to the template. Which they are, no field decides.
    """
    points = transform(positions(shape).reshape(3, -1), posed @ scanner)
    near = ndimage.map_coordinates(brain.near, transform(points, np.linalg.inv(brain.affine)), order=0)
    visible = np.flatnonzero(near)
    points = points[:, visible]
    for field in sources:
        points = field.source(points)
    return visible, points
