"""The compiled loops of registration and segmentation, compared with scipy, plain numpy and automatic derivatives."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from bids_app.preprocess import _registration_loops as loops
from bids_app.preprocess import greedy, mixture

SHAPE = (11, 9, 13)
ROUNDING = 2e-5  # of sums of some hundred float32 values of about 1, in any order


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def noise(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


def sample(image, field):
    values, slopes = np.full(SHAPE, 9, np.float32), np.full((3, *SHAPE), 9, np.float32)
    loops.sample_image(image, field, values, slopes)
    return values, slopes


def places(field):
    return np.indices(field.shape[1:]) + field.astype(np.float64)


def outside(where, shape):
    """Whether a point (3, ...) has no voxel on one of its sides."""
    return np.logical_or.reduce([(at < 0) | (at >= size - 1) for at, size in zip(where, shape, strict=True)])


def test_sampled_values_are_those_of_linear_interpolation_and_0_outside(rng):
    """The image is on a larger grid than the field, as the moving one of the affine stage is."""
    image, field = noise(rng, 12, 14, 10), 3 * noise(rng, 3, *SHAPE)
    where = places(field)
    beyond = outside(where, image.shape)
    expected = np.where(beyond, 0, ndimage.map_coordinates(image.astype(np.float64), where, order=1, mode="nearest"))
    values, slopes = sample(image, field)
    assert 0.2 < beyond.mean() < 0.8
    np.testing.assert_allclose(values, expected, atol=ROUNDING)
    assert not slopes[:, beyond].any()


def test_sampled_slopes_are_numerical_differences_per_voxel(rng):
    image, field = noise(rng, *SHAPE), noise(rng, 3, *SHAPE)
    where = places(field)
    # interpolation is linear between planes of voxels, so that within a cell differences are exact
    fraction = where % 1
    within = ((fraction > 0.02) & (fraction < 0.98)).all(axis=0) & ~outside(where, SHAPE)
    _, slopes = sample(image, field)
    for axis in range(3):
        step = np.zeros((3, 1, 1, 1))
        step[axis] = 0.01
        up, down = (ndimage.map_coordinates(image.astype(np.float64), where + by, order=1) for by in (step, -step))
        np.testing.assert_allclose(slopes[axis][within], ((up - down) / 0.02)[within], atol=1e-4)


@pytest.mark.parametrize(("of_step", "of_field"), [(1.0, 1.0), (0.0, -1.0), (0.5, 2.0)])
def test_a_followed_field_is_interpolated_linearly_and_goes_on_beyond_its_border(rng, of_step, of_field):
    field, step = noise(rng, 3, *SHAPE), 3 * noise(rng, 3, *SHAPE)
    where = places(step)
    assert 0.2 < outside(where, SHAPE).mean() < 0.8
    at = [ndimage.map_coordinates(part.astype(np.float64), where, order=1, mode="nearest") for part in field]
    result = np.full_like(field, 9)
    loops.follow_field(field, step, of_step, of_field, result)
    # the last thousandth of a voxel before the border is not reached
    np.testing.assert_allclose(result, of_step * step + of_field * np.stack(at), atol=0.02)
    inner = ~outside(where + 0.01, SHAPE)
    np.testing.assert_allclose(result[:, inner], (of_step * step + of_field * np.stack(at))[:, inner], atol=ROUNDING)


@pytest.mark.parametrize("radius", [1, 2, 4])
def test_box_means_are_those_of_scipy_with_0_beyond_the_border(rng, radius):
    """The cube of radius 4 is as wide as the narrowest side of the image."""
    values = noise(rng, *SHAPE)
    result, expected = (
        np.empty_like(values),
        ndimage.uniform_filter(values.astype(float), 2 * radius + 1, mode="constant"),
    )
    loops.average_boxes(values, radius, np.empty_like(values), result)
    np.testing.assert_allclose(result, expected, atol=ROUNDING)


@pytest.mark.parametrize("taps", [1, 3, 6])
def test_smoothing_is_a_correlation_along_each_axis_whose_border_value_goes_on(rng, taps):
    values, half = noise(rng, *SHAPE), rng.uniform(0.1, 1, taps).astype(np.float32)
    expected = values.astype(np.float64)
    for axis in range(3):
        expected = ndimage.correlate1d(expected, np.r_[half[:0:-1], half].astype(float), axis, mode="nearest")
    loops.smooth_in_place(values, half, np.empty_like(values))
    np.testing.assert_allclose(values, expected, rtol=0, atol=ROUNDING * np.abs(expected).max())


# the direction in which the greedy registration climbs


def local_correlations(fixed, moved):
    """The sum of squared correlations of all cubes, by convolution in float64."""
    width = 2 * greedy.RADIUS + 1
    cube = torch.full((1, 1, width, width, width), 1 / width**3, dtype=torch.float64)

    def mean(image):
        return torch.conv3d(image[None, None], cube, padding=greedy.RADIUS)[0, 0]

    variances = [mean(image * image) - mean(image) ** 2 for image in (fixed, moved)]
    covariance = mean(fixed * moved) - mean(fixed) * mean(moved)
    defined = (variances[0] > greedy.LEAST_VARIANCE) & (variances[1] > greedy.LEAST_VARIANCE)
    return (covariance[defined] ** 2 / (variances[0] * variances[1])[defined]).sum()


def half_flat(rng):
    """A smooth image of noise beside a background of 0, as a brain is."""
    values = ndimage.gaussian_filter(rng.normal(size=(14, 12, 13)), 1)
    values = values / values.std() + 2
    values[:5] = 0
    return values.astype(np.float32)


def test_the_climb_is_along_the_derivative_of_the_sum_of_squared_local_correlations(rng):
    fixed, moving = half_flat(rng), half_flat(rng)
    moved = torch.tensor(moving, dtype=torch.float64, requires_grad=True)
    local_correlations(torch.tensor(fixed, dtype=torch.float64), moved).backward()
    slope = greedy.correlation_slope(fixed, moving, *greedy.local_moments(fixed))
    expected = moved.grad.numpy() / 2
    # variances are differences of float32 means, a thousand times more exact than the least variance
    np.testing.assert_allclose(slope, expected, atol=2e-3 * np.abs(expected).max())


@pytest.mark.parametrize("shape", [(16, 16, 16), (21, 17, 19)])
def test_steps_raise_the_correlation_of_noise_shifted_by_a_voxel_up_to_a_plateau(rng, shape):
    """Sides that are no multiple of the coarsest voxel are filled up, and the field has the grid of the images."""
    whole = ndimage.gaussian_filter(rng.normal(size=[side + 8 for side in shape]), 1.5)
    whole = (3 + whole / whole.std()).astype(np.float32)
    window = np.zeros(shape, np.float32)
    window[4:-4, 4:-4, 4:-4] = 1
    inner = [slice(4, 4 + side) for side in shape]
    fixed, moving = whole[tuple(inner)] * window, np.roll(whole, 1, 0)[tuple(inner)] * np.roll(window, 1, 0)
    sums = []
    for steps in (0, 1, 4, 16):
        field = greedy.register_greedy(fixed, moving, (steps,))
        assert field.shape == (3, *shape)
        moved = ndimage.map_coordinates(moving, places(field), order=1)
        sums.append(
            float(
                local_correlations(*(torch.tensor(image / fixed[fixed > 0].std()).double() for image in (fixed, moved)))
            )
        )
    assert sums[:3] == sorted(sums[:3])
    assert sums[3] > 0.99 * sums[2]  # a step is a voxel long somewhere, so that the last ones go round the best field
    assert sums[3] > 1.1 * sums[0]


# the mixture's posteriors


def plain_posteriors(values, priors, posteriors, means, variances, weights):
    """One step of mean field for a voxel at a time: Gaussian likelihood, prior of the class, share of neighbours."""
    classes = [(0,), (0, 1), (1,), (1, 2), (2,)]
    result = np.zeros_like(posteriors, dtype=np.float64)
    for place in np.argwhere(values >= 0):
        x = tuple(place)
        if min(place) == 0 or any(place == np.array(values.shape) - 1):
            continue
        unscaled = []
        for k, tissues in enumerate(classes):
            gaussian = np.exp(-((values[x] - means[k]) ** 2) / (2 * variances[k])) / np.sqrt(2 * np.pi * variances[k])
            prior = np.exp(np.mean([priors[(tissue, *x)] for tissue in tissues]))
            near = sum(
                weights[axis] * posteriors[(k, *(place + sign * np.eye(3, dtype=int)[axis]))]
                for axis in range(3)
                for sign in (-1, 1)
            )
            unscaled.append(gaussian * prior * np.exp(near))
        result[(slice(None), *x)] = np.array(unscaled) / np.sum(unscaled)
    return result


def test_posteriors_and_their_sums_are_those_of_the_formulas(rng):
    shape = (7, 6, 8)
    values = rng.uniform(-0.3, 1.5, shape).astype(np.float32)
    posteriors = rng.dirichlet(np.ones(5), shape).transpose(3, 0, 1, 2).astype(np.float32)
    priors = np.log(rng.dirichlet(np.ones(3), shape)).transpose(3, 0, 1, 2).astype(np.float32)
    posteriors, priors = map(np.ascontiguousarray, (posteriors, priors))
    means, variances = np.array([0.3, 0.5, 0.7, 0.85, 1.0]), np.array([0.01, 0.03, 0.02, 0.04, 0.015])
    weights = np.array([0.1, 0.3, 0.5])
    result, sums = np.zeros_like(posteriors), np.full((5, 3), 7.0)
    mixture.update_posteriors(values, priors, posteriors, means, variances, weights, result, sums)
    expected = plain_posteriors(values, priors, posteriors, means, variances, weights)
    assert 0.3 < expected.any(axis=0).mean() < 0.6  # the others are outside the mask or at the border
    np.testing.assert_allclose(result, expected, atol=ROUNDING)
    moments = [expected.reshape(5, -1) @ values.ravel().astype(float) ** power for power in range(3)]
    np.testing.assert_allclose(sums, np.transpose(moments), rtol=1e-5)
