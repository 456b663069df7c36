"""The voxelwise test compared with explicit loops and nilearn, with and without planted effects."""

import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Image
from nilearn.maskers import NiftiMasker
from nilearn.mass_univariate import permuted_ols
from scipy.ndimage import gaussian_filter

from bids_app.dataset.grid import Grid
from bids_app.errors import DataError
from bids_app.evaluation import voxelwise

PEOPLE = 16
TESTED = np.arange(PEOPLE) % 2 * 1.0
NONE = np.zeros((PEOPLE, 0))


@pytest.fixture
def grid():
    """A ball inside a larger box."""
    places = np.indices((7, 8, 9)) - np.array([3, 4, 4])[:, None, None, None]
    return Grid(np.square(places).sum(axis=0) <= 7, np.diag([3.0, 3, 3, 1]))


def noise(grid, seed, people=PEOPLE):
    random = np.random.default_rng(seed)
    smooth = [gaussian_filter(random.normal(size=grid.mask.shape), 1.0) for _ in range(people)]
    return np.stack([grid.vector(one) for one in smooth]) * 5


def t_by_hand(x, tested, others):
    design = np.column_stack([tested, others, np.ones(len(x))])
    inverse = np.linalg.inv(design.T @ design)
    result = []
    for values in x.T:
        beta = inverse @ design.T @ values
        error = values - design @ beta
        result.append(beta[0] / np.sqrt(error @ error / (len(x) - design.shape[1]) * inverse[0, 0]))
    return np.array(result)


def tfce_by_hand(t, grid):
    """The sum over 100 steps h up to the largest |t| of extent^0.5 h^2, by sign; extents by filling from each voxel."""
    volume, result = grid.volume(t), np.zeros(grid.mask.shape)
    for sign in (1, -1):
        for height in np.linspace(0, np.abs(t).max(), 101)[1:]:
            left = {tuple(place) for place in np.argwhere((volume * sign >= height) & grid.mask)}
            while left:
                cluster, edge = set(), [left.pop()]
                while edge:
                    place = edge.pop()
                    cluster.add(place)
                    steps = [(axis, step) for axis in range(3) for step in (-1, 1)]
                    near = [tuple(np.add(place, np.eye(3, dtype=int)[axis] * step).tolist()) for axis, step in steps]
                    edge += [one for one in near if one in left]
                    left -= set(near)
                for place in cluster:
                    result[place] += sign * len(cluster) ** 0.5 * height**2
    return grid.vector(result)


def orders(people, permutations, seed):
    """The successive permutations drawn by nilearn."""
    random = np.random.RandomState(np.random.RandomState(seed).randint(1, np.iinfo(np.int32).max - 1))
    now = np.arange(people)
    for _ in range(permutations):
        now = now[random.permutation(people)]
        yield now


def test_p_over_two_maps_matches_the_definition_with_shared_permutations(grid):
    one, two = noise(grid, 1), noise(grid, 2)
    middle = grid.vector(np.indices(grid.mask.shape)[0] == 3)
    two[np.ix_(TESTED == 1, middle)] -= 2.0
    drawn = [voxelwise.permute_tfce(x, TESTED, NONE, grid, permutations=19, seed=5) for x in (one, two)]
    p = voxelwise.familywise_p([permuted.tfce for permuted in drawn], [permuted.null for permuted in drawn])
    most = []
    for order in orders(PEOPLE, 19, 5):
        most.append(max(np.abs(tfce_by_hand(t_by_hand(x, TESTED[order], NONE), grid)).max() for x in (one, two)))
    for x, permuted, own in zip((one, two), drawn, p, strict=True):
        t = t_by_hand(x, TESTED, NONE)
        tfce = tfce_by_hand(t, grid)
        assert np.allclose(permuted.t, t)
        assert np.allclose(permuted.tfce, tfce)
        assert np.allclose(own, [(1 + sum(one >= abs(value) for one in most)) / 20 for value in tfce])
    assert min(p[0]) > 0.05 > min(p[1]) - 1e-9


def test_p_of_one_map_matches_nilearn(grid):
    x = noise(grid, 3)
    x[:, :30] += 3 * TESTED[:, None]
    permuted = voxelwise.permute_tfce(x, TESTED, NONE, grid, permutations=50, seed=9)
    masker = NiftiMasker(mask_img=Nifti1Image(grid.mask.astype(np.uint8), grid.affine), standardize=None).fit()
    oracle = permuted_ols(TESTED, x, n_perm=50, random_state=9, masker=masker, tfce=True)
    (p,) = voxelwise.familywise_p([permuted.tfce], [permuted.null])
    assert np.allclose(-np.log10(p), oracle["logp_max_tfce"][0])
    assert np.allclose(permuted.t, oracle["t"][0])
    assert p.min() == pytest.approx(1 / 51)


@pytest.mark.parametrize("sign", [1, -1])
def test_planted_effect_is_detected_in_the_right_map_location_and_direction(grid, sign):
    maps = [noise(grid, seed) for seed in (11, 12, 13)]
    where = grid.vector(np.square(np.indices(grid.mask.shape) - np.array([3, 4, 4])[:, None, None, None]).sum(0) <= 2)
    maps[1][np.ix_(TESTED == 1, where)] += sign * 3.0
    drawn = [voxelwise.permute_tfce(x, TESTED, NONE, grid, permutations=39, seed=2) for x in maps]
    p = voxelwise.familywise_p([permuted.tfce for permuted in drawn], [permuted.null for permuted in drawn])
    assert [bool((own < 0.05).any()) for own in p] == [False, True, False]
    assert (p[1][where] < 0.05).mean() > 0.8
    assert (p[1][~where] < 0.05).mean() < 0.2
    assert (np.sign(drawn[1].t[where]) == sign).all()


def test_effect_explained_by_a_covariate_vanishes_after_adjustment(grid):
    random = np.random.default_rng(4)
    age = 50 + 20 * TESTED + random.normal(size=PEOPLE) * 5
    x = noise(grid, 21) * 0.3 + 0.1 * age[:, None]
    for others, low in ((NONE, True), (age[:, None], False)):
        permuted = voxelwise.permute_tfce(x, TESTED, others, grid, permutations=39, seed=3)
        (p,) = voxelwise.familywise_p([permuted.tfce], [permuted.null])
        assert bool(p.min() < 0.05) is low
    assert np.allclose(permuted.t, t_by_hand(x, TESTED, age[:, None]))


def test_constant_covariate_keeps_the_null_and_voxels_without_variance_get_zero(grid):
    x = noise(grid, 31)
    x[:, 5], x[:, 6], x[:, 7] = 0.0, 0.1, TESTED * 0.3
    plain = voxelwise.permute_tfce(x, TESTED, NONE, grid, permutations=20, seed=3)
    permuted = voxelwise.permute_tfce(x, TESTED, np.full((PEOPLE, 1), 0.1), grid, permutations=20, seed=3)
    assert np.array_equal(permuted.null, plain.null)
    assert not permuted.t[5:8].any()
    assert not permuted.tfce[5:8].any()
    assert np.count_nonzero(permuted.t) == grid.voxels - 3
    with pytest.raises(DataError, match="no voxel varies"):
        voxelwise.permute_tfce(np.ones_like(x), TESTED, NONE, grid, permutations=20, seed=3)


@pytest.mark.parametrize(("columns", "words"), [(PEOPLE - 2, "too few"), (1, "determine the class")])
def test_design_with_class_determined_by_covariates_or_too_few_samples_is_refused(columns, words):
    others = np.random.default_rng(0).normal(size=(PEOPLE, columns)) if columns > 1 else 3 - 2 * TESTED[:, None]
    with pytest.raises(DataError, match=words):
        voxelwise.check_design(TESTED, others)
    voxelwise.check_design(TESTED, NONE)


def test_several_sessions_of_a_participant_are_averaged():
    rows = np.array([[1.0, 2], [10, 20], [3, 4], [7, 7]])
    assert voxelwise.average_sessions(rows, ["b", "a", "b", "c"]).tolist() == [[2, 3], [10, 20], [7, 7]]


@pytest.mark.slow
def test_family_wise_error_rate_is_controlled_without_an_effect(grid):
    """Of 60 studies of three maps 3 are expected with p below 0.05 in any voxel of any map; 8 or more have p 0.02."""
    low = 0
    for study in range(60):
        drawn = [
            voxelwise.permute_tfce(noise(grid, 1000 * study + one), TESTED, NONE, grid, permutations=59, seed=study)
            for one in range(3)
        ]
        p = voxelwise.familywise_p([permuted.tfce for permuted in drawn], [permuted.null for permuted in drawn])
        low += bool(min(one.min() for one in p) <= 0.05)
    assert 0 < low < 8
