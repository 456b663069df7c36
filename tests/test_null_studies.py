"""Two hundred null studies: how many make a claim with either of the default models. The family-wise error rate
is controlled at 0.05, so about ten are expected.

Run it with `scripts/test -m slow -s tests/test_null_studies.py`; it prints every p that is claimed.
"""

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter

from bids_app.classifiers import model_averaging, svm
from bids_app.dataset import folds
from bids_app.dataset.grid import Grid
from bids_app.evaluation import permutation, verdict
from bids_app.training import models, scores
from bids_app.training.feature_pipeline import SITE_COLUMN, Samples, fit_pipeline

pytestmark = pytest.mark.slow
STUDIES, PEOPLE, PERMUTATIONS, FOLDS = 200, 24, 99, 4
SITE_PEOPLE = 16  # at each of the pooled sites
CLASSES = ("control", "patient")
SHAPE = (10, 12, 10)
GRID = Grid(np.ones(SHAPE, bool), np.diag([4.0, 4, 4, 1]), regions=np.indices(SHAPE)[0].ravel() // 2 + 1)
CELLS = {"model_averaging/gm": model_averaging, "svm/gm": svm}


def judge(samples, y, sites, splits, *, seed, keep=None):
    """The p and the verdict of each of the default cells; keep: what ComBat preserves, None without ComBat."""
    people = [str(row) for row in range(len(y))]
    kernels, parts, of_fold = {cell: [] for cell in CELLS}, [], np.zeros(len(y), int)
    for split in splits:
        train, test = np.array(split.train), np.array(split.test)
        of_fold[test] = split.fold
        fitted = fit_pipeline(samples.select(split.train), maps=("gm",), columns={"gm": ("tiv",)}, grid=GRID, keep=keep)
        both = [fitted.transform(samples.select(side)) for side in (split.train, split.test)]
        for cell, classifier in CELLS.items():
            products = classifier.gram_matrix(*both, voxel_grid=models.places(GRID))
            kernels[cell].append(permutation.FoldKernel(products, train, test))
            decisions = classifier.decision_function(products, y[train][None])[0]
            probability = np.exp(decisions) / np.exp(decisions).sum(axis=1, keepdims=True)
            part = pd.DataFrame({"participant_id": test.astype(str), "cell": cell, "repeat": 1, "fold": split.fold})
            part["true"], part["predicted"] = y[test], decisions.argmax(axis=1)
            part[["true", "predicted"]] = part[["true", "predicted"]].replace(dict(enumerate(CLASSES)))
            parts.append(part.assign(probability_control=probability[:, 0], probability_patient=probability[:, 1]))
    labels = np.vstack([y, permutation.shuffle_labels(y, of_fold, people, sites, count=PERMUTATIONS, seed=seed)])
    scored = {
        cell: permutation.score_labellings(kernels[cell], labels, people, 2, decide=classifier.decision_function)
        for cell, classifier in CELLS.items()
    }
    observed, null = ({cell: own[part] for cell, own in scored.items()} for part in (0, slice(1, None)))
    chance = permutation.tabulate_p_values(observed, null, list(CELLS)).set_index("cell")
    table = scores.score_table(pd.concat(parts), CLASSES)
    result = {}
    for cell in CELLS:
        rows = table[table["cell"] == cell]
        assert rows["balanced_accuracy"].iloc[0] == pytest.approx(observed[cell])
        about = chance.loc[cell].to_dict()
        result[cell] = about["p_corrected"], verdict.judge_model(rows, CLASSES, chance=about, rivals={}, unknown=[])
    return result


def draw_maps(random, size):
    """Smooth maps (people, voxels) that know the size of each brain."""
    maps = np.stack([gaussian_filter(random.normal(size=SHAPE), 1.5).ravel() for _ in size])
    return maps + 1e-3 * size[:, None]


def study(seed):
    """Smooth maps that know brain size, at two sites: the p and the verdict of each of the default cells."""
    random = np.random.default_rng(seed)
    size = random.normal(1500, 100, PEOPLE)
    x = draw_maps(random, size).astype(np.float32)
    y = random.permutation(np.arange(PEOPLE) % 2)
    sites = random.choice(["A", "B"], PEOPLE).tolist()
    splits = folds.stratified_folds(
        [CLASSES[code] for code in y], [str(row) for row in range(PEOPLE)], folds=FOLDS, seed=seed
    )
    return judge(Samples({"gm": x}, {"tiv": size}), y, sites, splits, seed=seed)


def pooled_study(seed, scheme):
    """Three sites with scanners that differ by twice the SD between people, and 1, 2 and 3 in 4 patients."""
    random = np.random.default_rng(seed)
    number = np.repeat(np.arange(3), SITE_PEOPLE)
    y = np.concatenate([random.permutation(np.arange(SITE_PEOPLE) % 4 < patients) for patients in (1, 2, 3)])
    y = y.astype(int)
    size = random.normal(1500, 100, len(y))
    x = draw_maps(random, size)
    offsets = np.stack([gaussian_filter(random.normal(size=SHAPE), 2.5).ravel() for _ in range(3)])
    x = (1 + 0.2 * number[:, None]) * x + 2 * x.std() / offsets.std() * offsets[number]
    names, people = [CLASSES[code] for code in y], [str(row) for row in range(len(y))]
    sites = number.astype(str).tolist()
    samples = Samples({"gm": x.astype(np.float32)}, {"tiv": size, SITE_COLUMN: number.astype(float)})
    if scheme == "leave-site-out":
        return judge(samples, y, sites, folds.leave_site_out(names, sites, people), seed=seed)
    return judge(samples, y, sites, folds.stratified_folds(names, people, folds=3, seed=seed), seed=seed, keep=())


def list_claims(result):
    """The p of each study that makes a claim, printed."""
    claims = [
        min(p for p, told in one.values() if told.claim) for one in result if any(t.claim for _, t in one.values())
    ]
    print(f"\n{len(claims)} of {STUDIES} claim to distinguish the classes: p = {sorted(claims)}")
    for cell in CELLS:
        below = [sum(one[cell][0] <= level for one in result) for level in (0.1, 0.25, 0.5)]
        print(cell, "p below 0.1, 0.25, 0.5:", below)
    return claims


def test_about_one_in_twenty_null_studies_makes_a_claim():
    claims = list_claims([study(seed) for seed in range(STUDIES)])
    assert 3 <= len(claims) <= 16  # binomial of 200 and 0.05: outside of it less than one time in 50


@pytest.mark.parametrize("scheme", ["combat", "leave-site-out"])
def test_at_most_one_in_twenty_null_studies_of_pooled_sites_makes_a_claim(scheme):
    claims = list_claims([pooled_study(seed, scheme) for seed in range(STUDIES)])
    assert len(claims) <= 16  # binomial of 200 and 0.05: above it less than one time in 50
