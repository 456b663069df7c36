"""Region tables compared with a slow voxelwise re-implementation and a planted truth."""

import time

import nibabel
import numpy as np
import pytest

from bids_app.atlases import atlas, templates
from bids_app.errors import DataError
from bids_app.regions import stability, tables
from bids_app.regions.atlas_on_grid import resample_to_grid
from bids_app.regions.size_matched_null import MAX_PATCHES, RegionMap, size_matched_p
from bids_app.regions.tables import OUTSIDE, tabulate_regions

SHAPE = (9, 8, 7)
NAMES = {1: "one", 2: "two", 5: "five", 9: "nine"}


def atlas_of(labels: np.ndarray, affine: np.ndarray) -> atlas.Atlas:
    named = {int(label): f"region {label}" for label in np.unique(labels) if label}
    return atlas.Atlas("Toy", labels, named, affine, "unknown", "none", "not stated", "not stated")


@pytest.fixture
def made():
    rng = np.random.default_rng(3)
    labels = rng.choice([0, 1, 2, 5], SHAPE, p=[0.4, 0.3, 0.2, 0.1]).astype(np.int32)
    mask = rng.random(SHAPE) < 0.7
    labels[0, 0, 0], mask[0, 0, 0] = 9, False  # a region that the mask does not reach
    return rng.normal(size=SHAPE).astype(np.float32), labels, mask


def slowly(heatmap, labels, mask, *, sign):
    """The definitions, one voxel at a time."""
    result = {}
    everywhere = {}
    for at in np.ndindex(*SHAPE):
        label = int(labels[at])
        everywhere[label] = everywhere.get(label, 0) + 1
        if mask[at]:
            result.setdefault(label, []).append(float(heatmap[at]))
    mass = {k: sum(abs(x) if sign == "both" else max(x, 0) for x in v) for k, v in result.items()}
    rows = {}
    for label, values in result.items():
        strength = [abs(x) for x in values] if sign == "both" else values
        rows[label] = {
            "voxels": len(values),
            "volume_ml": len(values) * 0.027,
            "coverage": len(values) / everywhere[label],
            "mean": sum(values) / len(values),
            "p95": np.percentile(strength, 95),
            "maximum": max(values, key=abs) if sign == "both" else max(values),
            "mass": mass[label],
            "share": mass[label] / sum(mass.values()),
        }
    return rows


@pytest.mark.parametrize("sign", ["both", "positive"])
def test_every_region_statistic_matches_the_definition(sign, made):
    heatmap, labels, mask = made
    result = tabulate_regions(heatmap, labels, NAMES, mask, sign=sign, voxel_ml=0.027).set_index("region")
    expected = slowly(heatmap, labels, mask, sign=sign)
    assert set(result.index) == {NAMES[label] for label in expected if label} | {OUTSIDE}
    assert result.index[-1] == OUTSIDE
    for label, row in expected.items():
        for figure, value in row.items():
            if label or figure != "coverage":
                assert result.loc[NAMES.get(label, OUTSIDE), figure] == pytest.approx(value, rel=1e-5), (label, figure)
    order = sorted(
        (label for label in expected if label),
        key=lambda label: -(abs(expected[label]["mean"]) if sign == "both" else expected[label]["mean"]),
    )
    assert list(result.index[:-1]) == [NAMES[label] for label in order]
    assert list(result["rank"][:-1]) == [1, 2, 3]
    assert result["rank"].isna().iloc[-1]
    assert result["share"].sum() == pytest.approx(1)


def test_tied_regions_share_the_worst_rank():
    labels = np.arange(1, 5, dtype=np.int32).reshape(4, 1, 1)
    heatmap = np.array([1.0, -2.0, 2.0, 0.5]).reshape(4, 1, 1)
    named = dict(enumerate("abcd", start=1))
    both = tabulate_regions(heatmap, labels, named, np.ones((4, 1, 1), bool), sign="both", voxel_ml=1)
    assert dict(zip(both["region"][:-1], both["rank"][:-1], strict=True)) == {"b": 2, "c": 2, "a": 3, "d": 4}
    positive = tabulate_regions(heatmap, labels, named, np.ones((4, 1, 1), bool), sign="positive", voxel_ml=1)
    assert list(positive["region"]) == ["c", "a", "d", "b", OUTSIDE]
    assert positive["mass"].iloc[3] == 0
    assert positive["mass"].iloc[-1] == 0


def test_half_of_the_mass_outside_the_atlas_is_a_share_of_one_half():
    labels = np.zeros((4, 4, 4), np.int32)
    labels[:2] = 1
    result = tabulate_regions(
        np.ones((4, 4, 4)), labels, {1: "half"}, np.ones((4, 4, 4), bool), sign="both", voxel_ml=1
    )
    assert list(result["region"]) == ["half", OUTSIDE]
    assert list(result["share"]) == [0.5, 0.5]


def test_map_without_mass_has_no_shares_and_all_regions_rank_last(made):
    _, labels, mask = made
    result = tabulate_regions(np.zeros(SHAPE), labels, NAMES, mask, sign="both", voxel_ml=1)
    assert result["share"].isna().all()
    assert list(result["rank"][:-1]) == [3, 3, 3]


def test_non_finite_values_are_refused_inside_and_ignored_outside_the_mask(made):
    heatmap, labels, mask = made
    before = tabulate_regions(heatmap, labels, NAMES, mask, sign="both", voxel_ml=1)
    heatmap[~mask] = np.nan
    assert before.equals(tabulate_regions(heatmap, labels, NAMES, mask, sign="both", voxel_ml=1))
    heatmap[np.argwhere(mask)[0][0], np.argwhere(mask)[0][1], np.argwhere(mask)[0][2]] = np.inf
    with pytest.raises(DataError, match="1 non-finite voxels"):
        tabulate_regions(heatmap, labels, NAMES, mask, sign="both", voxel_ml=1)
    with pytest.raises(ValueError, match="not on one grid"):
        tabulate_regions(heatmap[1:], labels, NAMES, mask, sign="both", voxel_ml=1)


def test_empty_mask_gives_only_the_row_outside_the_atlas(made):
    heatmap, labels, mask = made
    result = tabulate_regions(heatmap, labels, NAMES, np.zeros_like(mask), sign="both", voxel_ml=1)
    assert list(result["region"]) == [OUTSIDE]
    assert list(result["voxels"]) == [0]


def rotated(degrees: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return nibabel.affines.from_matvec(turn @ np.diag([1.7, 2.1, 2.9]), [-3.3, 1.2, -4.4])


@pytest.mark.parametrize(
    "affine",
    [
        nibabel.affines.from_matvec(np.diag([-2.0, 2, 2]), [9.3, -5.2, -6.1]),
        nibabel.affines.from_matvec([[0, 0, 2.5], [-2, 0, 0], [0, -1.5, 0]], [-8.3, 7.2, 5.1]),
        rotated(23),
    ],
    ids=["flipped", "permuted", "oblique"],
)
def test_atlas_resampling_takes_the_nearest_voxel_in_world_coordinates(affine):
    labels = np.random.default_rng(1).integers(0, 6, (8, 7, 6)).astype(np.int32)
    # no centre lies midway between two voxels
    shape, grid_affine = (10, 9, 8), nibabel.affines.from_matvec(np.diag([1.9, 2.3, 2.0]), [-9.13, -9.46, -7.77])
    result = resample_to_grid(atlas_of(labels, affine), shape, grid_affine)
    assert result.dtype == np.int32
    for at in np.ndindex(*shape):
        world = nibabel.affines.apply_affine(grid_affine, at)
        nearest = np.round(nibabel.affines.apply_affine(np.linalg.inv(affine), world)).astype(int)
        inside = all(0 <= index < size for index, size in zip(nearest, labels.shape, strict=True))
        assert result[at] == (labels[tuple(nearest)] if inside else 0)


def test_blob_planted_in_a_region_ranks_it_first_within_a_second():
    shape, affine = templates.grid("MNI152NLin2009cAsym", 2)
    regions = atlas.load("aal")
    labels = resample_to_grid(regions, shape, affine)
    # planted by millimetres, not through the atlas: 5 mm round the middle of the left putamen
    at = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    apart = np.linalg.norm(nibabel.affines.apply_affine(affine, at) - [-25, 3, 2], axis=-1)
    heatmap = np.where(apart < 5, -3.0, 0.0) + np.random.default_rng(0).normal(scale=0.05, size=shape)
    mask = templates.resample(templates.brain("MNI152NLin2009cAsym"), shape, affine, order="linear").get_fdata() > 1
    begin = time.perf_counter()
    result = tabulate_regions(heatmap, labels, regions.names, mask, sign="both", voxel_ml=0.008)
    assert time.perf_counter() - begin < 1
    assert result["region"][0] == "Putamen_L"
    assert result["mean"][0] < 0


@pytest.mark.parametrize("both", [True, False])
def test_size_matched_p_matches_brute_force_over_patches(made, both):
    heatmap, labels, mask = made
    values, result = heatmap[mask], labels[mask]
    where = np.argwhere(mask) * np.array([2.0, 3.0, 4.0])
    strong = np.abs if both else np.asarray
    (p,) = size_matched_p([RegionMap(values, result, both)], mask, (2.0, 3.0, 4.0), seed=1)
    assert len(where) < MAX_PATCHES  # every voxel is the middle of a patch
    for label in (1, 2, 5):
        inside = result == label
        reached = 1
        for centre in where:
            order = np.argsort(((where - centre) ** 2).sum(axis=1), kind="stable")
            reached += strong(values[order[: inside.sum()]].mean(dtype=float)) >= strong(
                values[inside].mean(dtype=float)
            )
        assert p[label] == pytest.approx(reached / (1 + len(where)))
    assert np.isnan(p[[0, 3, 4]]).all()


def test_size_matched_p_is_small_for_a_strong_region_and_uniform_for_noise():
    rng = np.random.default_rng(5)
    mask = np.ones((18, 18, 18), bool)
    labels = np.zeros(mask.shape, int)
    for at, place in enumerate(np.ndindex(6, 6, 6), start=1):
        labels[tuple(slice(3 * one, 3 * one + 3) for one in place)] = at
    noise = rng.normal(size=mask.sum())
    planted = noise + 5 * (labels.ravel() == 7)
    noisy, strong = size_matched_p(
        [RegionMap(one, labels.ravel(), True) for one in (noise, planted)], mask, (2.0, 2.0, 2.0), seed=2
    )
    assert strong[7] == pytest.approx(0.001, abs=0.003)
    assert 0.4 < np.mean(noisy[1:]) < 0.6
    assert np.mean(noisy[1:] <= 0.1) == pytest.approx(0.1, abs=0.06)


def test_icc_matches_a_published_example():
    """Six targets and four judges: Shrout & Fleiss 1979, tables 2 and 4, ICC(2,1) = .29."""
    judged = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)
    assert stability.measure_agreement(judged.T)["icc"] == pytest.approx(0.29, abs=0.005)


def test_identical_maps_agree_and_noise_does_not():
    rng = np.random.default_rng(0)
    one = rng.normal(size=40)
    same = stability.measure_agreement(np.stack([one, one]))
    assert (same["icc"], same["spearman"], same["top_dice"]) == (pytest.approx(1), pytest.approx(1), 1)
    noise = stability.measure_agreement(rng.normal(size=(6, 400)))
    assert abs(noise["icc"]) < 0.1
    assert abs(noise["spearman"]) < 0.1
    assert noise["top_dice"] < 0.2
    turned = stability.measure_agreement(np.stack([one, -one]))
    assert turned["icc"] < 0
    assert turned["top_dice"] == 1  # the same regions, with the other sign


def test_region_means_and_ranks_are_computed_per_map(made):
    heatmap, labels, mask = made
    maps = np.stack([heatmap[mask], -2 * heatmap[mask]])
    index = np.array([1, 2, 5])
    means = tables.region_means(maps, labels[mask], index)
    for row, one in enumerate(maps):
        for column, label in enumerate(index):
            assert means[row, column] == pytest.approx(one[labels[mask] == label].mean(), rel=1e-5)
    own = tables.rank_regions(means, both=False)
    assert own[0].tolist() == (4 - own[1]).tolist()
    assert (tables.rank_regions(means, both=True)[0] == tables.rank_regions(means, both=True)[1]).all()
    assert own[0].tolist() == [1 + int((means[0] > one).sum()) for one in means[0]]
