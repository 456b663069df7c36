"""The fast registration, compared with transforms by which its images were simulated."""

import os
import subprocess
import sys
from pathlib import Path

import ants
import nibabel as nib
import numpy as np
import pytest
import simulated_heads
from scipy import ndimage

from bids_app.phantom import anatomy, deformation
from bids_app.phantom.deformation import transform
from bids_app.preprocess import conform, greedy, normalise, transforms
from bids_app.preprocess.affine import register_affine

MM = 2.0  # the voxels of the target
SHEARED = np.array([[0.92, 0.05, 0.0], [0.0, 1.08, 0.0], [-0.04, 0.0, 1.03]])
SHIFT = (12.0, -12.0, 10.6)  # 20 mm
FRONT = (0.0, 1.0, 0.0)
MARKS = np.array([[-42.0, -20.0, 8.0], [36.0, 24.0, -10.0], [10.0, -70.0, 30.0]]).T  # mm, two on the right


@pytest.fixture(scope="module")
def target():
    return simulated_heads.template(MM)


def as_matrix(rotation, scale=SHEARED, shift=SHIFT):
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation @ scale, shift
    return matrix


def centre(matrix):
    return transform(np.array([[0.0], [-20.0], [10.0]]), matrix)[:, 0]


def brain_points(target):
    values, affine = target
    return simulated_heads.world(values.shape, affine)[:, (values > 0).ravel()]


def farthest(one, other, points):
    """The largest distance, mm, between where two matrices take points."""
    return np.linalg.norm(transform(points, one) - transform(points, other), axis=0).max()


@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (-1, 2, -3)], ids=["nod", "tilt", "turn", "oblique"])
def test_a_known_affine_is_recovered_on_an_oblique_grid_of_unlike_voxel_sides(target, axis):
    """Within 0.1 mm, a twentieth of the target's voxel: both images are interpolated."""
    matrix = as_matrix(simulated_heads.rotated(15, axis))
    shape, affine = simulated_heads.oblique_grid(centre(matrix), (1.0, 1.5, 2.5))
    moving = simulated_heads.posed(matrix, shape, affine)
    result = register_affine(target[0], moving, target[1], affine)
    assert farthest(result, matrix, brain_points(target)) < 0.1


@pytest.mark.parametrize("degrees", [-25, 25])
@pytest.mark.parametrize("axis", [(1, 0, 0), FRONT, (1, 1, 0)], ids=["nod", "tilt", "both"])
def test_a_head_at_25_degrees_is_registered(target, axis, degrees):
    matrix = as_matrix(simulated_heads.rotated(degrees, axis), scale=np.eye(3))
    shape, affine = simulated_heads.oblique_grid(centre(matrix), (3.0, 3.0, 3.0), degrees=0)
    moving = simulated_heads.posed(matrix, shape, affine)
    result = register_affine(target[0], moving, target[1], affine)
    assert farthest(result, matrix, brain_points(target)) < 0.2


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_order_of_voxels_does_not_matter_and_left_stays_left(target, axis):
    """A mirror image of the voxels would fit nearly as well: the brain is nearly symmetric."""
    matrix = as_matrix(simulated_heads.rotated(10, FRONT))
    shape, affine = simulated_heads.oblique_grid(centre(matrix), (2.5, 2.5, 2.5), degrees=5)
    moving = simulated_heads.posed(matrix, shape, affine)
    backwards = affine.copy()
    backwards[:3, axis] *= -1
    backwards[:3, 3] += affine[:3, axis] * (shape[axis] - 1)
    result = register_affine(target[0], np.ascontiguousarray(np.flip(moving, axis)), target[1], backwards)
    assert np.linalg.det(result[:3, :3]) > 0
    assert farthest(result, matrix, brain_points(target)) < 0.1


def test_a_mirrored_brain_is_not_mirrored_back(target):
    shape, affine = simulated_heads.oblique_grid((0.0, -20.0, 10.0), (2.5, 2.5, 2.5), degrees=0)
    moving = simulated_heads.posed(np.diag([-1.0, 1.0, 1.0, 1.0]), shape, affine)
    result = register_affine(target[0], moving, target[1], affine)
    np.testing.assert_allclose(result[:3, :3], np.eye(3), atol=0.05)


# greedy


def test_fields_are_taken_to_voxels_of_half_the_size_linearly():
    field = np.random.default_rng(0).normal(size=(3, 5, 4, 6)).astype(np.float32)
    expected = [2 * ndimage.zoom(part, 2, order=1, grid_mode=True, mode="nearest") for part in field]
    np.testing.assert_allclose(greedy.double_resolution(field), expected, atol=1e-5)


@pytest.fixture(scope="module", params=[0, 1])
def warped(request, target):
    """The template's brain, the same deformed by a known field of 2.6 mm in the median, and both fields, in voxels."""
    values, affine = target
    box = conform.find_box(values > 0, (0, 0, 0))
    fixed, affine = np.pad(values[box], 8), affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [part.start - 8 for part in box]
    rng = np.random.default_rng(request.param)
    velocity = deformation.random_velocity(fixed.shape, rng, voxel_mm=MM, smoothness_mm=10.0, rms_mm=3.0)
    known = deformation.exponential(velocity)
    points = transform((deformation.positions(fixed.shape) + known).reshape(3, -1), affine)
    moving = simulated_heads.sampled(*simulated_heads.template(), points).reshape(fixed.shape)
    return fixed, known, greedy.register_greedy(fixed, moving.astype(np.float32), normalise.GREEDY_FINE)


def test_a_known_diffeomorphism_is_recovered_to_a_third_of_a_voxel(warped):
    """The moving image is that at x + known(x), so that the field leads back.

    Inside white matter there is nothing to see, hence quantiles.
    """
    fixed, known, field = warped
    before, after = (np.linalg.norm(error, axis=0)[fixed > 0] for error in (known, deformation.compose(field, known)))
    print("error, voxels: median, 0.9, 0.99", np.quantile(after, (0.5, 0.9, 0.99)), "before", np.median(before))
    assert np.median(before) > 1.2
    assert np.median(after) < 0.33
    assert np.quantile(after, 0.9) < 1


def test_a_field_has_no_folds(warped):
    assert deformation.jacobian(warped[2]).min() > 0.1


def test_a_field_after_its_inverse_is_the_identity(warped):
    """The other way round the inverse is interpolated where it bends: some hundredths of a voxel."""
    field = warped[2]
    inverse = greedy.invert(field)
    assert np.abs(deformation.compose(inverse, field)).max() < 1e-3
    assert np.quantile(np.abs(deformation.compose(field, inverse)), 0.999) < 0.06


def test_an_image_stays_where_it_is_on_itself(target):
    """Each step is as long as a voxel somewhere, even where only rounding is left, so that a few voxels may move."""
    values = np.pad(target[0][::2, ::2, ::2], 4)
    moved = np.linalg.norm(greedy.register_greedy(values, values, (30, 20)), axis=0)[values > 0]
    assert np.median(moved) < 0.002
    assert np.quantile(moved, 0.99) < 0.1


# the transforms that are written


@pytest.fixture(scope="module")
def participant(tmp_path_factory):
    """A deformed brain on an oblique grid, where the marks are in it, and the files of two registrations."""
    folder = tmp_path_factory.mktemp("registered")
    brain = anatomy.prepare(*simulated_heads.template(), resolution_mm=2.0)
    field = anatomy.draw_shape(brain, np.random.default_rng(5))
    pose = as_matrix(simulated_heads.rotated(12))
    shape, affine = simulated_heads.oblique_grid(centre(pose), (1.6, 2.0, 2.4))
    values = anatomy.sample_brain(brain, [field], np.linalg.inv(pose), shape, affine)
    deformed = MARKS.copy()
    for _ in range(50):  # the inverse of the pull-back
        deformed = deformed + MARKS - field.source(deformed)
    native = transforms.to_ants(values, affine)
    fixed = transforms.to_ants(*simulated_heads.template(MM))
    warps = [
        normalise.register(fixed, native, folder=str(folder), name=name, seed=seed, sloppy=False, method="fast")
        for name, seed in (("one", 1), ("other", 2))
    ]
    return fixed, native, transform(deformed, pose), warps


def blob(grid, point):
    """A soft ball round a world point on the grid of an ANTsImage, wide enough not to fall between voxels."""
    affine = transforms.world_affine(grid)
    distance = np.linalg.norm(simulated_heads.world(grid.shape, affine) - point[:, None], axis=0)
    return grid.new_image_like(np.exp(-(distance**2) / (2 * 4.0**2)).reshape(grid.shape).astype(np.float32))


def place(image):
    """The centre of mass in the world."""
    voxel = ndimage.center_of_mass(image.numpy())
    return transform(np.array(voxel)[:, None], transforms.world_affine(image))[:, 0]


# an affine cannot follow a deformation of some 2 mm; the nonlinear one is right to a voxel
@pytest.mark.parametrize(("kind", "least_mm"), [("affine", 5.0), ("nonlinear", 2.0)])
@pytest.mark.parametrize("mark", range(MARKS.shape[1]))
def test_marked_points_are_taken_to_the_template_and_back(participant, kind, least_mm, mark):
    fixed, native, in_native, warps = participant
    files, there, here = warps[0][kind], MARKS[:, mark], in_native[:, mark]
    forward = ants.apply_transforms(fixed, blob(native, here), files.forward)
    inverse = ants.apply_transforms(native, blob(fixed, there), files.inverse, whichtoinvert=files.invert)
    assert np.linalg.norm(here - there) > 8  # without a transform it would be there
    assert np.linalg.norm(place(forward) - there) < least_mm
    assert np.linalg.norm(place(inverse) - here) < least_mm


def test_the_fixed_image_may_be_oblique(participant, tmp_path):
    """Displacements in its voxels are turned by 60 degrees to be those of the world."""
    fixed, native, in_native, _ = participant
    middle = in_native.mean(axis=1)
    shape, affine = simulated_heads.oblique_grid(middle, (3.0, 3.0, 3.0), degrees=60, axis=(0, 0, 1))
    turned = ants.apply_transforms(transforms.to_ants(np.zeros(shape, np.float32), affine), native, [])
    options = {"folder": str(tmp_path), "name": "back", "seed": 1, "sloppy": True, "method": "fast"}
    unlike = {}
    for kind, files in normalise.register(turned, fixed, **options).items():
        moved = ants.apply_transforms(turned, fixed, files.forward).numpy()
        unlike[kind] = 1 - np.corrcoef(moved.ravel(), turned.numpy().ravel())[0, 1]
    print(unlike)
    assert unlike["nonlinear"] < 0.5 * unlike["affine"]


def test_the_inverse_undoes_the_forward_transform(participant):
    fixed, native, in_native, warps = participant
    files = warps[0]["nonlinear"]
    for point in in_native.T:
        forward = ants.apply_transforms(fixed, blob(native, point), files.forward)
        back = ants.apply_transforms(native, forward, files.inverse, whichtoinvert=files.invert)
        assert np.linalg.norm(place(back) - point) < 0.1


def test_the_written_warp_has_no_folds(participant):
    fixed, _, _, warps = participant
    points = transforms.follow(warps[0]["nonlinear"].forward, fixed)
    assert transforms.jacobian(points, transforms.world_affine(fixed)).min() > 0.1


def test_two_registrations_with_other_seeds_give_files_that_are_equal_to_the_last_bit(participant):
    one, other = ([file for kind in warps.values() for file in kind.forward + kind.inverse] for warps in participant[3])
    for first, second in zip(one, other, strict=True):
        assert first != second
        if first.endswith(".mat"):
            assert Path(first).read_bytes() == Path(second).read_bytes()
        else:
            np.testing.assert_array_equal(*(np.asarray(nib.load(file).dataobj) for file in (first, second)))


@pytest.mark.slow
def test_the_number_of_threads_changes_nothing(participant, tmp_path):
    fixed, native, _, _ = participant
    for name, image in (("fixed", fixed), ("native", native)):
        ants.image_write(image, str(tmp_path / f"{name}.nii.gz"))
    code = (
        "import ants, sys; from bids_app.preprocess import normalise\n"
        "images = [ants.image_read(f'{name}.nii.gz') for name in ('fixed', 'native')]\n"
        "normalise.register(*images, folder='.', name=sys.argv[1], seed=1, sloppy=True, method='fast')"
    )
    for threads in ("1", "2"):
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        environment["PYTHONPATH"] = str(Path(normalise.__file__).parents[2])
        subprocess.run([sys.executable, "-c", code, threads], cwd=tmp_path, env=environment, check=True)
    for part in ("affine.mat", "warp.nii.gz", "inversewarp.nii.gz"):
        assert (tmp_path / f"1_{part}").read_bytes() == (tmp_path / f"2_{part}").read_bytes()


def test_the_field_is_0_at_the_border_of_its_grid(participant):
    """ITK takes it for 0 beyond, and a jump would fold; the template's brain is only two voxels from its border."""
    field = np.asarray(nib.load(participant[3][0]["nonlinear"].forward[0]).dataobj)[..., 0, :]
    for axis in range(3):
        for end in (0, -1):
            assert not field.take(end, axis).any()
    target = participant[0].numpy() > 0
    assert conform.find_box(target, (0, 0, 0))[2].start == 2
    assert field.shape[2] > target.shape[2] - 14
