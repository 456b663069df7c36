"""The region table of a mean heatmap: participant and fold ranks, separate means, unresolved regions."""

import numpy as np
import pytest

from bids_app.dataset.grid import Grid
from bids_app.results.region_tables import tabulate_regions
from bids_app.training.results import MeanHeatmap

SHAPE = (6, 5, 4)
ABOUT = {"names": {"1": "one", "2": "two", "3": "three"}, "name": "Toy"}


@pytest.fixture(params=["both", "positive"])
def made(request):
    """A mean of five participants over two folds, three regions of 40, 20 and 2 voxels, and its table."""
    random = np.random.default_rng(4)
    grid = Grid(np.ones(SHAPE, bool), np.diag([3.0, 3.0, 3.0, 1.0]))
    labels = np.zeros(SHAPE, int)
    labels[:2], labels[2], labels[5, 0, :2] = 1, 2, 3
    people = random.normal(size=(5, grid.voxels)).astype(np.float32)
    folds = (people[:3].mean(axis=0), people[3:].mean(axis=0))
    mean = MeanHeatmap("svm/gm", "weights", "patient", 5, "u", request.param, people.mean(axis=0), folds,
                right=people[:4].mean(axis=0), wrong=people[4], calls=(4, 1))  # fmt: skip
    p = np.array([np.nan, 0.25, 0.5, 0.75])
    placed = zip((0, 0, 0, 2, 2), people, strict=True)  # fold 1 held out no participant of the class
    table, of_folds = tabulate_regions(mean, placed, labels, ABOUT, grid, p_size=p, resolution_mm=8.0)
    return table.set_index("region"), of_folds, people, folds, labels.ravel(), request.param


def strength(values, sign):
    return abs(values) if sign == "both" else values


def test_participant_and_fold_ranks_match_those_of_single_maps(made):
    table, of_folds, people, folds, labels, sign = made
    for column, name in enumerate(("one", "two", "three"), start=1):

        def rank(one, column=column):
            means = {label: strength(one[labels == label].mean(dtype=float), sign) for label in (1, 2, 3)}
            return 1 + sum(other > means[column] for other in means.values())

        assert table.loc[name, "person_rank"] == np.median([rank(one) for one in people])
        assert table.loc[name, "fold_rank_best"] == min(map(rank, folds))
        assert table.loc[name, "fold_rank_worst"] == max(map(rank, folds))
        assert table.loc[name, "p_size"] == 0.25 * column
    assert of_folds.shape == (2, 3)


def test_participant_maximum_is_averaged_within_folds_then_over_folds(made):
    table, _, people, _, labels, sign = made
    result = {}
    for number, name in enumerate(("one", "two", "three"), start=1):
        of_folds = []
        for members in (people[:3], people[3:]):
            of_people = [max(strength(value, sign) for value in one[labels == number]) for one in members]
            of_folds.append(sum(of_people) / len(of_people))
        result[name] = sum(of_folds) / 2
        assert table.loc[name, "person_maximum"] == pytest.approx(result[name], rel=1e-6)
    for name, value in result.items():
        assert table.loc[name, "rank_by_person_maximum"] == 1 + sum(other > value for other in result.values())
    assert np.isnan(table.loc["outside the atlas", "person_maximum"])


def test_correct_and_incorrect_predictions_have_separate_means_and_small_regions_are_flagged(made):
    table, _, people, _, labels, _ = made
    assert table.loc["two", "mean_right"] == pytest.approx(people[:4, labels == 2].mean(), abs=1e-6)
    assert table.loc["two", "mean_wrong"] == pytest.approx(people[4, labels == 2].mean(), abs=1e-6)
    # 2 voxels of 27 mm3 are less than a cube of 8 mm, 20 are more
    assert table["below_resolution"].to_dict() == {
        "one": False, "two": False, "three": True, "outside the atlas": pytest.approx(np.nan, nan_ok=True),
    }  # fmt: skip
