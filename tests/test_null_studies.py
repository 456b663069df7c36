"""Two hundred studies without an effect: how many are declared better than chance. The test is exact, so about ten.

Run it with `scripts/test -m slow -s tests/test_null_studies.py`; it prints every p that is declared.
"""

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter

from bids_app.classifiers import svm
from bids_app.dataset import folds
from bids_app.dataset.grid import Grid
from bids_app.evaluation import permutation, verdict
from bids_app.training import prepare, scores

pytestmark = pytest.mark.slow
STUDIES, PEOPLE, PERMUTATIONS, FOLDS = 200, 24, 99, 4
CLASSES = ("control", "patient")
SHAPE = (10, 12, 10)


def study(seed):
    """Smooth maps that know brain size, at two sites: the p and the verdict of an SVM on them."""
    random = np.random.default_rng(seed)
    grid = Grid(np.ones(SHAPE, bool), np.diag([4.0, 4, 4, 1]))
    size = random.normal(1500, 100, PEOPLE)
    maps = np.stack([gaussian_filter(random.normal(size=SHAPE), 1.5).ravel() for _ in range(PEOPLE)])
    x = (maps + 1e-3 * size[:, None]).astype(np.float32)
    y = random.permutation(np.arange(PEOPLE) % 2)
    names = [CLASSES[code] for code in y]
    people = [str(row) for row in range(PEOPLE)]
    sites = random.choice(["A", "B"], PEOPLE).tolist()
    splits = folds.stratified(names, people, folds=FOLDS, seed=seed)
    everyone = prepare.People({"gm": x}, {"tiv": size})
    kernels, parts, of_fold = [], [], np.zeros(PEOPLE, int)
    for split in splits:
        train, test = np.array(split.train), np.array(split.test)
        of_fold[test] = split.fold
        fitted = prepare.fit(everyone.rows(split.train), maps=("gm",), columns={"gm": ("tiv",)}, grid=grid)
        inner = svm.products(*(fitted.vectors(everyone.rows(side)) for side in (split.train, split.test)))
        kernels.append(permutation.Kernel(inner, train, test))
        decisions = svm.decide(inner, y[train][None])[0]
        probability = np.exp(decisions) / np.exp(decisions).sum(axis=1, keepdims=True)
        part = pd.DataFrame({"participant_id": test.astype(str), "cell": "svm/gm", "repeat": 1, "fold": split.fold})
        part["true"], part["predicted"] = y[test], decisions.argmax(axis=1)
        part[["true", "predicted"]] = part[["true", "predicted"]].replace(dict(enumerate(CLASSES)))
        parts.append(part.assign(probability_control=probability[:, 0], probability_patient=probability[:, 1]))
    labels = permutation.shuffles(y, of_fold, people, sites, count=PERMUTATIONS, seed=seed)
    found = permutation.scores(kernels, np.vstack([y, labels]), people, 2, decide=svm.decide)
    chance = permutation.table({"svm/gm": found[0]}, {"svm/gm": found[1:]}, ["svm/gm"]).iloc[0].to_dict()
    told = scores.table(pd.concat(parts), CLASSES)
    assert told["balanced_accuracy"][0] == pytest.approx(found[0])
    return chance["judged"], verdict.judge(told, CLASSES, chance=chance, rivals={}, unknown=[])


def test_about_one_study_in_twenty_is_declared_where_there_is_nothing():
    found = [study(seed) for seed in range(STUDIES)]
    declared = [p for p, told in found if told.kind == verdict.BETTER]
    print(f"\n{len(declared)} of {STUDIES} declared better than chance: p = {sorted(declared)}")
    print("p below 0.1, 0.25, 0.5:", [int(sum(p <= level for p, _ in found)) for level in (0.1, 0.25, 0.5)])
    assert 3 <= len(declared) <= 16  # binomial of 200 and 0.05: outside of it less than one time in 50
