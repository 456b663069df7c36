"""Permutation tests: which labellings are drawn, the scores under them and the resulting p values."""

import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler

from bids_app.classifiers import svm
from bids_app.dataset import folds
from bids_app.evaluation import permutation


def drawn(y, fold, units=None, sites=None, **chosen):
    units = [str(row) for row in range(len(y))] if units is None else units
    sites = ["one"] * len(y) if sites is None else sites
    return permutation.shuffle_labels(np.array(y), fold, units, sites, **{"count": 400, "seed": 1, **chosen})


def test_labels_are_permuted_within_fold_and_site_and_every_labelling_occurs():
    y, fold = [0, 1, 1, 0, 1, 0, 0, 1], [1, 1, 1, 2, 2, 2, 2, 2]
    sites = ["a", "a", "b", "a", "a", "b", "b", "b"]
    result = drawn(y, fold, sites=sites)
    cells = list(zip(fold, sites, strict=True))
    for cell in set(cells):
        rows = [row for row, entry in enumerate(cells) if entry == cell]
        assert (np.sort(result[:, rows], axis=1) == np.sort(np.array(y)[rows])).all()
    possible = {
        each
        for each in itertools.product((0, 1), repeat=8)
        if all(
            sorted(each[row] for row in range(8) if cells[row] == cell)
            == sorted(y[row] for row in range(8) if cells[row] == cell)
            for cell in cells
        )
    }
    assert {tuple(labels) for labels in result.tolist()} == possible
    assert permutation.count_labellings(np.array(y), fold, list("abcdefgh"), sites) == len(possible)
    counts = np.unique(result, axis=0, return_counts=True)[1]
    assert counts.min() > 0.5 * 400 / len(possible)


def test_units_are_permuted_whole_and_only_among_units_of_equal_size():
    units = ["f1", "f1", "f2", "f2", "g", "h", "i", "f3", "f3"]
    y, fold = [0, 1, 1, 1, 0, 1, 1, 0, 0], [1] * 9
    result = drawn(y, fold, units)
    pairs = {tuple(labels) for labels in result[:, [0, 1, 2, 3, 7, 8]].tolist()}
    assert pairs == set(
        itertools.chain(*([(*a, *b, *c)] for a, b, c in itertools.permutations([(0, 1), (1, 1), (0, 0)])))
    )
    assert {tuple(labels) for labels in result[:, 4:7].tolist()} == {(0, 1, 1), (1, 0, 1), (1, 1, 0)}
    assert permutation.count_labellings(np.array(y), fold, units, ["s"] * 9) == 6 * 3
    apart = drawn(y, [1, 1, 2, 2, 1, 2, 3, 3, 3], units)
    assert (apart == np.array(y)).all()


def test_permutations_are_reproducible_and_do_not_depend_on_the_count():
    y, fold = [0, 1] * 10, [1, 1, 2, 2] * 5
    assert (drawn(y, fold) == drawn(y, fold)).all()
    assert (drawn(y, fold, count=30) == drawn(y, fold, count=100)[:30]).all()
    assert (drawn(y, fold, seed=2) != drawn(y, fold)).any()


@pytest.fixture(scope="module")
def study():
    """Thirty participants of three classes, two of them scanned twice; three folds, kernels of the scaled values."""
    random = np.random.default_rng(0)
    people = [*map(str, range(30)), "3", "17"]
    y = np.array([int(name) % 3 for name in people])
    x = (random.normal(size=(32, 50)) + 0.8 * np.eye(50)[y]).astype(np.float32)
    splits = folds.stratified_folds([str(one) for one in y], people, folds=3, seed=0)
    kernels, scaled = [], []
    for split in splits:
        train, test = np.array(split.train), np.array(split.test)
        scaler = StandardScaler().fit(x[train])
        scaled.append((scaler.transform(x[train]), scaler.transform(x[test])))
        kernels.append(permutation.FoldKernel(svm.gram_matrix(*scaled[-1]), train, test))
    return people, y, kernels, scaled


def test_permutation_scores_equal_those_of_retrained_classifiers(study):
    people, y, kernels, scaled = study
    fold_of = np.zeros(len(y), int)
    for number, kernel in enumerate(kernels):
        fold_of[kernel.test] = number
    labellings = permutation.shuffle_labels(y, fold_of, people, ["s"] * len(y), count=12, seed=3)
    result = permutation.score_labellings(kernels, labellings, people, 3, decide=svm.decision_function)
    for labels, score in zip(labellings, result, strict=True):
        right = {one: [] for one in range(3)}
        for kernel, (training, held_out) in zip(kernels, scaled, strict=True):
            machine = svm.build(1, 3, (50,), voxel_mm=(1, 1, 1), seed=0)
            machine.fit(training.astype(np.float32), labels[kernel.train].astype(int), seed=0)
            with_slope = machine(torch.from_numpy(held_out.astype(np.float32))).detach().numpy()
            for person in {people[row] for row in kernel.test}:
                rows = [place for place, row in enumerate(kernel.test) if people[row] == person]
                true = labels[kernel.test[rows[0]]]
                right[true].append(with_slope[rows].mean(axis=0).argmax() == true)
        assert score == pytest.approx(np.mean([np.mean(each) for each in right.values()]))


def test_p_counts_permutations_reaching_the_score_and_p_max_uses_all_models():
    random = np.random.default_rng(0)
    null = {"a": random.random(99), "b": random.random(19), "few": random.random(18)}
    observed = {"a": 0.9, "b": 0.5, "few": 2.0, "none": 0.5}
    result = permutation.tabulate_p_values(observed, null, ["a"]).set_index("cell")
    assert result.loc["a", "p"] == (1 + (null["a"] >= 0.9).sum()) / 100
    assert result.loc["b", "p_max"] == (1 + (np.maximum(null["a"][:19], null["b"]) >= 0.5).sum()) / 20
    assert result.loc["a", "p_corrected"] == result.loc["a", "p"]
    assert result.loc["b", "p_corrected"] == result.loc["b", "p_max"] >= result.loc["b", "p"]
    assert result.loc[["few", "none"], ["p", "p_max", "p_family", "p_corrected"]].isna().all(axis=None)
    assert result["permutations"].to_dict() == {"a": 99, "b": 19, "few": 18, "none": 0}
    needed = result.loc["a", "critical_score"]
    assert (1 + (null["a"] >= needed).sum()) / 100 <= 0.05 < (1 + (null["a"] >= needed - 1e-6).sum() + 1) / 100


def test_step_down_p_values_of_linear_models_match_a_hand_count():
    null = {name: np.arange(99) / 99 for name in "abcd"}
    null["b"] = null["b"][::-1]
    observed = {"a": 99 / 99, "b": 96.5 / 99, "c": 95.5 / 99, "d": 0.0}
    table = permutation.tabulate_p_values(observed, null, ["a", "b", "c"]).set_index("cell")
    assert table["p"].tolist() == pytest.approx([0.01, 0.03, 0.04, 1.0])
    # of b and c together, which are each other's mirror, twice as many labellings reach 96.5 / 99
    assert table["p_family"].tolist()[:3] == pytest.approx([0.01, 0.05, 0.05])
    assert math.isnan(table.loc["d", "p_family"])


def test_step_down_p_is_at_most_single_step_p_and_equal_for_the_best_model():
    random = np.random.default_rng(3)
    shared = random.normal(size=999)
    null = {name: shared + 0.3 * random.normal(size=999) for name in "abc"}
    observed = {"a": 2.2, "b": 1.9, "c": 1.8}
    corrected = permutation.step_down_p(observed, null)
    one_step = {
        name: (1 + (np.max(list(null.values()), axis=0) >= score).sum()) / 1000 for name, score in observed.items()
    }
    assert corrected["a"] == one_step["a"]
    assert all(corrected[name] <= one_step[name] for name in observed)
    own = {name: (1 + (null[name] >= score).sum()) / 1000 for name, score in observed.items()}
    assert all(own[name] <= corrected[name] for name in observed)
    # cells that are alike under the same labellings cost less than a correction that takes them for strangers
    assert corrected["a"] < 3 * own["a"]


def test_family_wise_error_rate_is_controlled_for_independent_and_correlated_models():
    random = np.random.default_rng(5)
    for share in (0.0, 0.9):
        false = 0
        for _ in range(1000):
            scores = share * random.normal(size=100) + math.sqrt(1 - share**2) * random.normal(size=(4, 100))
            observed = {str(cell): row[0] for cell, row in enumerate(scores)}
            corrected = permutation.step_down_p(observed, {str(cell): row[1:] for cell, row in enumerate(scores)})
            false += min(corrected.values()) <= permutation.ALPHA
        assert 30 <= false <= 71  # binomial of 1000 and 0.05: outside of it less than three times in a thousand
