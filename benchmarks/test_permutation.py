"""A thousand permutations of the default models, and of a linear SVM against scikit-learn's own:
`pytest -m slow -s benchmarks/test_permutation.py`.

200 participants, 230,000 voxels, five folds, values scaled on the training set of each fold. scikit-learn trains on the
voxels anew for each permutation and fold, so one of its permutations is timed, and counted a thousand times.
"""

import os
import time

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy, which reads it once

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold, permutation_test_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from bids_app.classifiers import _voxel_grid, model_averaging, regional, single_effect, svm
from bids_app.dataset import folds, scale
from bids_app.evaluation import permutation

pytestmark = pytest.mark.slow
PEOPLE, VOXELS, FOLDS, PERMUTATIONS = 200, 230_000, 5, 1000
INDEX = np.argwhere(np.ones((61, 62, 61), bool))[:VOXELS]
PLACES = _voxel_grid.VoxelGrid(INDEX, (2.0, 2.0, 2.0), np.ravel_multi_index(tuple((INDEX // 12).T), (6, 6, 6)) + 1)


def seconds(work):
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def ours(x, y, part=svm):
    people = [str(row) for row in range(PEOPLE)]
    kernels, of_fold = [], np.zeros(PEOPLE, int)
    for split in folds.stratified_folds([str(one) for one in y], people, folds=FOLDS):
        train, test = np.array(split.train), np.array(split.test)
        of_fold[test] = split.fold
        fitted = scale.fit(x[train])
        inner = part.gram_matrix(scale.transform(x[train], fitted), scale.transform(x[test], fitted), voxel_grid=PLACES)
        kernels.append(permutation.FoldKernel(inner, train, test))
    labels = permutation.shuffle_labels(y, of_fold, people, ["-"] * PEOPLE, count=PERMUTATIONS, seed=0)
    return permutation.score_labellings(kernels, labels, people, 2, decide=part.decision_function)


def theirs(x, y):
    model = make_pipeline(StandardScaler(), SVC(kernel="linear", class_weight="balanced"))
    return permutation_test_score(
        model, x, y, cv=StratifiedKFold(FOLDS), n_permutations=1, scoring="balanced_accuracy", random_state=0
    )


def test_1000_permutations_take_at_most_a_hundredth_of_the_time_of_scikit_learn():
    random = np.random.default_rng(0)
    x, y = random.standard_normal((PEOPLE, VOXELS), dtype=np.float32), random.permutation(np.arange(PEOPLE) % 2)
    own, null = seconds(lambda: ours(x, y))
    peer, _ = seconds(lambda: theirs(x, y))
    each = peer / 2  # one permutation, and the true labels
    ratio = each * PERMUTATIONS / own
    print(f"\n{PERMUTATIONS} permutations: {own:.1f} s; scikit-learn: {each:.1f} s each, {ratio:.0f} times as long")
    assert abs(null.mean() - 0.5) < 0.02
    assert own < each * PERMUTATIONS / 100


def test_default_models_together_take_at_most_twice_the_time_of_svm():
    random = np.random.default_rng(0)
    x, y = random.standard_normal((PEOPLE, VOXELS), dtype=np.float32), random.permutation(np.arange(PEOPLE) % 2)
    taken = {part: seconds(lambda part=part: ours(x, y, part))[0] for part in (svm, model_averaging)}
    alone = {part: seconds(lambda part=part: ours(x, y, part))[0] for part in (single_effect, regional)}
    for part, own in (taken | alone).items():
        print(f"\n{part.__name__.rpartition('.')[2]}: {own:.1f} CPU s")
    assert sum(taken.values()) < 2 * taken[svm]
