"""Folds that hold out equal numbers per class: balanced, disjoint and random, with correct scores and reports."""

import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from bids_app.dataset import folds
from bids_app.dataset.grid import Grid
from bids_app.errors import DataError
from bids_app.planning.work_dir import WorkDir
from bids_app.run import main
from bids_app.training.sampling import train_validation_split
from bids_app.training.training_config import TrainingConfig

QUICK = ["--label", "group", "--classes", "control", "patient", "--sloppy", "--classifiers", "svm"]
ASKED = ["--folds", "2", "--n-test-per-class", "1", "--analysis", "balanced"]


def families(seed):
    """Random classes, families and participants: families of one to three, each participant with 1 or 2 sessions."""
    random = np.random.default_rng(seed)
    rows = []
    for person in range(random.integers(70, 90)):
        family = f"family{random.integers(60)}" if person % 3 else f"alone{person}"
        rows += [("abc"[random.choice(3, p=[0.5, 0.3, 0.2])], family, f"p{person}")] * random.integers(1, 3)
    return (list(part) for part in zip(*rows, strict=True))


@pytest.mark.parametrize("seed", range(10))
def test_folds_hold_out_equal_numbers_per_class_without_repeats_or_split_families(seed):
    classes, groups, people = families(seed)
    splits = folds.balanced_folds(classes, groups, people, number=2, folds=3, repeats=2, seed=seed)
    assert [(split.repeat, split.fold) for split in splits] == [(r, f) for r in (1, 2) for f in (1, 2, 3)]
    for split in splits:
        held = {(people[row], classes[row]) for row in split.test}
        assert Counter(kind for _, kind in held) == dict.fromkeys("abc", 2)
        assert not {groups[row] for row in split.train} & {groups[row] for row in split.test}
        assert sorted(split.train + split.test) == list(range(len(classes)))
    for repeat in (1, 2):
        held = [groups[row] for split in splits if split.repeat == repeat for row in set(split.test)]
        together = [{groups[row] for row in split.test} for split in splits if split.repeat == repeat]
        assert len(set(held)) == sum(map(len, together))


def test_balanced_folds_depend_on_seed_and_repeat_and_draw_participants_uniformly():
    classes = [*"aaaaaaaaaabbbbbbbb"]
    one, again = (folds.balanced_folds(classes, number=2, folds=2, repeats=600, seed=3) for _ in range(2))
    assert one == again
    assert one[:4] == folds.balanced_folds(classes, number=2, folds=2, repeats=2, seed=3)
    assert one[0].test != folds.balanced_folds(classes, number=2, folds=2, seed=4)[0].test
    drawn = Counter(row for split in one for row in split.test)
    # binomial, n 600, p 0.4 and 0.5: SDs of 12 and 12.2; four of them
    assert all(abs(drawn[row] - (240 if row < 10 else 300)) < 49 for row in range(18))


def test_too_few_participants_error_suggests_a_remedy():
    with pytest.raises(
        DataError, match=r"class b has 20 participants, .*use --n-test-per-class 4, or use --folds 3, or merge"
    ):
        folds.balanced_folds([*"a" * 40, *"b" * 20], number=6, folds=5)
    with pytest.raises(DataError, match="without class b: all its participants are held out"):
        folds.balanced_folds([*"aaaabb"], number=2, folds=1)
    with pytest.raises(DataError, match=r"no 2 folds were found that hold out 1 participants.*--groups"):
        folds.balanced_folds([*"aaaabbbb"], [*"xxyyzzww"], [*"12345678"], number=1, folds=2)


@pytest.mark.parametrize("other", [["--test-size", "0.2"], ["--leave-site-out"], ["--folds-file", "folds.tsv"]])
def test_balanced_folds_with_another_splitting_option_are_refused(phantom_maps, capsys, other):
    bids, out = phantom_maps
    assert main([str(bids), str(out), "group", *QUICK, *ASKED, *other]) == 64
    assert f"{other[0]} and --n-test-per-class each define how participants are split" in capsys.readouterr().err


def test_validation_split_takes_equal_numbers_of_whole_groups_per_class():
    y = np.array([0] * 24 + [1] * 14)
    groups = [f"{row // 2}" for row in range(24)] + [f"alone-{row}" for row in range(14)]
    rows, aside = train_validation_split(y, groups, share=6, seed=1)
    assert sorted([*rows, *aside]) == list(range(38))
    assert [len({groups[row] for row in aside if y[row] == one}) for one in (0, 1)] == [6, 6]
    with pytest.raises(DataError, match="9 participants of each class cannot be set aside for validation"):
        train_validation_split(np.array([0, 1] * 8), None, share=9, seed=1)
    assert TrainingConfig(epochs=1, validation=6).validation == 6
    with pytest.raises(ValueError, match="VALIDATION must be a proportion below 1 or a whole number"):
        TrainingConfig(epochs=1, validation=1.5)


@pytest.fixture(scope="module")
def half_tested(phantom_maps):
    """A group run that tests one of four participants of each class in each of two folds."""
    bids, out = phantom_maps
    assert main([str(bids), str(out), "group", *QUICK, *ASKED]) == 0
    return bids, out, out / "group" / "balanced"


@pytest.mark.slow
def test_only_held_out_participants_are_scored_and_reports_state_how_many(half_tested):
    _, out, folder = half_tested
    folds_table = pd.read_csv(folder / "folds.tsv", sep="\t")
    tested = folds_table[folds_table["role"] == "test"]
    predictions = pd.read_csv(folder / "predictions.tsv", sep="\t")
    assert len(folds_table) == 16
    assert sorted(predictions["participant_id"]) == sorted(tested["participant_id"])
    assert predictions.groupby("fold")["true"].apply(sorted).tolist() == [["control", "patient"]] * 2
    scores = pd.read_csv(folder / "scores.tsv", sep="\t").set_index("cell")
    right = predictions["true"] == predictions["predicted"]
    assert scores.loc["svm/gm", "n"] == 4
    assert scores.loc["svm/gm", "accuracy"] == pytest.approx(right.mean())
    assert set(scores["n"]) == {4}  # the image-free baselines are judged on the same participants
    (work,) = (out / ".work").glob("analysis-balanced-*")
    assert np.load(work / "nulls" / "svm" / "gm" / "all.npy")[0] == pytest.approx(right.mean())
    for name in ("methods.md", "report.html"):
        text = " ".join((folder / name).read_text().split())
        assert "Each of 2 folds held out 1 participants of each class, none twice, drawn at random once." in text
        assert "Tested: 2 of 4 control, 2 of 4 patient; the others were used for training only." in text
    assert len(list(out.glob("sub-*/anat/*_stat-weights_desc-balancedSvmGm*_statmap.json"))) == 4


@pytest.mark.slow
def test_region_maxima_are_scaled_per_fold_then_averaged_over_participants_and_folds(half_tested):
    _, out, folder = half_tested
    (work,) = (out / ".work").glob("analysis-balanced-*")
    labels, _ = WorkDir(work).read_atlas("gm", "aal")
    inside = labels[Grid.read(work / "grid_gm.npz").mask]
    table = pd.read_csv(folder / "regions.tsv", sep="\t").query("atlas == 'AAL' and method == 'weights'")
    for one, rows in table[table["index"] > 0].groupby("explained"):
        rows = rows.set_index("index")
        of_folds = []
        for fold in sorted((work / "folds" / "svm" / "gm").iterdir()):
            predictions = pd.read_csv(fold / "predictions.tsv", sep="\t")
            spread = json.loads((fold / "heatmaps.json").read_text())["weights"]["person_sd"]
            own = np.load(fold / "heatmap_weights.npy")[predictions["true"] == one, ["control", "patient"].index(one)]
            maxima = [[np.abs(person[inside == label]).max() / spread for label in rows.index] for person in own]
            of_folds.append(np.mean(maxima, axis=0))
        assert len(of_folds) == 2
        np.testing.assert_allclose(rows["person_maximum"], np.mean(of_folds, axis=0), rtol=1e-4)
        order = rows["person_maximum"].rank(ascending=False, method="min")
        assert (order == rows["rank_by_person_maximum"]).mean() > 0.95  # the table is rounded to six digits


@pytest.mark.slow
def test_permuted_labels_keep_class_counts_within_each_fold_and_the_training_only_set(half_tested):
    _, out, folder = half_tested
    (work,) = (out / ".work").glob("analysis-balanced-*")
    people = pd.read_csv(work / "people.tsv", sep="\t", dtype=str)
    table = pd.read_csv(folder / "folds.tsv", sep="\t").query("role == 'test'")
    place = people["participant_id"].radd("sub-").map(table.set_index("participant_id")["fold"]).fillna(0)
    labels = np.load(work / "labellings.npy")
    for fold in (0, 1, 2):
        rows = np.flatnonzero(place == fold)
        assert (labels[:, rows].sum(axis=1) == len(rows) // 2).all()
    assert len(np.unique(labels, axis=0)) == 2 * 2 * 6


@pytest.mark.slow
def test_folds_file_reproduces_predictions_and_models_predict_only_held_out_participants(half_tested):
    bids, out, folder = half_tested
    again = ["--analysis", "again", "--folds-file", str(folder / "folds.tsv"), "--permutations", "0"]
    assert main([str(bids), str(out), "group", *QUICK, *again]) == 0
    first, second = (pd.read_csv(each / "predictions.tsv", sep="\t") for each in (folder, out / "group" / "again"))
    pd.testing.assert_frame_equal(first, second)
    given = ["--model", str(folder / "models"), "--training-list", str(folder / "folds.tsv"), "--analysis", "applied"]
    assert main([str(bids), str(out), "group", "--sloppy", *given]) == 0
    applied = pd.read_csv(out / "group" / "applied" / "predictions.tsv", sep="\t").set_index("participant_id")
    asked = first.set_index("participant_id")["probability_patient"]
    assert json.loads(applied["probability_patient"].dropna().round(4).to_json()) == json.loads(
        asked.round(4).to_json()
    )


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (2, "use --n-test-per-class 1, or use --folds 2, or merge classes"),
        (3, "use --n-test-per-class 1, or merge classes"),
        (100, "use --n-test-per-class 1, or merge classes"),
    ],
)
def test_advice_for_too_few_participants_can_be_followed(number, advice):
    with pytest.raises(DataError, match=advice):
        folds.balanced_folds(["a", "b"] * 4, number=number, folds=4)
