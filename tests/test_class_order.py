"""Which class is the reference."""

import logging

import pandas as pd
import pytest

from bids_app import settings
from bids_app.planning import cohort


def ordered(tmp_path, values, *given):
    options = {"label": "group", **({"classes": {name: (name,) for name in given}} if given else {})}
    (run,) = settings.each("group", tmp_path / "BIDS", tmp_path / "OUT", options=options)
    return cohort.order_classes(pd.Series([*values, pd.NA], dtype="string"), run)


@pytest.mark.parametrize(
    ("values", "first"),
    [
        (("AD", "CN", "MCI"), "CN"),
        (("ASD", "TD"), "TD"),
        (("depr", "healthy_control"), "healthy_control"),
        (("Con", "BD"), "Con"),
        (("Contrast", "BD"), "BD"),
        (("uncontrolled", "controlled"), "controlled"),
        (("1", "0"), "0"),
    ],
)
def test_controls_are_the_reference_and_else_the_first_of_the_alphabet(tmp_path, values, first):
    result = ordered(tmp_path, values)
    assert result[0] == first
    assert list(result[1:]) == sorted(set(values) - {first})


@pytest.mark.parametrize(
    ("given", "warned"),
    [(("patient", "control"), True), (("control", "patient"), False), (("MDD", "BD"), False), (("HC", "CN"), False)],
)
def test_given_order_is_kept_and_a_reference_that_is_not_the_controls_is_named(tmp_path, caplog, given, warned):
    with caplog.at_level(logging.WARNING, logger="pellucid"):
        assert ordered(tmp_path, given, *given) == given
    messages = [record.getMessage() for record in caplog.records]
    expected = (
        "--classes: patient is the reference, so that heatmaps show the evidence for control; if control is meant"
    )
    assert [message.startswith(expected) for message in messages] == [True] * warned
