"""What the coordinator's report says of a score, and when it claims something."""

import numpy as np
import pytest

from bids_app.publish.federated import describe_results, tabulate_scores

CLASSES = ("control", "patient")


def results(score, null, *, cell="model_averaging/gm"):
    """Facts and arrays of one cell with a balanced accuracy and those under permuted labels."""
    scores = {"n": 60, "balanced_accuracy": score, "balanced_accuracy_low": 0.4, "balanced_accuracy_high": 0.9}
    return {"cells": {cell: {"scores": {**scores, "auroc": 0.7, "silent": {}}}}}, {f"{cell}:null": np.array(null)}


def sentence(score, null):
    (text,) = describe_results(tabulate_scores(*results(score, null)), CLASSES)
    return text


def test_score_above_all_of_ninety_nine_labellings_is_above_chance_and_confounds_are_named_as_untested():
    text = sentence(0.8, np.linspace(0.3, 0.7, 99))
    assert text.startswith("model_averaging on gm distinguished patient from control above chance")
    assert "p = 0.01" in text
    assert "age, sex, site, motion or brain size alone could do as well was not tested" in text


def test_six_of_ninety_nine_labellings_that_do_as_well_are_no_claim():
    text = sentence(0.6, [0.6] * 6 + [0.4] * 93)
    assert "did not distinguish" in text
    assert "p = 0.07" in text


def test_score_below_chance_is_no_claim_however_rare():
    assert "did not distinguish" in sentence(0.45, [0.3] * 99)


@pytest.mark.parametrize("labellings", [0, 18])
def test_fewer_than_nineteen_labellings_give_no_p(labellings):
    assert "nothing is claimed" in sentence(0.9, [0.5] * labellings)


def test_p_of_two_models_is_that_of_the_better_one_under_each_labelling():
    facts, arrays = results(0.7, [0.5] * 95 + [0.7] * 4, cell="regional/gm")
    more, others = results(0.6, [0.8] * 10 + [0.5] * 89)
    table = tabulate_scores({"cells": facts["cells"] | more["cells"]}, arrays | others).set_index("cell")
    assert table.loc["regional/gm", "p"] == pytest.approx(0.05)
    assert table.loc["regional/gm", "p_max"] == pytest.approx(0.15)
