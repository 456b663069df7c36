"""Brains whose geometry and tissue fractions are known: the template, deformed, posed and sampled."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation
from sklearn.cluster import KMeans

from bids_app.atlases import templates
from bids_app.phantom import anatomy
from bids_app.phantom.deformation import transform

SPACE = "MNI152NLin2009cAsym"
CONTRASTS = {"CSF": 0.3, "GM": 0.65, "WM": 1.0}


@cache
def template(mm=1.0):
    """The template's brain (X, Y, Z), 0 outside, and its affine."""
    brain = templates.brain(SPACE)
    if mm != 1:
        brain = templates.resample(brain, *templates.grid(SPACE, mm), order="linear")
    return np.asarray(brain.dataobj, np.float32), brain.affine


def rotated(degrees, axis=(1.0, 2.0, 3.0)):
    """A rotation (3, 3) about an axis."""
    return Rotation.from_rotvec(np.deg2rad(degrees) * np.asarray(axis) / np.linalg.norm(axis)).as_matrix()


def world(shape, affine):
    """World points (3, N) of all voxels."""
    return transform(np.indices(shape, dtype=np.float32).reshape(3, -1), affine)


def sampled(values, affine, points):
    """Values of an image at world points (3, N), linearly interpolated, 0 outside."""
    return ndimage.map_coordinates(values, transform(points, np.linalg.inv(affine)), order=1)


def oblique_grid(centre, voxel_mm, *, degrees=20.0, axis=(1.0, 2.0, 3.0), width_mm=(230.0, 250.0, 230.0)):
    """Shape and affine of a grid round a point of the world, turned against its axes."""
    shape = tuple(int(np.ceil(width / mm)) for width, mm in zip(width_mm, voxel_mm, strict=True))
    affine = np.eye(4)
    affine[:3, :3] = rotated(degrees, axis) * voxel_mm
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return shape, affine


def posed(matrix, shape, affine):
    """The template's brain (X, Y, Z) on a grid, where a `matrix` (4, 4) between worlds takes it."""
    values = sampled(*template(), transform(world(shape, affine), np.linalg.inv(matrix)))
    return values.reshape(shape).astype(np.float32)


@dataclass(frozen=True)
class Head:
    """A simulated brain (X, Y, Z): `t1w` with noise, before the bias field; the fractions of tissues in each voxel."""

    t1w: np.ndarray
    field: np.ndarray
    mask: np.ndarray
    fractions: dict
    affine: np.ndarray


@cache
def tissue_images():
    """The template's brain cut in three by k-means of its intensities, 0 or 1 (X, Y, Z), and the affine."""
    values, affine = template()
    inside = values > 0
    clusters = KMeans(3, n_init=1, random_state=0).fit(values[inside][::50, None])
    order = np.argsort(np.argsort(clusters.cluster_centers_[:, 0]))
    labels = np.full(values.shape, -1)
    labels[inside] = order[clusters.predict(values[inside][:, None])]
    return {name: (labels == number).astype(np.float32) for number, name in enumerate(CONTRASTS)}, affine


def fractions_of_a_brain(seed, voxel_mm, *, finer):
    """Fractions (X, Y, Z) of the tissues of a participant in voxels, and the affine.

    Each voxel is the mean of `finer` points along each axis.
    """
    rng = np.random.default_rng(seed)
    values, affine = template()
    brain = anatomy.prepare(values, affine, resolution_mm=1.0)
    shape_field, pose = anatomy.draw_shape(brain, rng), anatomy.draw_pose(rng)
    shape, scanner = anatomy.scanner_grid(brain.mask.shape, brain.affine, resolution_mm=1.0)
    extent = np.array(shape) / voxel_mm
    shape = tuple(int(count) for count in np.ceil(extent))
    voxels = scanner @ np.diag([*voxel_mm, 1.0])
    points_affine = voxels @ np.diag([1 / finer] * 3 + [1.0])
    points_affine[:3, 3] = (voxels @ [*[(1 / finer - 1) / 2] * 3, 1])[:3]
    images, tissue_affine = tissue_images()
    result = {name: np.empty(shape, np.float32) for name in CONTRASTS}
    for x in range(shape[0]):  # a slab at a time: points take many times the image
        slab = points_affine.copy()
        slab[:3, 3] += slab[:3, 0] * x * finer
        count = (finer, shape[1] * finer, shape[2] * finer)
        visible, points = anatomy.visible_voxels(brain, [shape_field], pose, count, slab)
        for name, tissue in images.items():
            fine = np.zeros(int(np.prod(count)), np.float32)
            fine[visible] = sampled(tissue, tissue_affine, points)
            result[name][x] = fine.reshape(finer, shape[1], finer, shape[2], finer).mean((0, 2, 4))
    return result, voxels


def bias_field(shape, affine, *, strength=0.12):
    """A smooth field (X, Y, Z), not one of cosines: the SD of its logarithm over the grid is about `strength`."""
    x, y, z = world(shape, affine).reshape(3, *shape) / 100
    logarithm = 0.6 * x - 0.5 * y * z + 0.8 * np.exp(-((x - 0.4) ** 2 + y**2 + (z - 0.5) ** 2)) + 0.4 * y**2
    return np.exp(strength * (logarithm - logarithm.mean()) / logarithm.std()).astype(np.float32)


@cache
def head(seed=1, voxel_mm=(2.0, 2.0, 2.0), *, finer=2, noise=0.04):
    """A simulated head; its mask is what is half brain, and what else is in there is CSF."""
    fractions, affine = fractions_of_a_brain(seed, voxel_mm, finer=finer)
    mask = sum(fractions.values()) > 0.5
    fractions["CSF"] = 1 - fractions["GM"] - fractions["WM"]
    whole = {name: (values * mask).astype(np.float32) for name, values in fractions.items()}
    t1w = sum(CONTRASTS[name] * values for name, values in whole.items())
    noisy = (t1w + np.random.default_rng(seed).normal(0, noise, mask.shape)) * mask
    return Head(noisy.astype(np.float32), bias_field(mask.shape, affine), mask, whole, affine)
