"""Boxes, blocks and coarser voxels: positions and edges of brains stay where and as they were."""

import time

import ants
import nibabel as nib
import numpy as np
import pytest
import simulated_heads
from scipy import ndimage

from bids_app.errors import DataError
from bids_app.nodes import anatomical
from bids_app.preprocess import conform, transforms


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def oblique(shape, voxel_mm):
    affine = np.eye(4)
    affine[:3, :3] = simulated_heads.rotated(20) * voxel_mm
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) / 2) + [3.0, -20.0, 11.0]
    return affine


def world_centre(values, affine):
    return nib.affines.apply_affine(affine, ndimage.center_of_mass(values))


def smooth_brain(shape, rng):
    """Positive values in a ball, 0 outside."""
    distance = np.linalg.norm(np.indices(shape) - np.reshape(shape, (3, 1, 1, 1)) / 2, axis=0)
    values = 100 + 20 * ndimage.gaussian_filter(rng.normal(size=shape), 3) * 10
    return (values * (distance < min(shape) * 0.4)).astype(np.float32)


@pytest.mark.parametrize("shape", [(64, 60, 56), (63, 61, 55)])
@pytest.mark.parametrize("voxel_mm", [(0.5, 0.5, 0.5), (0.35, 0.5, 0.9)])
def test_coarser_voxels_keep_positions_in_the_world(rng, shape, voxel_mm):
    """A shift by half a voxel would be 0.25 mm."""
    image = conform.to_nifti(smooth_brain(shape, rng), oblique(shape, voxel_mm))
    coarse = conform.coarsen(image, 1.0)
    assert all(0.66 < mm < 1.5 for mm in coarse.header.get_zooms())
    centres = [world_centre(np.asarray(one.dataobj), one.affine) for one in (image, coarse)]
    np.testing.assert_allclose(*centres, atol=0.05)


def test_means_of_blocks_are_where_the_blocks_are(rng):
    values = rng.uniform(size=(7, 5, 4))
    affine = oblique((14, 10, 12), (1.0, 1.2, 0.7))
    repeated = values.repeat(2, 0).repeat(2, 1).repeat(3, 2)
    means, coarse = conform.average_blocks(repeated, affine, 2.2)
    np.testing.assert_allclose(means, values, rtol=1e-6)
    np.testing.assert_allclose(world_centre(means, coarse), world_centre(repeated, affine), atol=1e-4)
    np.testing.assert_allclose(nib.affines.voxel_sizes(coarse), (2.0, 2.4, 2.1), rtol=1e-6)


def test_blocks_that_do_not_fit_are_filled_with_0(rng):
    """The total stays that of the image."""
    values, affine = rng.uniform(size=(13, 9, 11)), np.diag([1.0, 1.2, 0.7, 1.0])
    means, coarse = conform.average_blocks(values, affine, 2.2)
    assert means.shape == (7, 5, 4)
    assert means.sum() * np.prod(np.diag(coarse)) == pytest.approx(values.sum() * np.prod(np.diag(affine)), rel=1e-5)
    assert means[0, 0, 0] == pytest.approx(values[:2, :2, :3].mean(), rel=1e-6)
    assert means[-1, -1, -1] == pytest.approx(values[12:, 8:, 9:].sum() / 12, rel=1e-6)


@pytest.mark.parametrize("background", [0.0, -30.0])
def test_the_edge_of_a_stripped_brain_is_as_bright_as_the_rest(background):
    """A brain of one intensity stays one: no value between it and the background."""
    distance = np.linalg.norm(np.indices((50, 50, 50)) - 24.7, axis=0)
    values = np.where(distance < 18, 70, background).astype(np.float32)
    coarse = np.asarray(conform.coarsen(conform.to_nifti(values, np.diag([0.5, 0.5, 0.5, 1])), 1.0).dataobj)
    assert set(np.unique(coarse)) == {70.0, background}
    # what is half full counts as background, which takes 3 % of a ball of 18 voxels
    assert (coarse == 70).sum() * 8 == pytest.approx((values == 70).sum(), rel=0.04)


@pytest.mark.parametrize("mm", [0.7, 1.0, 5.0])
def test_an_image_with_voxels_that_are_large_enough_stays_as_it_is(rng, mm):
    image = conform.to_nifti(smooth_brain((20, 21, 22), rng), np.diag([mm, mm, mm, 1.0]))
    assert conform.coarsen(image, 1.0) is image


def test_a_box_ends_at_the_border_of_the_grid():
    inside = np.zeros((10, 11, 12), bool)
    inside[0, 5, 4:12] = True
    assert conform.find_box(inside, (0, 0, 0)) == (slice(0, 1), slice(5, 6), slice(4, 12))
    assert conform.find_box(inside, (2, 3, 5)) == (slice(0, 3), slice(2, 9), slice(0, 12))
    assert conform.find_box(np.ones((3, 4, 5), bool), (1, 1, 1)) == (slice(0, 3), slice(0, 4), slice(0, 5))


def test_a_cropped_image_has_the_same_values_at_the_same_places(rng):
    image = conform.to_nifti(smooth_brain((40, 42, 44), rng), oblique((40, 42, 44), (1.0, 1.5, 2.0)))
    values = np.asarray(image.dataobj)
    cropped = conform.crop(image, conform.find_box(values > 0, (1, 2, 3)))
    assert cropped.shape < image.shape
    back = nib.affines.apply_affine(np.linalg.inv(image.affine) @ cropped.affine, np.indices(cropped.shape).T)
    np.testing.assert_allclose(back, back.round(), atol=1e-4)
    np.testing.assert_array_equal(values[tuple(back.round().astype(int).T)], np.asarray(cropped.dataobj))
    assert np.asarray(cropped.dataobj).sum() == pytest.approx(values.sum(), rel=1e-6)


def test_a_file_is_read_alike_by_nibabel_and_by_ants(rng, tmp_path):
    values = rng.normal(size=(16, 18, 20)).astype(np.float32)
    image = conform.to_nifti(values, oblique(values.shape, (0.8, 1.5, 3.0)))
    conform.save(image, tmp_path / "image.nii.gz")
    theirs, read = ants.image_read(str(tmp_path / "image.nii.gz")), nib.load(tmp_path / "image.nii.gz")
    np.testing.assert_array_equal(theirs.numpy(), values)
    np.testing.assert_array_equal(np.asarray(read.dataobj), values)
    np.testing.assert_allclose(transforms.world_affine(theirs), read.affine, atol=1e-4)
    np.testing.assert_allclose(read.affine, oblique(values.shape, (0.8, 1.5, 3.0)), atol=1e-4)


def test_an_ants_image_is_at_the_place_of_its_affine(rng):
    affine = oblique((16, 18, 20), (0.8, 1.5, 3.0))
    image = transforms.to_ants(rng.normal(size=(16, 18, 20)).astype(np.float32), affine)
    np.testing.assert_allclose(transforms.world_affine(image), affine, atol=1e-6)
    point = ants.transform_index_to_physical_point(image, [4, 5, 6])  # counts from 0
    np.testing.assert_allclose(np.array([-1, -1, 1]) * point, nib.affines.apply_affine(affine, (4, 5, 6)), atol=1e-3)


# the first step of the participant level


def prepare(tmp_path, monkeypatch, values, affine, mask=None):
    monkeypatch.chdir(tmp_path)
    nib.Nifti1Image(values, affine).to_filename("sub-07_T1w.nii.gz")
    if mask is not None:
        nib.Nifti1Image(mask.astype(np.uint8), affine).to_filename("mask_of_mine.nii.gz")
    options = {"template": None, "seed": 1, "sloppy": True, "anatomy": "fast"}
    supplied = None if mask is None else "mask_of_mine.nii.gz"
    native = anatomical.prepare_native(t1w="sub-07_T1w.nii.gz", brain_mask=supplied, **options)["native"]
    return nib.load(native["t1w"]), nib.load(native["mask"]), native["facts"]


@pytest.mark.parametrize(
    ("dtype", "with_mask"),
    [
        (np.int16, True),
        pytest.param(np.int16, False, marks=pytest.mark.slow),
        pytest.param(np.uint8, False, marks=pytest.mark.slow),
        pytest.param(np.uint8, True, marks=pytest.mark.slow),
        pytest.param(np.float64, False, marks=pytest.mark.slow),
        pytest.param(np.float64, True, marks=pytest.mark.slow),
    ],
)
def test_a_brain_that_touches_the_border_is_prepared_whatever_its_type(tmp_path, monkeypatch, dtype, with_mask):
    """It is 1.2 times as bright on one side, which the bias field takes away."""
    shape, affine = simulated_heads.oblique_grid(
        (0.0, -20.0, 10.0), (3.0, 3.0, 3.0), degrees=0, width_mm=(150, 180, 156)
    )
    values = simulated_heads.posed(np.eye(4), shape, affine)
    mask = values > 0
    brain = (values * 200 / values.max() * np.linspace(1, 1.2, shape[0])[:, None, None]).clip(2) * mask
    noisy = brain + np.random.default_rng(0).uniform(0, 3, shape) * ~mask if with_mask else brain
    t1w, inside, facts = prepare(tmp_path, monkeypatch, noisy.astype(dtype), affine, mask if with_mask else None)
    assert facts["Brain mask"] == ("from --brain-mask" if with_mask else "from the skull-stripped input image")
    there = np.asarray(inside.dataobj) > 0
    assert there.sum() == pytest.approx(mask.sum(), rel=0.01)
    np.testing.assert_allclose(world_centre(there, inside.affine), world_centre(mask, affine), atol=0.1)
    halves = np.array_split(np.where(there, np.asarray(t1w.dataobj), np.nan), 2)
    before = np.array_split(np.where(mask, noisy, np.nan), 2)
    assert abs(np.log(np.divide(*map(np.nanmedian, halves)))) < abs(np.log(np.divide(*map(np.nanmedian, before))))


def test_a_standardised_image_is_refused_by_name(tmp_path, monkeypatch):
    shape, affine = simulated_heads.oblique_grid((0.0, -20.0, 10.0), (4.0, 4.0, 4.0))
    values = simulated_heads.posed(np.eye(4), shape, affine)
    mask = values > 0
    standardised = np.where(mask, (values - values[mask].mean()) / values[mask].std(), 0)
    with pytest.raises(DataError, match=r"sub-07_T1w.nii.gz is negative"):
        prepare(tmp_path, monkeypatch, standardised, affine, mask)


def test_an_image_is_written_with_the_same_bytes_at_any_time(tmp_path, monkeypatch):
    image = conform.to_nifti(np.ones((4, 5, 6), np.float32), np.eye(4))
    for number in (0, 1):
        monkeypatch.setattr(time, "time", lambda second=number: 1_700_000_000.0 + second)
        conform.save(image, tmp_path / f"{number}.nii.gz")
    assert (tmp_path / "0.nii.gz").read_bytes() == (tmp_path / "1.nii.gz").read_bytes()
