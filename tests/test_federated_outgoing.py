"""What leaves a site is on the list, finite, of enough participants, and written down."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_sites import MAP, STEPS, make_study, questions

from bids_app.errors import DataError
from bids_app.federated.outgoing import OutgoingFilter
from bids_app.federated.pipeline import fit_steps
from bids_app.federated.protocol import Request

REQUEST = Request("sums", MAP)


def make_filter(folder: Path) -> OutgoingFilter:
    return OutgoingFilter(folder, per_class=(10, 12), sizes={MAP: {"voxels": 4}})


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"sum": np.array([1.0, np.nan, 0, 0])}, "sum has values that are not finite"),
        ({"sum": np.zeros(5)}, r"sum has the shape \(5,\), not \(4,\)"),
        ({"sum": np.zeros(4, np.float32)}, "sum has the type float32"),
        ({"sum": np.zeros(4), "values": np.zeros((22, 4))}, "values is not among the arrays"),
        ({}, "sum is missing"),
    ],
)
def test_what_is_not_on_the_list_does_not_leave(tmp_path: Path, arrays: dict[str, np.ndarray], message: str):
    outgoing = make_filter(tmp_path)
    with pytest.raises(DataError, match=message):
        outgoing.release(REQUEST, arrays)
    log = pd.read_csv(outgoing.file, sep="\t")
    assert log["bytes"].tolist() == [0]
    assert log["meaning"][0].startswith("refused by the filter")


def test_a_question_that_is_not_on_the_list_is_refused(tmp_path: Path):
    site = make_study(tmp_path).sites["ams"]
    with pytest.raises(DataError, match="'values', which is not among the questions"):
        site.answer(Request("values", MAP))


def test_every_array_is_one_line_with_its_bytes(tmp_path: Path):
    study = make_study(tmp_path)
    fit_steps(questions(study), STEPS)
    voxels = study.x.shape[1]
    for name, site in study.sites.items():
        log = pd.read_csv(tmp_path / name / "messages.tsv", sep="\t")
        assert log.columns.tolist() == ["time", "round", "question", "array", "shape", "bytes", "meaning"]
        assert sorted(set(log["round"])) == list(range(1, study.transport.number + 1))
        sums = log[log["question"] == "sums"]
        assert sums["shape"].tolist() == [str(voxels)]
        assert sums["bytes"].tolist() == [8 * voxels]
        assert site.filter.file == tmp_path / name / "messages.tsv"
        assert log["meaning"].str.len().min() > 10


def test_a_site_with_an_undefined_value_sends_nothing(tmp_path: Path):
    study = make_study(tmp_path)
    study.sites["cork"].data.values[MAP][:, 5] = np.nan
    with pytest.raises(DataError, match="not finite"):
        fit_steps(questions(study), STEPS)
