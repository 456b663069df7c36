"""The top of the group report: badges, numbers and their places, and the map of a finding."""

import pandas as pd
import pytest

from bids_app import catalogue
from bids_app.evaluation.verdict import BETTER, CHANCE, NO_BETTER, UNJUDGED, Verdict
from bids_app.report.glance import BADGES, NO_IMAGE, summarise_models

PANELS = [{"cell": "svm/gm", "title": "weights"}, {"cell": "cnn3d/gm", "title": "gradcam"}]


def scores(*rows):
    columns = ["cell", "repeat", "balanced_accuracy", "balanced_accuracy_low", "balanced_accuracy_high"]
    return pd.DataFrame(rows, columns=columns)


TABLE = scores(
    ("age and sex", 1, 0.55, 0.4, 0.7),
    ("svm/gm", 1, 0.8, 0.7, 0.9),
    ("svm/gm", 2, 0.1, 0.0, 0.2),
    ("cnn3d/gm", 1, 0.6, 0.45, 0.75),
    ("site", 1, float("nan"), float("nan"), float("nan")),
)


def summarise(kinds, classes=("control", "patient")):
    verdicts = {name: Verdict(kind, "") for name, kind in kinds.items()}
    return summarise_models(TABLE, verdicts, classes, PANELS)


@pytest.mark.parametrize("kind", [BETTER, NO_BETTER, CHANCE, UNJUDGED])
def test_each_model_has_its_badge_and_the_number_of_the_first_repeat(kind):
    rows = {row["model"]: row for row in summarise({"svm/gm": kind, "cnn3d/gm": CHANCE})["rows"]}
    assert rows["svm/gm"]["badge"] == BADGES[kind]
    assert rows["svm/gm"]["badge"].startswith("no") == (kind != BETTER)
    assert rows["svm/gm"]["text"] == "0.80 (0.70 to 0.90)"
    assert [rows["svm/gm"][key] for key in ("low", "value", "high")] == pytest.approx([70, 80, 90])


def test_each_model_is_described_in_words():
    rows = summarise({"svm/gm": CHANCE, "cnn3d/gm": CHANCE})["rows"]
    assert rows[0]["title"] == "Linear support vector machine on all voxels; modulated grey matter"
    assert rows[-1]["title"] == ""


@pytest.mark.parametrize("kind", ["classifiers", "maps"])
def test_titles_of_parts_are_words_that_fit_on_a_line(kind):
    for name in catalogue.names(kind):
        assert 2 <= len(catalogue.title(kind, name).split()) <= 12, name
        assert not catalogue.title(kind, name).endswith((",", ":")), name


def test_models_come_before_classifiers_that_use_no_image_and_rows_without_a_score_are_left_out():
    rows = summarise({"svm/gm": CHANCE, "cnn3d/gm": CHANCE})["rows"]
    assert [row["model"] for row in rows] == ["svm/gm", "cnn3d/gm", "age and sex"]
    assert rows[-1]["badge"] == NO_IMAGE


@pytest.mark.parametrize(
    ("kinds", "cell"),
    [
        ({"svm/gm": CHANCE, "cnn3d/gm": BETTER}, "cnn3d/gm"),
        ({"svm/gm": BETTER, "cnn3d/gm": BETTER}, "svm/gm"),
        ({"svm/gm": NO_BETTER, "cnn3d/gm": UNJUDGED}, None),
    ],
)
def test_only_a_finding_has_its_map_at_the_top(kinds, cell):
    result = summarise(kinds)["map"]
    assert (result and result["cell"]) == cell


def test_chance_is_one_of_the_number_of_classes():
    result = summarise({"svm/gm": CHANCE, "cnn3d/gm": CHANCE}, ("a", "b", "c"))
    assert result["chance"] == pytest.approx(100 / 3)
    assert result["chance_text"] == "0.33"
