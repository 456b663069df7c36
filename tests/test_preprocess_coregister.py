"""BOLD to T1w and template: a known position is recovered, all transforms in one interpolation."""

from functools import partial
from pathlib import Path

import ants
import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from bids_app.atlases import templates
from bids_app.errors import DataError
from bids_app.preprocess import bold, confounds, coregister, motion, transforms

TR = 2.0


def turned(degrees, shift):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    matrix[:3, 3] = shift
    return matrix


@pytest.fixture(scope="module")
def person():
    """A T1w of 2 mm, its mask, and the same head's BOLD coefficients: other contrast, blur, a shading, a dropout."""
    image = templates.brain("MNI152NLin2009cAsym")
    values = ndimage.gaussian_filter(image.get_fdata(dtype=np.float32), 0.8)[::2, ::2, ::2]
    affine = image.affine @ np.diag([2, 2, 2, 1])
    mask = values > 10
    contrast = np.where(mask, 1.6 - values / np.percentile(values[mask], 90), 0).clip(0)
    x, y, z = np.indices(values.shape)
    shading = 1 + 0.4 * (x / values.shape[0] - 0.5)
    dropout = 1 - 0.9 * np.exp(-((x - 48) ** 2 + (y - 88) ** 2 + (z - 25) ** 2) / 60)
    bright = 600 * ndimage.gaussian_filter(contrast * shading * dropout, 0.7)
    t1w, t1w_mask = (transforms.to_ants(each.astype(np.float32), affine) for each in (values, mask))
    return t1w, t1w_mask, ndimage.spline_filter(bright, output=np.float32), affine


def reference_of(person, place, *, shape=(52, 60, 34), size=(4.0, 4.0, 4.5)):
    """The BOLD reference on its grid, whose points are those of the T1w after `place`."""
    affine = np.diag([*size, 1.0])
    affine[:3, 3] = [0, -18, 10] - np.array(size) * (np.array(shape) - 1) / 2
    points = np.linalg.inv(person[3]) @ place @ affine
    voxels = points[:3, :3] @ np.indices(shape).reshape(3, -1) + points[:3, 3:]
    values = ndimage.map_coordinates(person[2], voxels, prefilter=False).reshape(shape)
    return (values + np.random.default_rng(0).normal(scale=4, size=shape)).clip(0.1).astype(np.float32), affine


@pytest.mark.parametrize(
    "place", [turned([0, 0, 0], [0, 0, 0]), turned([6, -4, 8], [7, -5, 9]), turned([0, 12, 0], [-30, 25, 40])]
)
def test_bold_reference_is_registered_to_the_t1w_within_1_mm(person, tmp_path, place):
    reference, affine = reference_of(person, place)
    result = coregister.register(reference, affine, *person[:2], folder=str(tmp_path), seed=1)
    # the file takes points of the T1w to those of the BOLD
    apart = np.linalg.inv(transforms.read_matrix(Path(result.transform))) - place
    points = np.random.default_rng(1).uniform([-60, -90, -40], [60, 60, 70], (200, 3)).T
    here = np.linalg.inv(place)[:3, :3] @ points + np.linalg.inv(place)[:3, 3:]
    assert np.linalg.norm(apart[:3, :3] @ here + apart[:3, 3:], axis=0).mean() < 1.0
    assert result.overlap > 0.85
    assert [file.name for file in tmp_path.iterdir()] == ["bold-to-t1w.mat"]


def test_failed_coregistration_is_refused(person, tmp_path):
    _, affine = reference_of(person, np.eye(4))
    ball = np.full((52, 60, 34), 1, np.float32)
    ball[20:29, 20:29, 10:19] = 500 + 50 * np.random.default_rng(0).normal(size=(9, 9, 9))
    with pytest.raises(DataError, match="coregistration of the BOLD run and the T1w image failed"):
        coregister.register(ball, affine, *person[:2], folder=str(tmp_path), seed=1)


def test_tissue_resampled_to_the_bold_grid_keeps_the_volume(person, tmp_path):
    reference, affine = reference_of(person, np.eye(4))
    half = person[1].new_image_like(person[1].numpy() * (np.indices(person[1].shape)[0] < 50))
    transforms.write_matrix(np.eye(4), tmp_path / "still.mat")
    probabilities = {"GM": half}
    result = coregister.resample_tissues_to_bold(
        transforms.to_ants(reference, affine), probabilities, str(tmp_path / "still.mat")
    )["GM"]
    assert result.sum() * 4 * 4 * 4.5 == pytest.approx(half.sum() * 8, rel=0.01)
    assert result.min() >= 0
    assert result.max() <= 1


GRID, GRID_AFFINE = (16, 18, 14), np.array([[3.0, 0, 0, -24], [0, 3, 0, -26], [0, 0, 3, -20], [0, 0, 0, 1]])
to_template = partial(bold.to_template, inside=np.ones(GRID, bool))
FIELD_OF_VIEW = np.array([[3.5, 0, 0, -52], [0, 3.5, 0, -54], [0, 0, 4, -48], [0, 0, 0, 1]])


def composed(tmp_path):
    """Files of two volumes' motion, of BOLD to T1w, of T1w to template (a warp and an affine), and what they do."""
    moves = [turned([0, 0, 0], [0, 0, 0]), turned([2, -3, 4], [1, 2, -1.5])]
    to_t1w, stretched = turned([5, 0, -6], [3, -2, 4]), turned([-4, 3, 2], [1, 1, -2]) @ np.diag([1.1, 0.95, 1.05, 1])
    for name, matrix in {"m0": moves[0], "m1": moves[1], "t1w": to_t1w, "affine": stretched}.items():
        transforms.write_matrix(matrix, tmp_path / f"{name}.mat")
    grid = transforms.to_ants(np.zeros(GRID), GRID_AFFINE)
    shifts = ndimage.gaussian_filter(np.random.default_rng(4).normal(size=(*GRID, 3)), (2, 2, 2, 0)) * 40
    geometry = {"origin": grid.origin, "spacing": grid.spacing, "direction": grid.direction}
    warp = ants.from_numpy(shifts.astype(np.float32), has_components=True, **geometry)
    ants.image_write(warp, str(tmp_path / "warp.nii.gz"))
    files = {name: str(tmp_path / f"{name}.mat") for name in ("m0", "m1", "t1w", "affine")}
    points = GRID_AFFINE[:3, :3] @ np.indices(GRID).reshape(3, -1) + GRID_AFFINE[:3, 3:]
    points = points + shifts.reshape(-1, 3).T * [[-1], [-1], [1]]  # a field of ITK's has x and y the other way round
    places = []
    for move in moves:
        whole = move @ to_t1w @ stretched
        places.append(whole[:3, :3] @ points + whole[:3, 3:])
    return grid, files, [str(tmp_path / "warp.nii.gz"), files["affine"]], places


def brought(tmp_path, values):
    grid, files, warps, places = composed(tmp_path)
    run, moved = bold.make_image(values, FIELD_OF_VIEW, tr=TR), [files["m0"], files["m1"]]
    path = tmp_path / "template.nii.gz"
    to_template(run, moved, files["t1w"], warps, grid, path)
    return nib.load(path), places


def test_all_transforms_are_applied_in_one_interpolation(tmp_path):
    values = ndimage.gaussian_filter(np.random.default_rng(5).normal(size=(30, 31, 24, 2)), (1, 1, 1, 0)) * 100
    result, places = brought(tmp_path, values.astype(np.float32))
    assert result.get_data_dtype() == np.float32
    assert result.header.get_zooms() == pytest.approx((3, 3, 3, TR))
    np.testing.assert_allclose(result.affine, GRID_AFFINE, atol=1e-4)
    back = np.linalg.inv(FIELD_OF_VIEW)
    for number, points in enumerate(places):
        voxels = back[:3, :3] @ points + back[:3, 3:]
        expected = ndimage.map_coordinates(values[..., number], voxels, order=3, mode="mirror").reshape(GRID)
        there = np.asarray(result.dataobj)[..., number]
        assert np.abs(there - expected).max() < 0.01 * values.std()


def test_constant_run_stays_constant_in_template_space(tmp_path):
    result, _ = brought(tmp_path, np.full((30, 31, 24, 2), 700, np.float32))
    np.testing.assert_allclose(np.asarray(result.dataobj), 700, rtol=1e-5)


def test_only_voxels_inside_the_mask_are_computed(tmp_path):
    values = np.full((30, 31, 24, 2), 700, np.float32)
    grid, files, warps, _ = composed(tmp_path)
    run, path = bold.make_image(values, FIELD_OF_VIEW, tr=TR), tmp_path / "out.nii"
    inside = np.random.default_rng(6).random(GRID) < 0.3
    moved = [files["m0"], files["m1"]]
    bold.to_template(run, moved, files["t1w"], warps, grid, path, inside=inside)
    result = np.asarray(nib.load(path).dataobj)
    np.testing.assert_allclose(result[inside], 700, rtol=1e-5)
    assert not result[~inside].any()


def test_a_transform_is_required_for_every_volume(tmp_path):
    grid, files, warps, _ = composed(tmp_path)
    run = bold.make_image(np.ones((12, 14, 10, 20), np.float32), FIELD_OF_VIEW, tr=TR)
    with pytest.raises(DataError, match="1 transforms for 20 volumes"):
        to_template(run, [files["m0"]], files["t1w"], warps, grid, tmp_path / "x.nii")


def test_field_of_view_excludes_voxels_missed_by_a_volume(tmp_path):
    values = np.full((30, 31, 24, 2), 700, np.float32)
    grid, files, warps, places = composed(tmp_path)
    transforms.write_matrix(turned([0, 0, 0], [0, 0, 45]), tmp_path / "m1.mat")
    run = bold.make_image(values, FIELD_OF_VIEW, tr=TR)
    both = [files["m0"], str(tmp_path / "m1.mat")]
    to_template(run, both, files["t1w"], warps, grid, tmp_path / "out.nii")
    result = bold.field_of_view(nib.load(tmp_path / "out.nii"))
    beyond = places[0][2].reshape(GRID) + 45 - (FIELD_OF_VIEW[2, 3] + 4 * 23.5)  # mm above the last voxel's upper face
    assert result[beyond < -0.1].all()
    assert not result[beyond > 0.1].any()
    assert 0.1 < result.mean() < 0.9


def test_full_bold_pipeline_recovers_motion_and_reduces_temporal_changes(person, tmp_path):
    t1w, t1w_mask = person[:2]
    place, steps = turned([3, -2, 4], [4, -3, 5]), [0.0, 1.0, -0.5, 2.0, 0.0, 1.5]
    moves = [turned([0, 0, 0], [step, -step, 0]) for step in steps]
    volumes = [reference_of(person, place @ np.linalg.inv(move))[0] for move in moves]
    affine = reference_of(person, place)[1]
    bold.make_image(np.stack(volumes, axis=3), affine, tr=TR).to_filename(tmp_path / "bold.nii.gz")
    prepared = bold.prepare(tmp_path / "bold.nii.gz", folder=str(tmp_path), tr=TR, dummies=0)
    run = nib.load(prepared.timed)
    data = np.asarray(run.dataobj)
    reference = motion.reference(data, run.affine)
    moved = motion.estimate(data, run.affine, reference, folder=str(tmp_path))
    there = coregister.register(reference, run.affine, t1w, t1w_mask, folder=str(tmp_path), seed=1)
    bright = t1w.numpy() / np.percentile(t1w.numpy()[t1w_mask.numpy() > 0], 90)
    parts = {"CSF": bright <= 0.5, "GM": (bright > 0.5) & (bright <= 0.85), "WM": bright > 0.85}
    probabilities = {name: t1w_mask * t1w.new_image_like(part.astype(np.float32)) for name, part in parts.items()}
    result = coregister.resample_tissues_to_bold(
        transforms.to_ants(reference, run.affine), probabilities, there.transform
    )
    masks = confounds.masks(result, there.brain)
    held = motion.series(data, run.affine, moved.files, there.brain)
    frame, _ = confounds.table(held, there.brain, masks, parameters=moved.parameters, tr=TR)
    np.testing.assert_allclose(frame["framewise_displacement"][1:], 2 * np.abs(np.diff(steps)), atol=0.1)
    grid = ants.resample_image(t1w, (4, 4, 4), use_voxels=False, interp_type=0)
    transforms.write_matrix(np.eye(4), tmp_path / "same.mat")
    path = tmp_path / "template.nii"
    same, inner = [str(tmp_path / "same.mat")], ants.resample_image_to_target(t1w_mask, grid).numpy() > 0.5
    inner = ndimage.binary_erosion(inner, iterations=2)
    bold.to_template(run, moved.files, there.transform, same, grid, path, inside=inner)
    after = nib.load(path)
    changes = [
        np.diff(np.asarray(image.dataobj)[mask], axis=1).std() for image, mask in [(after, inner), (run, there.brain)]
    ]
    assert bold.field_of_view(after)[inner].mean() > 0.9
    assert changes[0] < 0.25 * changes[1]
