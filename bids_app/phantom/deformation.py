"""Smooth invertible maps of space, as pull-back displacements on a voxel grid."""

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

Array = NDArray[np.floating]


def sample(field: Array, voxels: Array) -> Array:
    """Values of a field (..., X, Y, Z) at voxel coordinates (3, ...), trilinear; beyond the grid its edge goes on."""
    parts = field.reshape(-1, *field.shape[-3:])
    values = [ndimage.map_coordinates(part, voxels, order=1, mode="nearest", output=np.float32) for part in parts]
    return np.stack(values).reshape(*field.shape[:-3], *voxels.shape[1:])


def positions(shape: tuple[int, ...]) -> Array:
    """Voxel coordinates (3, X, Y, Z) of every voxel."""
    return np.indices(shape, dtype=np.float32)


def compose(first: Array, second: Array) -> Array:
    """Displacement of x -> second(first(x)); both (3, X, Y, Z) in voxels of the one grid."""
    return first + sample(second, positions(first.shape[1:]) + first)


def exponential(velocity: Array) -> Array:
    """Displacement (3, X, Y, Z) after unit time along a stationary velocity field, both in voxels.

    Scaling and squaring: Arsigny et al., MICCAI 2006, doi:10.1007/11866565_113.
    """
    largest = float(np.abs(velocity).max())
    halvings = max(0, int(np.ceil(np.log2(max(largest, 1e-6) / 0.25))))
    displacement = velocity / np.float32(2**halvings)
    for _ in range(halvings):
        displacement = compose(displacement, displacement)
    return displacement


def random_velocity(
    shape: tuple[int, ...], rng: np.random.Generator, *, voxel_mm: float, smoothness_mm: float, rms_mm: float
) -> Array:
    """Gaussian random velocity field (3, X, Y, Z) in voxels: SD of the smoothing kernel and RMS length in mm."""
    noise = rng.standard_normal((3, *shape), dtype=np.float32)
    smooth = np.stack([ndimage.gaussian_filter(part, smoothness_mm / voxel_mm, mode="wrap") for part in noise])
    length = np.sqrt((smooth**2).sum(axis=0).mean())
    return smooth * np.float32(rms_mm / voxel_mm / length)


def contraction(region: Array, *, effect: float, steps: int = 6) -> Array:
    """Pull-back displacement (3, X, Y, Z), in voxels, of a map that removes `effect` of the region's volume.

    `region` (X, Y, Z) is 0 or 1 on a grid with equal axes and a wide margin. In the continuum the Jacobian determinant
    is (1 - effect) in it and 1 outside: the velocity is at all times the gradient of a potential whose Laplacian is
    log(1 - effect) in the region as transported so far. Surrounding tissue moves in and keeps its volume, except for
    what a periodic box has to return (some 0.1 %).
    A flow with given divergence, after Moser, Trans. Am. Math. Soc. 120, 286 (1965), doi:10.2307/1994022.
    """
    displacement = np.zeros((3, *region.shape), np.float32)
    if effect == 0:
        return displacement
    grid = positions(region.shape)
    whole = float(region.sum())
    for number in range(1, steps + 1):
        carried = sample(region, grid + displacement)
        # Aiming at the volume due after this step keeps the blur of interpolation from adding up.
        aim = np.log1p(-effect) * number / steps - np.log(carried.sum() / whole)
        step = _potential_flow((carried > 0.5) * np.float32(aim))
        middle = sample(step, grid - step / 2)  # midpoint rule
        displacement = compose(-middle, displacement)
    return displacement


def _potential_flow(divergence: Array) -> Array:
    """The curl-free field (3, X, Y, Z) with this divergence, less its mean, in a periodic box; lengths in voxels."""
    shape = divergence.shape
    waves = (fft.fftfreq(shape[0]), fft.fftfreq(shape[1]), fft.rfftfreq(shape[2]))
    k = [
        wave.astype(np.float32)
        for wave in np.meshgrid(*(2 * np.pi * wave for wave in waves), indexing="ij", sparse=True)
    ]
    squared = k[0] ** 2 + k[1] ** 2 + k[2] ** 2
    squared[0, 0, 0] = np.inf
    potential = fft.rfftn(divergence) / -squared
    return np.stack([fft.irfftn(1j * part * potential, s=shape) for part in k]).astype(np.float32)


def move(points: Array, *, displacement: Array, affine: Array) -> Array:
    """World points (3, N) in mm, displaced by a field (3, X, Y, Z) given in voxels of the grid with this affine."""
    voxels = transform(points, np.linalg.inv(affine))
    return transform(voxels + sample(displacement, voxels), affine)


def transform(points: Array, affine: Array) -> Array:
    """Points (3, N) through a 4 x 4 affine."""
    return (affine[:3, :3] @ points + affine[:3, 3:]).astype(np.float32)


def jacobian(displacement: Array) -> Array:
    """Determinant (X, Y, Z) of the Jacobian of x -> x + displacement(x), by central differences; all in voxels."""
    gradients = np.stack([np.stack(np.gradient(part), axis=-1) for part in displacement], axis=-2)
    determinant: Array = np.linalg.det(gradients + np.eye(3))
    return determinant
