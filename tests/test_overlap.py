"""Overlap with a reference map, compared with brute force, and null maps of matched smoothness."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bids_app.errors import DataError
from bids_app.regions import overlap, surrogates

SHAPE = (14, 16, 12)


@pytest.fixture
def made():
    rng = np.random.default_rng(2)
    mask = rng.random(SHAPE) < 0.8
    values = np.abs(rng.normal(size=int(mask.sum()))).round(1)  # with ties
    inside = rng.random(len(values)) < 0.1 + 0.1 * values
    return mask, values, inside


def test_overlap_measures_match_brute_force(made):
    _, values, inside = made
    result = overlap.measure_overlap(values, inside)
    dice = [2 * (inside & (values >= limit)).sum() / ((values >= limit).sum() + inside.sum()) for limit in set(values)]
    assert result["max_dice"] == pytest.approx(max(dice))
    pairs = np.sign(values[inside][:, None] - values[~inside][None, :])
    assert result["auroc"] == pytest.approx((pairs + 1).mean() / 2)
    steps = sorted(set(values), reverse=True)
    recall = [0.0] + [(inside & (values >= limit)).sum() / inside.sum() for limit in steps]
    precision = [(inside & (values >= limit)).sum() / (values >= limit).sum() for limit in steps]
    assert result["auprc"] == pytest.approx(sum(np.diff(recall) * precision))
    share = values[inside].sum() / values.sum()
    assert result["enrichment"] == pytest.approx(share / inside.mean())


def test_dice_at_region_volume_counts_ties_proportionally():
    values = np.array([5.0, 3.0, 3.0, 3.0, 1.0, 0.0])
    inside = np.array([True, True, False, False, True, False])
    # of three voxels the first is sure, the other two are drawn from three of equal strength
    assert overlap.measure_overlap(values, inside)["dice_at_volume"] == pytest.approx((1 + 2 / 3) / 3)


def test_map_equal_to_the_region_reaches_the_maximum_of_every_measure(made):
    _, _, inside = made
    result = overlap.measure_overlap(inside.astype(float), inside)
    assert (result["max_dice"], result["dice_at_volume"], result["auprc"], result["auroc"], result["pointing"]) == (
        1,
    ) * 5
    assert result["enrichment"] == pytest.approx(1 / inside.mean())


def test_statistical_references_are_cut_at_the_top_10_percent_and_masks_kept(made):
    mask, _, _ = made
    rng = np.random.default_rng(0)
    statistic = rng.normal(size=SHAPE)
    result, words = overlap.binarise_reference(statistic, mask)
    assert result.mean() == pytest.approx(0.1, abs=0.002)
    assert np.abs(statistic[mask][result]).min() > np.abs(statistic[mask][~result]).max()
    assert "10%" in words
    marked = np.zeros(SHAPE)
    marked[:5] = 3
    result, words = overlap.binarise_reference(marked, mask)
    assert (result == (marked[mask] > 0)).all()
    assert words == "its region"
    with pytest.raises(DataError, match="none of the analysed voxels"):
        overlap.binarise_reference(np.zeros(SHAPE), mask)
    with pytest.raises(DataError, match="all of the analysed voxels"):
        overlap.binarise_reference(np.ones(SHAPE), mask)


def test_smoothing_ignores_values_outside_the_mask(made):
    mask, _, _ = made
    volume = np.random.default_rng(1).normal(size=SHAPE)
    changed = np.where(mask, volume, 99.0)
    first, second = (overlap.smooth_in_mask(one, mask, (2.0, 2.0, 2.0), 6.0) for one in (volume, changed))
    np.testing.assert_array_equal(first, second)
    flat = overlap.smooth_in_mask(np.full(SHAPE, 4.0), mask, (2.0, 2.0, 2.0), 6.0)
    np.testing.assert_allclose(flat, 4.0)
    assert (overlap.smooth_in_mask(volume, mask, (2.0, 2.0, 2.0), 0.0) == volume[mask]).all()


def test_surrogates_preserve_values_and_smoothness_but_not_location():
    rng = np.random.default_rng(4)
    shape = (24, 28, 24)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, edge) for edge in shape), indexing="ij")
    mask = x**2 + y**2 + z**2 < 0.95
    volume = np.exp(gaussian_filter(rng.normal(size=shape), 1.5) * 20)  # smooth and skewed
    result = list(surrogates.generate_surrogates(volume, mask, count=20, seed=1))
    for one in result:
        np.testing.assert_array_equal(np.sort(one), np.sort(volume[mask]))
    smooth = np.mean([surrogates.autocorrelation(one, mask) for one in result], axis=0)
    own = surrogates.autocorrelation(volume[mask], mask)
    np.testing.assert_allclose(smooth[:6], own[:6], atol=0.05)
    assert own[0] > 0.75
    assert np.mean([np.corrcoef(one, volume[mask])[0, 1] for one in result]) == pytest.approx(0, abs=0.1)


def test_autocorrelation_is_computed_from_pairs_within_the_mask(made):
    mask, values, _ = made
    volume = np.full(SHAPE, np.nan)
    volume[mask] = values - values.mean()
    for lag in (1, 3):
        pairs = []
        for at in np.ndindex(*SHAPE):
            for axis in range(3):
                other = tuple(place + lag * (one == axis) for one, place in enumerate(at))
                if other[axis] < SHAPE[axis] and mask[at] and mask[other]:
                    pairs.append(volume[at] * volume[other])
        assert surrogates.autocorrelation(values, mask)[lag - 1] == pytest.approx(np.mean(pairs) / values.var())


@pytest.mark.slow
def test_surrogate_null_controls_false_positives_for_unrelated_smooth_maps():
    """Of 60 such pairs about 3 fall below 0.05; shuffled voxels would call most of them so."""
    rng = np.random.default_rng(7)
    shape = (24, 26, 24)
    mask = np.ones(shape, bool)
    small, naive = 0, 0
    for pair in range(60):
        heat, other = (gaussian_filter(rng.normal(size=shape), 2.0, mode="wrap") for _ in "ab")
        heat = np.abs(heat)
        inside, _ = overlap.binarise_reference(other, mask)
        observed = overlap.measure_overlap(heat[mask], inside)["auprc"]
        null = [
            overlap.measure_overlap(one, inside)["auprc"]
            for one in surrogates.generate_surrogates(heat, mask, count=39, seed=pair)
        ]
        shuffled = [overlap.measure_overlap(rng.permutation(heat[mask]), inside)["auprc"] for _ in range(39)]
        small += (1 + sum(value >= observed for value in null)) / 40 <= 0.05
        naive += (1 + sum(value >= observed for value in shuffled)) / 40 <= 0.05
    print("\nbelow 0.05 of 60:", small, "with shuffled voxels:", naive)
    assert small <= 8
    assert naive >= 15
