"""Samples of cubic B-splines, compared with SciPy's."""

import numpy as np
import pytest
from scipy import ndimage

from bids_app.preprocess.spline import Spline

SHAPE = (12, 15, 9)


@pytest.fixture(scope="module")
def volume():
    return np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)


def points_around(margin):
    random, last = np.random.default_rng(1), np.array(SHAPE) - 1
    return random.uniform(-margin, last + margin, (5000, 3)).astype(np.float32)


def test_samples_equal_those_of_scipy_within_the_volume_and_to_its_outer_faces(volume):
    points, matrix = points_around(0.3), np.eye(4)
    matrix[:3] = [[1, 0.01, 0, 0.1], [-0.01, 1, 0.005, -0.05], [0, 0.002, 1, 0.02]]
    voxels = matrix[:3, :3] @ points.T + matrix[:3, 3:]
    expected = ndimage.map_coordinates(volume, voxels, order=3, mode="mirror")
    values, seen = Spline(volume).sample(points, matrix, clip=False)
    last = np.array(SHAPE)[:, None] - 0.5
    assert (seen == ((voxels >= -0.5) & (voxels <= last)).all(axis=0)).all()
    assert 0.9 < seen.mean() < 1
    np.testing.assert_allclose(values[seen], expected[seen], atol=1e-5)
    assert not values[~seen].any()


def test_samples_beyond_the_volume_are_those_of_the_nearest_point_of_its_border(volume):
    points = points_around(6)
    expected = ndimage.map_coordinates(volume, points.T.clip(0, np.array(SHAPE)[:, None] - 1), order=3, mode="mirror")
    values, seen = Spline(volume).sample(points, np.eye(4), clip=True)
    np.testing.assert_allclose(values, expected, atol=1e-5)
    assert seen.mean() < 0.5


def test_samples_at_voxel_centres_are_the_values_themselves_whatever_the_order_in_memory(volume):
    points = np.argwhere(np.ones(SHAPE, bool)).astype(np.float32)
    for stored in (volume, np.asfortranarray(volume), volume[::-1][::-1]):
        values, _ = Spline(stored).sample(points, np.eye(4), clip=False)
        np.testing.assert_allclose(values, volume.ravel(), atol=1e-5)
