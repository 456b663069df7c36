"""Simulated head motion, and the motion columns of fMRIPrep's tables.

Framewise displacement: Power et al., NeuroImage 59, 2142 (2012), doi:10.1016/j.neuroimage.2011.10.018.
The 24 columns: Friston et al., Magn Reson Med 35, 346 (1996), doi:10.1002/mrm.1910350312.
"""

import numpy as np
from scipy import ndimage

from bids_app.phantom.deformation import Array

AXES = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
HEAD_MM = 50.0
TURNED = np.diag([-1.0, 1.0, 1.0])
SLOW_MM, JITTER_MM = 0.25, 0.02
JERKS, JERK_MM = 0.03, 0.6  # the share of volumes with a sudden movement, and its size


def draw_parameters(volumes: int, rng: np.random.Generator) -> Array:
    """Six parameters (volumes, 6) of where the head is, mm and rad, 0 in the first volume; signs as in `rigid`.

    Slow drift, small jitter, and occasional sudden movements, half of which are reversed in the next volume.
    """
    noise = np.cumsum(rng.standard_normal((volumes, 6)), axis=0)
    wander = ndimage.gaussian_filter1d(noise, 3.0, axis=0, mode="nearest")
    wander *= SLOW_MM / np.maximum(np.abs(wander - wander[0]).max(axis=0), 1e-6) * rng.uniform(0.3, 1.0, 6)
    leaps = (rng.random((volumes, 1)) < JERKS) * rng.normal(0, JERK_MM, (volumes, 6)) * rng.uniform(0.2, 1.0, (1, 6))
    leaps[1:] -= leaps[:-1] / 2
    path = wander + np.cumsum(leaps, axis=0) + JITTER_MM * rng.standard_normal((volumes, 6))
    path[:, 3:] /= HEAD_MM
    moved: Array = path - path[0]
    return moved


def rigid_matrix(six: Array, centre: Array) -> Array:
    """The 4 x 4 matrix from the head's position in the first volume to the present one, in RAS+ world coordinates.

    `six` has fMRIPrep's signs, which are those of FSL's MCFLIRT: how the volume has to be moved back, along axes of
    which the first points to the left; rotated clockwise about `centre` (mm, world), about z, then y, then x.
    Jenkinson et al., NeuroImage 17, 825 (2002), doi:10.1006/nimg.2002.1132.
    """
    x, y, z = six[3:]
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    back = np.eye(4)
    back[:3, :3] = TURNED @ (about_x @ about_y @ about_z).T @ TURNED
    back[:3, 3] = centre - back[:3, :3] @ centre + TURNED @ six[:3]
    return np.asarray(np.linalg.inv(back), np.float64)


def framewise_displacement(six: Array) -> Array:
    """Framewise displacement (volumes,) in mm, rotations on a sphere of 50 mm; the first is NaN."""
    steps = np.abs(np.diff(six, axis=0)) * np.array([1, 1, 1, *[HEAD_MM] * 3])
    return np.concatenate([[np.nan], steps.sum(axis=1)])


def expand(six: Array) -> dict[str, Array]:
    """The 24 columns: parameters, their backward differences (the first NaN), and the squares of both."""
    columns: dict[str, Array] = {}
    for name, values in zip(AXES, six.T, strict=True):
        step = np.concatenate([[np.nan], np.diff(values)])
        columns |= {name: values, f"{name}_derivative1": step}
        columns |= {f"{name}_derivative1_power2": step**2, f"{name}_power2": values**2}
    return columns
