"""Model selection in inner folds: it uses training participants only and is scored as applied."""

import json

import numpy as np
import pandas as pd
import pytest

from bids_app.dataset.folds import Split
from bids_app.results.nested_cv import selected_predictions
from bids_app.run import main


def test_held_out_predictions_come_from_the_model_selected_in_each_fold():
    rows = [("a", 1, 1, "01", 0.9), ("a", 1, 2, "02", 0.8), ("b", 1, 1, "01", 0.2), ("b", 1, 2, "02", 0.1)]
    predictions = pd.DataFrame(rows, columns=["cell", "repeat", "fold", "participant_id", "probability_x"])
    chosen = pd.DataFrame(
        {"repeat": 1, "fold": [1, 1, 2, 2], "cell": ["a", "b", "a", "b"], "chosen": [False, True, True, False]}
    )
    result = selected_predictions(predictions, chosen)
    assert result["cell"].tolist() == ["chosen", "chosen"]
    assert result.set_index("participant_id")["probability_x"].to_dict() == {"01": 0.2, "02": 0.8}
    assert selected_predictions(predictions, None).empty


@pytest.mark.slow
def test_inner_scores_equal_an_analysis_of_training_participants_only(phantom_maps, tmp_path):
    """Fold 1's inner score of the SVM equals that of a group run on the training participants and inner folds."""
    bids, out = phantom_maps
    options = ["--label", "group", "--classes", "control", "patient", "--sloppy", "--nprocs", "2"]
    options += ["--covariates", "none", "--permutations", "0", "--explainers", "weights"]
    given = ["--analysis", "nested", "--folds", "2", "--inner-folds", "2"]
    assert main([str(bids), str(out), "group", *options, *given]) == 0
    folder = out / "group" / "nested"
    choices = pd.read_csv(folder / "choices.tsv", sep="\t")
    assert len(choices) == 4
    for _, rows in choices.groupby("fold"):
        best = rows.loc[rows["chosen"], "inner_balanced_accuracy"]
        assert len(best) == 1
        assert best.iloc[0] == rows["inner_balanced_accuracy"].max()

    predictions = pd.read_csv(folder / "predictions.tsv", sep="\t", dtype=str)
    mine = predictions[predictions["cell"] == "chosen"].set_index("participant_id")
    assert len(mine) == 8
    by_fold = choices[choices["chosen"]].set_index("fold")["cell"]
    for person, row in mine.iterrows():
        same = predictions[
            (predictions["participant_id"] == person) & (predictions["cell"] == by_fold[int(row["fold"])])
        ].iloc[0]
        assert row["probability_patient"] == same["probability_patient"]
    scores = pd.read_csv(folder / "scores.tsv", sep="\t").set_index("cell").loc["chosen"]
    shares = [(part["predicted"] == part["true"]).mean() for _, part in mine.groupby("true")]
    assert scores["balanced_accuracy"] == pytest.approx(np.mean(shares), abs=1e-5)
    assert "no claim" in (folder / "report.html").read_text()

    folds = pd.read_csv(folder / "folds.tsv", sep="\t", dtype=str)
    people = folds.loc[(folds["fold"] == "1") & (folds["role"] == "train"), "participant_id"].tolist()
    (work,) = (out / ".work").glob("analysis-nested-*")
    file = work / "inner" / "svm" / "gm" / "repeat-1_fold-1.json"
    inner, made = json.loads(file.read_text()), file.stat().st_mtime_ns
    assert main([str(bids), str(out), "group", *options, *given]) == 0
    assert file.stat().st_mtime_ns == made  # what is there is not computed again
    used = pd.read_csv(folder / "samples.tsv", sep="\t", dtype=str).query("used == 'True'")["participant_id"].tolist()
    rows = _inner_rows(used, people, pd.read_csv(bids / "participants.tsv", sep="\t", dtype=str))
    rows.to_csv(tmp_path / "folds.tsv", sep="\t", index=False)
    given = ["--analysis", "alone", "--classifiers", "svm", "--folds-file", str(tmp_path / "folds.tsv")]
    assert main([str(bids), str(out), "group", *options, *given, "--participant-label", *people]) == 0
    alone = pd.read_csv(out / "group" / "alone" / "scores.tsv", sep="\t").set_index("cell")
    assert alone.loc["svm/gm", "balanced_accuracy"] == pytest.approx(inner, abs=1e-5)


def _inner_rows(used, people, table):
    """The inner folds of fold 1 as a table."""
    from bids_app.dataset import folds

    known = table.set_index("participant_id")["group"]
    classes = [known[person] for person in used]
    train = tuple(used.index(person) for person in people)
    test = tuple(row for row in range(len(used)) if row not in train)
    names = tuple(person.removeprefix("sub-") for person in used)
    splits = folds.inner_folds(Split(1, 1, train, test, names), classes, folds=2, seed=1)
    rows = [
        {"participant_id": used[row], "repeat": 1, "fold": split.fold, "role": role}
        for split in splits
        for role, members in (("train", split.train), ("test", split.test))
        for row in members
    ]
    return pd.DataFrame(rows)
