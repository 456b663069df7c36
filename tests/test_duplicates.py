"""Planted copies of scans and slices are detected; merely similar participants are not."""

import re
import tracemalloc
from itertools import combinations

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.stats import chi2

from bids_app.dataset import scale
from bids_app.dataset.grid import Grid
from bids_app.evaluation import duplicates, likeness

SHAPE = (24, 26, 22)
# a voxel's place on the other side, x to -x, is halfway between two voxels
AFFINE = np.array([[3.3, 0, 0, -3.3 * 11.25], [0, 4, 0, -50], [0, 0, 4, -40], [0, 0, 0, 1]])
SPREAD = 0.2  # of participants round their mean map


@pytest.fixture(scope="module")
def grid():
    axes = np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij")
    return Grid(sum(axis**2 for axis in axes) < 0.95, AFFINE)


def field(random, sigma):
    smooth = gaussian_filter(random.standard_normal(SHAPE), sigma, mode="wrap")
    return smooth / smooth.std()


def volumes(count, seed, *, sigma=2.0):
    """A common mean map plus a smooth deviation for each participant."""
    random = np.random.default_rng(seed)
    mean = 2 + field(random, 2)
    return np.array([mean + SPREAD * field(random, sigma) for _ in range(count)])


def rows(grid, images):
    return images[:, grid.mask].astype(np.float32)


def names(count):
    return [f"sub-{row}" for row in range(count)]


def find(grid, images, people=None):
    return duplicates.find_duplicates(rows(grid, images), grid, people or names(len(images)))


def kinds(pairs):
    return [(pair.first, pair.second, pair.kind) for pair in pairs]


def slow_likeness(x, grid):
    """The definition of the likeness, pair by pair, in double precision."""
    fitted = scale.fit(x)
    mean, sd = fitted["mean"].astype(float), fitted["sd"].astype(float)
    nearest = distance_transform_edt(~grid.mask, return_distances=False, return_indices=True)
    volume = np.pad(grid.volume(mean)[tuple(nearest)], 1, mode="edge")
    middle, ends = slice(1, -1), (slice(2, None), slice(None, -2))
    slopes, bend = [], 0
    for axis in range(3):
        after, before = (volume[tuple(end if one == axis else middle for one in range(3))] for end in ends)
        slopes.append((after - before) / 2)
        bend = bend + after + before - 2 * volume[middle, middle, middle]
    design = np.array([mean, np.ones_like(mean), *(one[grid.mask] for one in [*slopes, bend])]).T / sd[:, None]
    left = []
    for row in x:
        weights = np.linalg.lstsq(design, row / sd, rcond=None)[0]
        left.append((row / sd - design @ weights) / weights[0])
    n = len(x)
    pairs = list(combinations(range(n), 2))
    differences = {(i, j): ((left[i] - left[j]) ** 2).sum() for i, j in pairs}
    usual = sorted(differences.values())[max(n // 2, len(pairs) // 20)]
    own = {(i, j): ((left[i] ** 2).sum() + (left[j] ** 2).sum()) * n**2 / (n - 1) / (n - 2) for i, j in pairs}
    return {pair: 1 - differences[pair] / min(own[pair], usual) for pair in pairs}


COPIES = {
    "noisy": lambda image: image + 0.5 * SPREAD * field(np.random.default_rng(99), 1),
    "scaled": lambda image: 0.7 * image,
    "smoothed": lambda image: gaussian_filter(image, 0.7),
    "moved by a voxel": lambda image: np.roll(image, 1, axis=1),
    "mirrored": lambda image: image[::-1],
}


class TestIdentical:
    def test_duplicated_scan_is_reported_once(self, grid):
        images = volumes(12, 0)
        images[7] = images[3]
        assert find(grid, images) == [
            duplicates.Pair(3, 7, "identical", f"all {grid.voxels} values are equal"),
        ]

    def test_negative_zero_equals_zero_and_two_participants_suffice(self, grid):
        images = volumes(2, 1)
        images[:, 10:12] = 0
        images[1] = images[0]
        images[1, 10] = -0.0
        assert kinds(find(grid, images)) == [(0, 1, "identical")]

    def test_three_copies_of_one_scan_are_reported_as_three_pairs(self, grid):
        images = volumes(10, 2)
        images[[4, 9]] = images[1]
        assert kinds(find(grid, images)) == [(1, 4, "identical"), (1, 9, "identical"), (4, 9, "identical")]


class TestAlike:
    @pytest.mark.parametrize("how", COPIES)
    @pytest.mark.parametrize("count", [4, 8, 30])
    def test_altered_copy_is_detected_in_small_and_large_samples(self, grid, how, count):
        images = volumes(count, count)
        images[-1] = COPIES[how](images[0])
        result = find(grid, images)
        assert kinds(result) == [(0, count - 1, "alike")]
        assert ("flipped left-right" in result[0].measure) == (how == "mirrored")

    @pytest.mark.parametrize("count", [20, 30, 40])
    def test_mirrored_copy_with_rounding_errors_is_detected(self, grid, count):
        images = volumes(count, count)
        rounding = np.random.default_rng(0).uniform(1 - 1e-6, 1 + 1e-6, SHAPE)
        images[-1] = COPIES["mirrored"](images[0]) * rounding
        assert kinds(find(grid, images)) == [(0, count - 1, "alike")]

    @pytest.mark.parametrize("count", [5, 24])
    def test_likeness_matches_the_slow_definition(self, grid, count):
        images = volumes(count, 3)
        images[3] = COPIES["noisy"](images[1])
        images[4] = 1.2 * COPIES["noisy"](images[0])
        expected = slow_likeness(rows(grid, images), grid)
        result = {(pair.first, pair.second): pair.measure for pair in find(grid, images)}
        assert set(result) == {(1, 3), (0, 4)} == {pair for pair, likeness in expected.items() if likeness > 0.6}
        for pair, told in result.items():
            assert float(re.search(r"likeness (\S+)", told)[1]) == pytest.approx(expected[pair], abs=0.001)

    def test_fully_duplicated_sample_is_detected(self, grid):
        images = volumes(12, 4)
        random = np.random.default_rng(5)
        images[6:] = [image + 0.5 * SPREAD * field(random, 1) for image in images[:6]]
        assert kinds(find(grid, images)) == [(row, row + 6, "alike") for row in range(6)]

    def test_follow_ups_are_reported_only_under_another_participant_label(self, grid):
        images = volumes(10, 6)
        images[7], images[8], images[9] = images[0], COPIES["noisy"](images[1]), COPIES["scaled"](images[2])
        people = [*names(7), "sub-0", "sub-1", "sub-other"]
        assert kinds(find(grid, images, people)) == [(2, 9, "alike")]

    @pytest.mark.parametrize(("count", "sigma"), [(4, 2.0), (6, 3.0), (12, 3.0), (40, 2.0)])
    def test_independent_participants_are_not_reported(self, grid, count, sigma):
        assert [pair for seed in range(10) for pair in find(grid, volumes(count, seed, sigma=sigma))] == []

    @pytest.mark.parametrize("away", [20, 3, 2])
    @pytest.mark.parametrize("copied", [False, True])
    def test_site_shift_of_three_sds_is_not_reported_and_hides_no_copy(self, grid, away, copied):
        for seed in range(5):
            images = volumes(40, seed)
            images[:away] += 3 * SPREAD * field(np.random.default_rng(100 + seed), 2)
            if copied:
                images[1] = COPIES["noisy"](images[0])
            assert kinds(find(grid, images)) == [(0, 1, "alike")] * copied

    def test_participants_near_the_mean_are_not_reported(self, grid):
        for seed in range(5):
            images = volumes(20, seed)
            mean = images.mean(axis=0)
            images[[3, 8, 9]] = mean + 0.4 * (images[[3, 8, 9]] - mean)
            assert find(grid, images) == []

    def test_siblings_correlated_at_0_4_are_not_reported(self, grid):
        for seed in range(5):
            images = volumes(20, seed)
            mean = images.mean(axis=0)
            images[1] = mean + 0.4 * (images[0] - mean) + np.sqrt(1 - 0.4**2) * (images[1] - mean)
            assert find(grid, images) == []

    def test_chance_limit_matches_the_chi_square_quantile(self):
        random = np.random.default_rng(7)
        for freedom in (40, 100, 400):
            limit = likeness.chance_limit(np.sort(random.chisquare(freedom, 100000)), 5000, 100000)
            assert limit == pytest.approx(chi2.ppf(likeness.EXPECTED_FALSE_ALARMS / 100000, freedom), rel=0.1)

    def test_very_smooth_unrelated_maps_are_not_reported(self, grid):
        assert [pair for seed in range(6) for pair in find(grid, volumes(30, seed, sigma=8.0))] == []

    def test_no_copy_of_the_data_is_made_in_memory(self, tmp_path, monkeypatch):
        monkeypatch.setattr(likeness, "BLOCK", 1 << 16)
        large = Grid(np.ones((60, 60, 40), bool), AFFINE)
        table = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (40, large.voxels))
        table[:] = np.random.default_rng(8).standard_normal(table.shape, dtype=np.float32) + 2
        tracemalloc.start()
        try:
            assert duplicates.find_duplicates(table, large, names(40)) == []
            assert tracemalloc.get_traced_memory()[1] < table.nbytes
        finally:
            tracemalloc.stop()


ROWS, COMPARED = 150, 60


@pytest.fixture(scope="module")
def many():
    """Participants with five altered copies and an equal one among them."""
    images = volumes(ROWS, 20)
    for number, change in enumerate(COPIES.values()):
        images[ROWS - 1 - number] = change(images[10 * number])
    images[80] = images[70]
    return images


class TestManyRows:
    """More rows than are all compared with each other: pairs are selected by projections, then compared exactly."""

    def test_pairs_and_likeness_equal_those_of_all_pairs_compared(self, grid, many, monkeypatch):
        every = find(grid, many)
        monkeypatch.setattr(likeness, "MAX_COMPARED", COMPARED)
        result = find(grid, many)
        copies = [(10 * number, ROWS - 1 - number, "alike") for number in range(len(COPIES))]
        assert kinds(result) == kinds(every) == sorted([*copies, (70, 80, "identical")])
        for pair, exact in zip(result, every, strict=True):
            numbers = [
                float(value) for one in (pair, exact) for value in re.findall(r"likeness (\d\.\d+)", one.measure)
            ]
            assert numbers[1:] == pytest.approx(numbers[:1], abs=0.03) or pair.kind == "identical"
            assert ("flipped" in pair.measure) == ("flipped" in exact.measure)

    def test_likeness_of_near_copies_is_exact_although_they_are_selected_by_projections(self, grid, many, monkeypatch):
        monkeypatch.setattr(likeness, "MAX_COMPARED", COMPARED)
        near = many.copy()
        rounding = np.random.default_rng(0).uniform(1 - 1e-6, 1 + 1e-6, SHAPE)
        near[1], near[3] = near[0] * rounding, COPIES["mirrored"](near[2]) * rounding
        shown = {(pair.first, pair.second): pair.measure for pair in find(grid, near)}
        assert shown[0, 1].startswith("likeness 1.000 (")
        assert shown[2, 3].startswith("likeness 1.000, one of them flipped")

    def test_independent_participants_are_not_reported(self, grid, monkeypatch):
        monkeypatch.setattr(likeness, "MAX_COMPARED", COMPARED)
        assert [pair for seed in range(5) for pair in find(grid, volumes(ROWS, seed, sigma=2.5))] == []

    def test_memory_grows_linearly_with_the_number_of_rows(self, monkeypatch):
        monkeypatch.setattr(likeness, "MAX_COMPARED", COMPARED)
        monkeypatch.setattr(likeness, "BLOCK", 1 << 16)
        small, peaks = Grid(np.ones((12, 12, 8), bool), AFFINE), []
        for count in (2000, 6000):
            x = np.random.default_rng(1).standard_normal((count, small.voxels), dtype=np.float32) + 2
            rows = likeness.Rows(np.arange(count), np.arange(count))
            tracemalloc.start()
            assert list(likeness.find_similar(x, small, rows)) == []
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert peaks[1] < 3.2 * peaks[0]


class TestSlices:
    @pytest.mark.parametrize(("axis", "plane"), [(0, "sagittal"), (1, "coronal"), (2, "axial")])
    def test_copied_slices_are_reported_with_axis_and_range(self, grid, axis, plane):
        images = volumes(8, 9)
        block = tuple(slice(8, 15) if one == axis else slice(None) for one in range(3))
        images[(6, *block)] = images[(2, *block)]
        told = f"7 {plane} slices are identical, 8 to 14 along axis {axis} of the grid"
        assert find(grid, images) == [duplicates.Pair(2, 6, "slices", told)]

    def test_two_copied_blocks_are_both_reported_and_four_slices_are_not(self, grid):
        images = volumes(8, 10)
        for block in (slice(2, 7), slice(8, 12), slice(13, 19)):
            images[5, :, :, block] = images[1, :, :, block]
        images[0, :, :, 15] = images[1, :, :, 15]
        told = [pair.measure for pair in find(grid, images) if pair.kind == "slices"]
        assert [re.search(r"\d+ to \d+", one)[0] for one in told] == ["2 to 6", "13 to 18"]

    def test_flat_slices_and_slices_with_few_voxels_are_ignored(self, grid):
        images = volumes(6, 11)
        images[:, :, :, 3:10] = 0
        assert find(grid, images) == []
        small = grid.mask.copy()
        small[9:] &= np.indices(SHAPE)[1, 9:] < 7
        images = volumes(6, 12)
        images[4, 9:] = images[0, 9:]
        assert max(small[9:].sum(axis=(1, 2))) < 100
        assert [pair for pair in find(Grid(small, AFFINE), images) if pair.kind == "slices"] == []

    def test_slices_of_the_same_participant_or_at_another_position_are_not_reported(self, grid):
        images = volumes(8, 13)
        images[1, :, 5:14] = images[0, :, 5:14]
        images[3, :, 5:14] = images[2, :, 6:15]
        assert find(grid, images, ["sub-0", *names(7)]) == []
