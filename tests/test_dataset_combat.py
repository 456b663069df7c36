"""ComBat compared with published neuroCombat output, the equations of the papers and a planted site effect."""

import tracemalloc

import numpy as np
import pytest
from scipy.special import ndtri

from bids_app.dataset import combat
from bids_app.errors import DataError

# https://github.com/Jfortin1/ComBatHarmonization, in Testing/. The input is what createTestData.R makes (commit e6e0d8d
# or 573b118): 200 voxels of 10 people from R's set.seed(10), five people of either site, sex in turns. Of the outputs
# published there, in R and in Python alike, these are the first three voxels to the eighth decimal.
# outputData/testdata_combat_parametric_adjusted_{python,r}.csv, commits a914963 and 573b118; the Python file of the
# later commit 29cca3c leaves out what sex explains, and agrees with neither R's nor its own training_test_scenario2
ADJUSTED = """
8.04849315 6.23753511 7.95061215 4.12699809 5.91171181 4.02180808 9.01064360 3.06684927 9.17348928 2.66563265
6.35430283 3.99288757 8.03372845 3.51878143 7.22159104 4.16359197 4.97782266 3.57561162 8.51935195 4.24756845
5.99169358 5.63311388 9.38782211 3.01067313 7.25651123 3.70520650 7.71475291 5.54405799 6.58657742 4.41737152
"""
# outputData/testdata_combat_parametric_unadjusted_{python,r}.csv, commit 573b118
UNADJUSTED = """
7.80968794 5.59183578 7.68890476 2.98747564 5.17294284 5.00097221 8.96581089 4.11105433 9.11756548 3.73716401
6.17428607 3.42415659 7.68611030 2.99736475 6.95502165 4.82818006 4.98268131 4.24201198 8.51329497 4.91189771
5.21276238 4.97203640 8.80503139 2.19813884 6.55062848 4.68252196 8.02514710 6.42194578 6.95797266 5.35617984
"""
# outputData/training_test_scenario2_{python,r}.csv, commit 29cca3c: fitted with sex, applied at the mean sex to people
# 1, 2, 6 and 7; here the first two voxels and, from R's, the last
APPLIED = """
8.04167231 6.24435595 4.38891849 8.64353318
6.70110013 3.64609027 4.49321786 4.64819677
5.53862528 4.80094309 4.13049666 7.19695879
"""
# data/testdata.csv, commit e6e0d8d: the first and the tenth voxel
INPUT = """
3.01874617 1.21551378 2.92054298 -0.90197026 0.87493142 9.07502052 14.24201415 7.91527600 14.43978120 7.42802066
2.74352161 -1.29508364 2.37576061 -0.41884030 3.88684169 9.07861035 13.03410484 13.21887050 11.55621368 6.70498142
"""
SITES = np.repeat([1, 2], 5)
SEX = np.tile([0.0, 1.0], 5)[:, None]
NOTHING = np.zeros((10, 0))


def numbers(text: str) -> np.ndarray:
    """Voxels by participants, as neuroCombat writes them, turned into participants by voxels."""
    return np.array([line.split() for line in text.split("\n") if line], float).T


def r_normal(seed: int, size: int) -> np.ndarray:
    """R's set.seed(seed); rnorm(size): Mersenne Twister, its seed scrambled, by inversion (R's help page RNG)."""
    words = [seed]
    for _ in range(50 + 625):
        words.append((69069 * words[-1] + 1) % 2**32)
    twister = np.random.MT19937()
    twister.state = {"bit_generator": "MT19937", "state": {"key": np.array(words[-624:], np.uint32), "pos": 624}}
    uniform = twister.random_raw(2 * size) * 2.3283064365386963e-10
    return ndtri((np.floor(2**27 * uniform[::2]) + uniform[1::2]) / 2**27)


@pytest.fixture(scope="module")
def published():
    data = r_normal(10, 2000).reshape(10, 200)
    data[::2] += 3
    data[5:] = (data[5:] + 5) * 1.5
    np.testing.assert_allclose(data[:, [0, 9]], numbers(INPUT), atol=1e-8)
    return data.astype(np.float32)


def plain(x, sites, keep):
    """Johnson's equations a voxel and a site at a time."""
    codes = np.unique(sites)
    design = np.column_stack([sites[:, None] == codes, keep]).astype(float)
    level, standard, centre, pooled = [], [], [], []
    for voxel in x.T.astype(float):
        beta = np.linalg.lstsq(design, voxel, rcond=None)[0]
        grand = sum((sites == code).mean() * beta[row] for row, code in enumerate(codes))
        centre.append(grand + keep @ beta[len(codes) :])
        pooled.append(np.sqrt(np.mean((voxel - design @ beta) ** 2)))
        standard.append((voxel - centre[-1]) / pooled[-1])
        level.append([standard[-1][sites == code].mean() for code in codes])
    result = np.array(x, float)
    for row, code in enumerate(codes):
        here = sites == code
        z, hats = np.array(standard)[:, here], np.array(level)[:, row]
        n, variances = here.sum(), z.var(axis=1, ddof=1)
        mean, tau2 = hats.mean(), hats.var(ddof=1)
        m, s2 = variances.mean(), variances.var(ddof=1)
        shape, rate = (2 * s2 + m**2) / s2, (m * s2 + m**3) / s2
        gamma, delta, change = hats, variances, 1.0
        while change > 1e-4:
            new = (n * tau2 * hats + delta * mean) / (n * tau2 + delta)
            width = (rate + ((z - new[:, None]) ** 2).sum(axis=1) / 2) / (n / 2 + shape - 1)
            change = max(np.abs(new / gamma - 1).max(), np.abs(width / delta - 1).max())
            gamma, delta = new, width
        moved = (z - gamma[:, None]) / np.sqrt(delta)[:, None] * np.array(pooled)[:, None] + np.array(centre)[:, here]
        result[here] = moved.T
    return result


def cohort(seed: int, people: int, voxels: int = 300):
    """Three sites that shift and stretch every voxel, and an age that differs by site and adds 0.05 a year."""
    effects, random = np.random.default_rng(0), np.random.default_rng(seed)
    shift = effects.normal(0, 2, (3, voxels))
    scale = np.array([[0.6], [1.0], [2.0]]) * effects.uniform(0.9, 1.1, (3, voxels))
    site = random.choice(3, people, p=[0.2, 0.3, 0.5])
    age = random.normal(40 + 15 * site, 10)
    x = 10 + 0.05 * age[:, None] + shift[site] + scale[site] * random.normal(size=(people, voxels))
    return x.astype(np.float32), np.array([4, 9, 2])[site], age[:, None]


def explained(x, sites):
    """The part of each voxel's variance that lies between sites."""
    means = np.stack([x[sites == code].mean(axis=0) for code in sites])
    return means.var(axis=0) / x.var(axis=0)


def slopes(x, age):
    away = age[:, 0] - age.mean()
    return away @ x / (away @ away)


class TestReferenceOutputs:
    def test_published_neurocombat_output_with_a_covariate_is_reproduced(self, published):
        ours = combat.transform(published, SITES, SEX, combat.fit(published, SITES, SEX))
        np.testing.assert_allclose(ours[:, :3], numbers(ADJUSTED), atol=2e-6)

    def test_published_neurocombat_output_without_covariates_is_reproduced(self, published):
        ours = combat.transform(published, SITES, NOTHING, combat.fit(published, SITES, NOTHING))
        np.testing.assert_allclose(ours[:, :3], numbers(UNADJUSTED), atol=2e-6)

    def test_published_neurocombat_output_for_new_participants_is_reproduced(self, published):
        fitted, some = combat.fit(published, SITES, SEX), [0, 1, 5, 6]
        ours = combat.transform(published[some], SITES[some], np.full((4, 1), 0.5), fitted)
        np.testing.assert_allclose(ours[:, [0, 1, -1]], numbers(APPLIED), atol=2e-6)

    def test_three_unequal_sites_and_two_covariates_agree_with_the_papers_equations(self):
        x, sites, age = cohort(3, 40, voxels=50)
        keep = np.column_stack([age, np.arange(40) % 2])
        ours = combat.transform(x, sites, keep, combat.fit(x, sites, keep))
        np.testing.assert_allclose(ours, plain(x, sites, keep), atol=1e-5)


class TestHeldOut:
    def test_site_explains_little_variance_and_spreads_are_equal_in_held_out_samples(self):
        x, sites, age = cohort(1, 200)
        new, theirs, ages = cohort(2, 200)
        clean = combat.transform(new, theirs, ages, combat.fit(x, sites, age))
        assert clean.dtype == np.float32
        assert np.isfinite(clean).all()
        years = 0.05 * ages  # what age adds differs by site and is to stay
        assert np.median(explained(new - years, theirs)) > 0.3
        assert np.median(explained(clean - years, theirs)) < 0.03  # 2 of 199 degrees of freedom are 0.01 by chance

        def spread(y):
            return np.array([(y - years)[theirs == code].std(axis=0).mean() for code in (4, 9, 2)])

        assert spread(new).max() > 3 * spread(new).min()
        assert spread(clean).max() < 1.1 * spread(clean).min()

    def test_slope_of_a_kept_covariate_that_differs_by_site_is_preserved(self):
        x, sites, age = cohort(1, 400)
        new, theirs, ages = cohort(2, 400)
        kept = combat.transform(new, theirs, ages, combat.fit(x, sites, age))
        lost = combat.transform(new, theirs, ages[:, :0], combat.fit(x, sites, age[:, :0]))
        assert slopes(kept, ages).mean() == pytest.approx(0.05, abs=0.003)
        assert slopes(lost, ages).mean() < 0.04

    def test_harmonised_values_do_not_depend_on_other_samples(self):
        x, sites, age = cohort(1, 60)
        fitted = combat.fit(x, sites, age)
        together = combat.transform(x, sites, age, fitted)
        for one in (slice(7, 8), slice(3, 40, 5)):
            np.testing.assert_array_equal(combat.transform(x[one], sites[one], age[one], fitted), together[one])

    def test_site_with_fewer_than_two_training_participants_is_unchanged_and_affects_no_other(self):
        x, sites, age = cohort(1, 60)
        alone = np.append(sites, 77)
        fitted = combat.fit(np.vstack([x, x[:1] + 50]), alone, np.vstack([age, [[90.0]]]))
        for name, array in combat.fit(x, sites, age).items():
            np.testing.assert_array_equal(fitted[name], array)
        new = np.array([4, 77, 3, 9])  # 3 was not there at all
        moved = combat.transform(x[:4], new, age[:4], fitted)
        np.testing.assert_array_equal(moved[1:3], x[1:3])
        assert (moved[[0, 3]] != x[[0, 3]]).any(axis=1).all()
        np.testing.assert_array_equal(combat.is_harmonised(new, fitted), [True, False, False, True])

    def test_single_training_site_changes_nothing(self):
        x, _, age = cohort(1, 20)
        fitted = combat.fit(x, np.append(np.zeros(19, int), 1), age)
        np.testing.assert_array_equal(combat.transform(x, np.arange(20) % 2, age, fitted), x)
        assert not combat.is_harmonised(np.array([0, 1]), fitted).any()


class TestVoxels:
    def test_constant_voxel_is_unchanged_and_affects_no_other(self):
        x, sites, age = cohort(1, 60)
        wider = np.column_stack([x, np.full(60, 0.1), np.zeros(60)]).astype(np.float32)
        ours = combat.transform(wider, sites, age, combat.fit(wider, sites, age))
        np.testing.assert_array_equal(ours[:, -2:], wider[:, -2:])
        np.testing.assert_allclose(
            ours[:, :-2], combat.transform(x, sites, age, combat.fit(x, sites, age)), rtol=1e-6, atol=1e-6
        )

    def test_voxels_constant_at_one_site_remain_finite(self):
        x, sites, age = cohort(1, 60)
        for voxels in (slice(0, 1), slice(None)):  # no coverage there, and identical participants
            x[sites == 9, voxels] = 0.0
            for keep in (age, age[:, :0]):
                assert np.isfinite(combat.transform(x, sites, keep, combat.fit(x, sites, keep))).all()

    def test_single_voxel_is_unchanged(self):
        x, sites, age = cohort(1, 60)
        one = x[:, :1]
        np.testing.assert_array_equal(combat.transform(one, sites, age, combat.fit(one, sites, age)), one)

    def test_fitting_voxels_in_blocks_gives_the_same_estimates(self, monkeypatch):
        x, sites, age = cohort(1, 60)
        whole = combat.fit(x, sites, age)
        monkeypatch.setattr(combat, "VALUES_AT_ONCE", 60 * 7)
        for name, array in combat.fit(x, sites, age).items():
            np.testing.assert_allclose(array, whole[name], rtol=1e-6, atol=1e-7)

    def test_memory_mapped_array_is_never_loaded_whole(self, tmp_path, monkeypatch):
        x, sites, age = cohort(1, 100, voxels=20_000)
        np.save(tmp_path / "x.npy", x)
        mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
        monkeypatch.setattr(combat, "VALUES_AT_ONCE", 2**16)
        tracemalloc.start()
        combat.fit(mapped, sites, age)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < x.nbytes


class TestRefusals:
    def test_missing_covariates_are_refused(self):
        x, sites, age = cohort(1, 60)
        fitted = combat.fit(x, sites, age)
        with pytest.raises(DataError, match="missing"):
            combat.fit(x, sites, np.full_like(age, np.nan))
        with pytest.raises(DataError, match="missing"):
            combat.transform(x[:1], sites[:1], np.array([[np.nan]]), fitted)

    def test_too_many_covariates_are_refused(self):
        x, sites, _ = cohort(1, 12)
        with pytest.raises(DataError, match="too many"):
            combat.fit(x, sites, np.random.default_rng(0).normal(size=(12, 9)))

    def test_covariate_collinear_with_site_is_refused(self):
        x, sites, age = cohort(1, 60)
        with pytest.raises(DataError, match="collinear"):
            combat.fit(x, sites, np.column_stack([age, sites == 9]))

    def test_constant_covariate_is_ignored(self):
        x, sites, age = cohort(1, 60)
        both = np.column_stack([age, np.full(60, 1400.1)])
        ours = combat.transform(x, sites, both, combat.fit(x, sites, both))
        np.testing.assert_array_equal(ours, combat.transform(x, sites, age, combat.fit(x, sites, age)))

    def test_non_convergence_is_refused(self, monkeypatch):
        x, sites, age = cohort(1, 60)
        monkeypatch.setattr(combat, "MAX_ITER", 1)
        with pytest.raises(DataError, match="converge"):
            combat.fit(x, sites, age)
