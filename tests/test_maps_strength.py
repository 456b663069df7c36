"""Connectivity strengths compared with the full correlation matrix, by voxel and by region."""

import numpy as np
import pytest

from bids_app import jit
from bids_app.errors import DataError, UsageError
from bids_app.maps import _strength, fcs, rfcs
from bids_app.maps._strength import MAX_R, STRENGTHS, TILE


@pytest.fixture(params=["numba", "numpy"])
def way(request, monkeypatch):
    """Both implementations of the kernels."""
    if request.param == "numpy":
        monkeypatch.setattr(jit, "available", lambda: False)
    elif not jit.available():
        pytest.skip("numba is not installed")
    return request.param


def series(voxels=90, volumes=40, *, seed=0, mean=10_000.0):
    """BOLD-like: networks that rise and fall together or against each other, noise, ties, constant voxels."""
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((6, volumes))
    values = mean + 30 * (rng.standard_normal((voxels, 6)) @ shared + rng.standard_normal((voxels, volumes)))
    values[::3] = np.round(values[::3] / 30)
    values[[5, voxels // 2]] = mean
    return values.astype(np.float32)


def slow(values, kind):
    """Each strength by two loops over the float64 correlations of what varies."""
    varies = np.flatnonzero(np.ptp(values, axis=1) > 0)
    r = np.corrcoef(values[varies].astype(np.float64))
    result = np.zeros(len(values))
    for i, voxel in enumerate(varies):
        others = np.delete(r[i], i)
        result[voxel] = {
            "mean-r": lambda x: x.mean(),
            "mean-z": lambda x: np.arctanh(x).mean(),
            "abs": lambda x: np.abs(x).mean(),
            "positive-squared": lambda x: sum(each**2 for each in x if each > 0) / len(x),
            "weighted-degree": lambda x: sum(each for each in x if each > 0.25),
            "binary-degree": lambda x: sum(each > 0.25 for each in x),
        }[kind](others)
    return result


@pytest.mark.parametrize("tile", [TILE, 16])
@pytest.mark.parametrize("kind", STRENGTHS)
def test_each_strength_matches_the_full_correlation_matrix(way, kind, tile, monkeypatch):
    monkeypatch.setattr(_strength, "TILE", tile)
    values = series()
    result = fcs.compute(values, strength=kind)
    assert result.dtype == np.float32
    assert result[5] == result[45] == 0
    np.testing.assert_allclose(result, slow(values, kind), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("mean", [0.0, 10_000.0])
def test_mean_correlation_shortcut_matches_the_full_matrix(way, mean):
    values = series(700, 120, mean=mean)
    np.testing.assert_allclose(fcs.compute(values, strength="mean-r"), slow(values, "mean-r"), atol=1e-6)


@pytest.mark.parametrize("kind", STRENGTHS)
def test_strength_is_invariant_to_scale_and_offset(way, kind):
    values = np.round(series(mean=0.0))
    rng = np.random.default_rng(1)
    changed = values * 2.0 ** rng.integers(-9, 9, (90, 1)) + 2.0 ** rng.integers(0, 5, (90, 1))
    result = fcs.compute(changed.astype(np.float32), strength=kind)
    np.testing.assert_allclose(result, fcs.compute(values, strength=kind), rtol=1e-4, atol=1e-5)


def test_mean_fisher_z_is_finite_for_identical_voxels(way):
    values = series(20, mean=0.0)
    values[7] = 3 * values[8]
    result = fcs.compute(values, strength="mean-z")
    assert np.isfinite(result).all()
    assert result[8] > np.arctanh(MAX_R) / 18 - 1


@pytest.mark.parametrize("kind", STRENGTHS)
def test_constant_voxels_are_0_and_do_not_affect_others(way, kind):
    values = series()
    varies = np.ptp(values, axis=1) > 0
    result = fcs.compute(values, strength=kind)
    np.testing.assert_allclose(result[varies], fcs.compute(values[varies], strength=kind), rtol=1e-6, atol=1e-7)
    assert not fcs.compute(np.full((9, 20), 3.3, np.float32), strength=kind).any()
    assert not fcs.compute(values[4:6], strength=kind).any()


@pytest.mark.parametrize("kind", STRENGTHS)
def test_regional_strength_is_computed_from_region_mean_series(way, kind):
    values = series(200)
    parcels = np.random.default_rng(2).choice([0, 3, 4, 11, 70, 2001], 200).astype(np.int32)
    values[parcels == 70] = 12.5
    result = rfcs.compute(values, parcels=parcels, strength=kind)
    labels = [3, 4, 11, 70, 2001]
    means = np.array([values[parcels == label].astype(np.float64).mean(axis=0) for label in labels])
    means[3] = 12.5
    expected = dict(zip(labels, slow(means, kind), strict=True)) | {0: 0.0}
    np.testing.assert_allclose(result, [expected[label] for label in parcels], rtol=1e-5, atol=2e-6)
    assert result.dtype == np.float32
    assert not result[parcels == 0].any()


@pytest.mark.parametrize("kind", STRENGTHS)
def test_real_scan_matches_the_full_correlation_matrix(shared_data, kind):
    import nibabel as nib

    inside = np.asarray(nib.load(shared_data / "feeds" / "mask.nii.gz").dataobj) > 0
    image = np.asarray(nib.load(shared_data / "feeds" / "bold.nii.gz").dataobj)
    values = image[inside].astype(np.float32)[::40]
    np.testing.assert_allclose(fcs.compute(values, strength=kind), slow(values, kind), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((0, 20), np.float32), "mask is empty"),
        (np.zeros((9, 2), np.float32), "2 volumes are retained"),
        (np.zeros((3, 3, 20), np.float32), "3 axes"),
    ],
)
def test_invalid_inputs_are_refused(values, message):
    with pytest.raises(DataError, match=message):
        fcs.compute(values, strength="mean-r")
    with pytest.raises(DataError, match=message):
        rfcs.compute(values, parcels=np.zeros(len(values), np.int32), strength="mean-r")


@pytest.mark.parametrize(("parcels", "message"), [(np.ones(90), "1 regions"), (np.ones(8), "8 voxels in the mask")])
def test_parcels_with_one_region_or_wrong_length_are_refused(parcels, message):
    with pytest.raises(DataError, match=message):
        rfcs.compute(series(), parcels=parcels.astype(np.int32), strength="mean-r")


def test_unknown_strengths_are_refused():
    with pytest.raises(UsageError, match="choose from mean-r"):
        fcs.compute(series(), strength="median")
