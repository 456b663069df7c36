"""Dual regression compared with plain least squares and a planted truth, and refused inputs."""

import numpy as np
import pytest
from scipy import stats

from bids_app.errors import DataError
from bids_app.maps import networks

NAMES = ("SMN", "VIS", "DMN")


def planted(voxels=300, volumes=80, k=3, *, seed=0, mean=10_000.0, noise=20.0):
    """Series made of k overlapping maps with their time courses and noise; two voxels are constant."""
    rng = np.random.default_rng(seed)
    maps = (rng.random((voxels, k)) ** 3 + 0.2 * rng.random((voxels, 1))).astype(np.float32)
    courses = rng.standard_normal((volumes, k)).cumsum(axis=0)
    values = mean + 15 * maps @ courses.T + noise * rng.standard_normal((voxels, volumes))
    values[[4, 200]] = mean
    return values.astype(np.float32), maps, courses


def slow(values, maps):
    """Two calls of lstsq, and t to Z by the tails of the two distributions."""
    y, m = values.astype(np.float64), maps.astype(np.float64)
    courses = np.linalg.lstsq(m - m.mean(axis=0), y - y.mean(axis=0), rcond=None)[0].T
    x = (courses - courses.mean(axis=0)) / courses.std(axis=0, ddof=1)
    centred = (y - y.mean(axis=1, keepdims=True)).T
    betas, freedom = np.linalg.lstsq(x, centred, rcond=None)[0], len(x) - x.shape[1] - 1
    variance = ((centred - x @ betas) ** 2).sum(axis=0) / freedom
    varies = np.ptp(values, axis=1) > 0
    t = np.divide(betas, np.sqrt(np.outer(np.diag(np.linalg.inv(x.T @ x)), variance)), where=varies, out=0 * betas)
    z = np.sign(t) * stats.norm.isf(stats.t.sf(np.abs(t), freedom))
    return np.where(varies, betas, 0), np.where(varies, z, 0)


def names(k):
    return tuple(f"N{number}" for number in range(k))


@pytest.mark.parametrize("mean", [0.0, 10_000.0])
@pytest.mark.parametrize(("volumes", "k"), [(80, 3), (20, 5), (12, 6), (60, 1), (150, 25), (56, 5)])
def test_betas_and_z_match_plain_least_squares(volumes, k, mean):
    values, maps, _ = planted(volumes=volumes, k=k, mean=mean)
    result = networks.compute(values, network_maps=maps, network_names=names(k))
    assert list(result) == [f"beta_{name}" for name in names(k)] + [f"z_{name}" for name in names(k)]
    betas, z = slow(values, maps)
    scale = np.abs(betas).max()
    for number, name in enumerate(names(k)):
        assert result[f"beta_{name}"].dtype == result[f"z_{name}"].dtype == np.float32
        np.testing.assert_allclose(result[f"beta_{name}"], betas[number], rtol=1e-5, atol=1e-5 * scale)
        np.testing.assert_allclose(result[f"z_{name}"], z[number], rtol=1e-5, atol=2e-5 * np.abs(z).max())


def test_planted_network_maps_are_recovered():
    values, maps, courses = planted(noise=0.5)
    result = networks.compute(values, network_maps=maps, network_names=NAMES)
    varies = np.ptp(values, axis=1) > 0
    for number, name in enumerate(NAMES):
        expected = 15 * maps[:, number] * courses[:, number].std(ddof=1)
        np.testing.assert_allclose(result[f"beta_{name}"][varies], expected[varies], atol=0.02 * expected.max())


def test_constant_voxels_are_0():
    values, maps, _ = planted()
    result = networks.compute(values, network_maps=maps, network_names=NAMES)
    assert all(not each[[4, 200]].any() for each in result.values())
    flat = networks.compute(np.full_like(values, 7.7), network_maps=maps, network_names=NAMES)
    assert all(not each.any() for each in flat.values())


def test_scale_and_offset_of_the_network_maps_do_not_matter():
    values, maps, _ = planted()
    result = networks.compute(values, network_maps=maps, network_names=NAMES)
    changed = (maps * np.array([3, 0.01, 200]) + np.array([1, 0, -40])).astype(np.float32)
    again = networks.compute(values, network_maps=changed, network_names=NAMES)
    for name, expected in result.items():
        np.testing.assert_allclose(again[name], expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("freedom", [1, 5, 49, 50, 120, 400])
def test_z_has_the_tail_probability_of_student_t(freedom):
    t = np.array([-15, -3, -0.2, 0, 1e-3, 0.5, 2, 6, 20], np.float32)
    z = networks.t_to_z(t, freedom)
    np.testing.assert_allclose(z, np.sign(t) * stats.norm.isf(stats.t.sf(np.abs(t.astype(float)), freedom)), rtol=1e-5)
    assert np.isfinite(networks.t_to_z(np.array([1e6, -1e15], np.float32), freedom)).all()


def test_collinear_maps_are_refused_and_the_two_most_similar_named():
    values, maps, _ = planted(k=4)
    maps[:, 2] = 3 * maps[:, 0] - 1
    with pytest.raises(DataError, match=r"most similar are SMN and DMN \(r = 1\.000000\)"):
        networks.compute(values, network_maps=maps, network_names=(*NAMES, "ECN"))
    maps[:, 2] = maps[:, 0] + maps[:, 1] - maps[:, 3]
    with pytest.raises(DataError, match="collinear"):
        networks.compute(values, network_maps=maps, network_names=(*NAMES, "ECN"))


def test_strongly_overlapping_maps_are_accepted():
    values, maps, _ = planted()
    maps[:, 2] = 0.99 * maps[:, 0] + 0.05 * maps[:, 2]
    result = networks.compute(values, network_maps=maps, network_names=NAMES)
    betas, _ = slow(values, maps)
    np.testing.assert_allclose(result["beta_DMN"], betas[2], rtol=1e-3, atol=1e-4 * np.abs(betas).max())


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_network_map_constant_in_the_brain_is_refused_by_name(value):
    values, maps, _ = planted()
    maps[:, 1] = value
    with pytest.raises(DataError, match="VIS is constant"):
        networks.compute(values, network_maps=maps, network_names=NAMES)


def test_mismatched_grids_too_few_volumes_and_empty_masks_are_refused():
    values, maps, _ = planted()
    with pytest.raises(DataError, match="not on the grid"):
        networks.compute(values, network_maps=maps[:-1], network_names=NAMES)
    with pytest.raises(DataError, match="4 volumes are too few for 3 networks: 5 are required"):
        networks.compute(values[:, :4], network_maps=maps, network_names=NAMES)
    with pytest.raises(DataError, match="mask is empty"):
        networks.compute(values[:0], network_maps=maps[:0], network_names=NAMES)


def test_real_scan_matches_plain_least_squares(shared_data):
    import nibabel as nib

    inside = np.asarray(nib.load(shared_data / "feeds" / "mask.nii.gz").dataobj) > 0
    values = np.asarray(nib.load(shared_data / "feeds" / "bold.nii.gz").dataobj)[inside].astype(np.float32)
    place = np.argwhere(inside)
    centres = [(20, 30, 10), (40, 30, 10), (32, 50, 12)]
    maps = np.exp(-np.array([((place - centre) ** 2).sum(axis=1) for centre in centres]).T / 200).astype(np.float32)
    result = networks.compute(values, network_maps=maps, network_names=NAMES)
    betas, z = slow(values, maps)
    for number, name in enumerate(NAMES):
        np.testing.assert_allclose(result[f"beta_{name}"], betas[number], rtol=1e-5, atol=1e-5 * np.abs(betas).max())
        np.testing.assert_allclose(result[f"z_{name}"], z[number], rtol=1e-5, atol=1e-5 * np.abs(z).max())
