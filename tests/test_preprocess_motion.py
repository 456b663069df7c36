"""Motion of simulated heads is recovered; parameters and FD compared with explicit formulas."""

from pathlib import Path

import ants
import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from bids_app.atlases import templates
from bids_app.errors import DataError
from bids_app.preprocess import motion, rigid, transforms

CENTRE = np.array([0.0, -18.0, 10.0])
SHAPE, SIZES = (48, 54, 26), (4.0, 4.0, 4.5)
AFFINE = np.diag([*SIZES, 1.0])
AFFINE[:3, 3] = CENTRE - np.array(SIZES) * (np.array(SHAPE) - 1) / 2
NOISE = 1.5  # percent
DEGREE = np.pi / 180


@pytest.fixture(scope="module")
def brain():
    """The template's brain with the contrast of BOLD: spline coefficients at 2 mm, and their affine."""
    image = templates.brain("MNI152NLin2009cAsym")
    values = image.get_fdata(dtype=np.float32)
    bold = np.where(values > 0, 1.6 - values / np.percentile(values[values > 0], 90), 0).clip(0)
    coarse = ndimage.gaussian_filter(600 * bold, 1.3)[::2, ::2, ::2]
    return ndimage.spline_filter(coarse, output=np.float32), image.affine @ np.diag([2, 2, 2, 1])


def moved(six):
    """The world matrix that takes the head to where it is, from its translations (mm) and turns (rad), all RAS+."""
    x, y, z = six[3:]
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = about_x @ about_y @ about_z
    matrix[:3, 3] = CENTRE - matrix[:3, :3] @ CENTRE + six[:3]
    return matrix


def scanned(brain, matrix, rng, *, brightness=1.0):
    """A noisy volume of the head after it moved."""
    coefficients, affine = brain
    points = np.linalg.inv(affine) @ np.linalg.inv(matrix) @ AFFINE
    voxels = points[:3, :3] @ np.indices(SHAPE).reshape(3, -1) + points[:3, 3:]
    values = ndimage.map_coordinates(coefficients, voxels, prefilter=False).reshape(SHAPE)
    return (brightness * values + rng.normal(scale=NOISE / 100 * 500, size=SHAPE)).astype(np.float32)


def run_of(brain, sixes, *, brightness=None):
    rng = np.random.default_rng(0)
    bright = np.ones(len(sixes)) if brightness is None else brightness
    volumes = [scanned(brain, moved(six), rng, brightness=each) for six, each in zip(sixes, bright, strict=True)]
    return np.stack(volumes, axis=3)


def wrong_by(result, true):
    """Largest distance in mm of points of the head, and angle in degrees, between two matrices."""
    points = CENTRE[:, None] + 50 * np.random.default_rng(1).uniform(-1, 1, (3, 100))
    apart = (result - true)[:3, :3] @ points + (result - true)[:3, 3:]
    turn = result[:3, :3] @ true[:3, :3].T
    return np.linalg.norm(apart, axis=0).mean(), np.rad2deg(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1)))


def by_hand(six):
    """fMRIPrep's parameters of a head moved by small turns: volume onto reference, x to the left, x-turns negated."""
    back = np.linalg.inv(moved(six))
    return [-back[0, 3], back[1, 3], back[2, 3], -back[2, 1], back[0, 2], back[1, 0]]


@pytest.mark.parametrize("size", [0.3, 1.5, 6.0])
def test_motion_is_recovered_within_0_1_mm_and_0_1_degree(brain, tmp_path, size):
    rng = np.random.default_rng(2)
    sixes = [np.zeros(6), *(size * rng.uniform(-1, 1, (4, 6)) * [1, 1, 1, DEGREE, DEGREE, DEGREE])]
    data = run_of(brain, sixes)
    result = motion.estimate(data, AFFINE, data[..., 0], folder=str(tmp_path))
    for file, six in zip(result.files, sixes, strict=True):
        distance, angle = wrong_by(transforms.read_matrix(Path(file)), moved(six))
        assert distance < 0.1, (size, distance)
        assert angle < 0.1, (size, angle)


@pytest.mark.parametrize(
    "six", [[20, -15, 10, 0, 0, 0], [0, 0, 0, 15 * DEGREE, 0, 0], [-10, 5, 12, -8 * DEGREE, 6 * DEGREE, 14 * DEGREE]]
)
def test_a_head_that_jumps_by_centimetres_and_back_is_followed(brain, tmp_path, six):
    sixes = [np.zeros(6), np.array(six), np.zeros(6)]
    data = run_of(brain, sixes)
    result = motion.estimate(data, AFFINE, data[..., 0], folder=str(tmp_path))
    for file, true in zip(result.files, sixes, strict=True):
        distance, angle = wrong_by(transforms.read_matrix(Path(file)), moved(true))
        assert distance < 0.2
        assert angle < 0.2


@pytest.mark.parametrize("slices", [4, 6, 8])
def test_a_slab_of_few_slices_is_aligned_within_it(brain, tmp_path, slices):
    sixes = [np.zeros(6), np.array([0.8, -0.5, 0, 0, 0, 1 * DEGREE])]
    data = np.ascontiguousarray(run_of(brain, sixes)[:, :, 10 : 10 + slices])
    affine = AFFINE @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 10], [0, 0, 0, 1]])
    result = motion.estimate(data, affine, data[..., 0], folder=str(tmp_path))
    distance, angle = wrong_by(transforms.read_matrix(Path(result.files[1])), moved(sixes[1]))
    assert distance < 0.3
    assert angle < 0.3


def test_motionless_head_has_negligible_framewise_displacement(brain, tmp_path):
    data = run_of(brain, np.zeros((4, 6)))
    reference = run_of(brain, np.zeros((1, 6)))[..., 0]
    result = motion.estimate(data, AFFINE, reference, folder=str(tmp_path))
    assert np.nanmax(motion.displacement(result.parameters)) < 0.06


def test_brightness_changes_are_not_interpreted_as_motion(brain, tmp_path):
    data = run_of(brain, np.zeros((3, 6)), brightness=[1, 0.9, 1.2])
    result = motion.estimate(data, AFFINE, data[..., 0], folder=str(tmp_path))
    assert np.abs(result.parameters[:, :3]).max() < 0.05


def test_the_same_seed_gives_the_same_motion(brain, tmp_path):
    data = run_of(brain, [np.zeros(6), np.full(6, 0.01)])
    both = [motion.estimate(data, AFFINE, data[..., 0], folder=str(tmp_path)).parameters for _ in range(2)]
    np.testing.assert_array_equal(*both)


def test_reference_is_less_noisy_than_and_aligned_with_the_middle_volume(brain, tmp_path):
    sixes = np.zeros((5, 6))
    sixes[0, 0], sixes[4, 5] = 2.0, 2 * DEGREE
    data = run_of(brain, sixes)
    result = motion.reference(data, AFFINE)
    rng = np.random.default_rng(0)
    clean = scanned(brain, np.eye(4), rng) - np.random.default_rng(0).normal(scale=NOISE / 100 * 500, size=SHAPE)
    inner = ndimage.binary_erosion(clean > 200, iterations=2)
    assert np.std((result - clean)[inner]) < 0.7 * np.std((data[..., 2] - clean)[inner])
    assert list(tmp_path.iterdir()) == []


def test_empty_run_is_refused(tmp_path):
    with pytest.raises(DataError, match="no head was found"):
        motion.reference(np.zeros((*SHAPE, 3), np.float32), AFFINE)


def test_motion_parameters_follow_the_fmriprep_signs_and_order():
    for six in 0.01 * np.eye(6):
        result = motion.parameters([moved(six)], AFFINE, centre=np.zeros(3))[0]
        np.testing.assert_allclose(result, by_hand(six), atol=2e-5)


def test_rotations_are_about_the_given_centre():
    turned = motion.parameters([moved([0, 0, 0, 0, 0, 3 * DEGREE])], AFFINE, centre=CENTRE)[0]
    np.testing.assert_allclose(turned, [0, 0, 0, 0, 0, -3 * DEGREE], atol=1e-9)


def test_motion_parameters_of_an_oblique_image_follow_the_image_axes():
    tilted = np.eye(4)
    tilted[:3, :3] = moved([0, 0, 0, 0.4, 0, 0])[:3, :3]
    step = tilted[:3, :3] @ [0, 0, 2.0]  # two millimetres along the third axis
    matrix = np.eye(4)
    matrix[:3, 3] = -step
    np.testing.assert_allclose(motion.parameters([matrix], tilted @ AFFINE, centre=CENTRE)[0][:3], [0, 0, 2], atol=1e-9)


def test_framewise_displacement_matches_the_formula():
    six = np.random.default_rng(3).normal(size=(6, 6)) * [1, 1, 1, 0.01, 0.01, 0.01]
    result = motion.displacement(six)
    assert np.isnan(result[0])
    for time in range(1, 6):
        step = [abs(six[time][k] - six[time - 1][k]) for k in range(6)]
        assert result[time] == pytest.approx(sum(step[:3]) + 50 * sum(step[3:]))


def test_matrix_survives_a_file_round_trip_and_is_applied_correctly_by_ants(tmp_path):
    matrix = moved([3, -2, 1, 0.1, -0.05, 0.2])
    transforms.write_matrix(matrix, tmp_path / "move.mat")
    np.testing.assert_allclose(transforms.read_matrix(tmp_path / "move.mat"), matrix, atol=1e-5)
    values = np.zeros(SHAPE, np.float32)
    values[20:24, 25:29, 12:15] = 1
    image = transforms.to_ants(ndimage.gaussian_filter(values, 2), AFFINE)
    warped = ants.apply_transforms(image, image, [str(tmp_path / "move.mat")]).numpy()
    before, after = (rigid.centre_of_mass(each, AFFINE) for each in (image.numpy(), warped))
    np.testing.assert_allclose(nib.affines.apply_affine(matrix, after), before, atol=0.05)


def test_realigned_series_vary_little_more_than_the_noise(brain, tmp_path):
    sixes = np.zeros((3, 6))
    sixes[1], sixes[2] = [2, 1, -1, 0, 0, 3 * DEGREE], [0, 0, 3, 2 * DEGREE, 0, 0]
    data = run_of(brain, sixes)
    files = [str(tmp_path / f"{number}.mat") for number in range(3)]
    for file, six in zip(files, sixes, strict=True):
        transforms.write_matrix(moved(six), Path(file))
    mask = ndimage.binary_erosion(data[..., 0] > 200, iterations=3)
    held = motion.series(data, AFFINE, files, mask)
    assert held.shape == (mask.sum(), 3)
    np.testing.assert_allclose(held[:, 0], data[..., 0][mask], atol=0.1)
    left, before = ((values - values[:, :1])[:, 1:].std() for values in (held, data[mask]))
    assert left < 3 * NOISE / 100 * 500
    assert before > 3 * left


def test_a_transform_is_required_for_every_volume():
    with pytest.raises(DataError, match="1 transforms for 2 volumes"):
        motion.series(np.ones((4, 4, 4, 2), np.float32), np.eye(4), ["one.mat"], np.ones((4, 4, 4), bool))


def test_refinement_leaves_volumes_without_overlap_unchanged_and_stays_finite(brain):
    rng = np.random.default_rng(5)
    volume = scanned(brain, np.eye(4), rng)
    fixed = rigid.prepare(volume, volume > 150, AFFINE)
    noise = rng.normal(size=SHAPE).astype(np.float32)
    far = moved([60, 0, 0, 0, 0, 0])
    outside = moved([900, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(rigid.refine(fixed, noise, outside), outside)
    assert np.isfinite(rigid.refine(fixed, noise, far)).all()
