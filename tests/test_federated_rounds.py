"""Rounds are kept, repeated and read again; a site that fails is named; files of a study come back as written."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_sites import FOLDS, MAP, STEPS, Study, make_study

from bids_app.federated import study
from bids_app.federated.protocol import Answer, Answers, InProcess, OtherSettingsError, Request
from bids_app.federated.rounds import Rounds, SiteFailedError


class Unreliable:
    """A transport that counts its questions, and from one on loses all of them, or the answer of one site."""

    def __init__(self, transport: InProcess, *, ends: int = 10**6, loses: dict[int, str] | None = None) -> None:
        self.transport, self.ends, self.loses, self.asked = transport, ends, loses or {}, 0

    def ask_all(self, request: Request) -> Answers:
        self.asked += 1
        if self.asked > self.ends:
            raise KeyboardInterrupt
        answers = dict(self.transport.ask_all(request))
        if self.asked in self.loses:
            answers[self.loses[self.asked]] = Answer({}, failed="no answer within 60 s")
        return answers


def make_plan(simulated: Study, **changes: object) -> study.Plan:
    plan = study.Plan(
        sites=tuple(simulated.sites),
        classes=("control", "patient"),
        classifiers=("regional",),
        steps={MAP: STEPS},
        folds=FOLDS,
        permutations=5,
        timeout=60,
        attempts=1,
        settings="",
        groups={MAP: simulated.groups},
    )
    return replace(plan, **changes)


def test_a_coordinator_that_was_ended_goes_on_with_the_question_that_was_not_answered(tmp_path: Path):
    simulated = make_study(tmp_path / "sites", permutations=5)
    whole = Unreliable(simulated.transport)
    expected = study.run_plan(make_plan(simulated), whole, tmp_path / "whole")
    first, second = Unreliable(simulated.transport, ends=20), Unreliable(simulated.transport)
    with pytest.raises(KeyboardInterrupt):
        study.run_plan(make_plan(simulated), first, tmp_path / "ended")
    again = study.run_plan(make_plan(simulated), second, tmp_path / "ended")
    assert second.asked == whole.asked - 20
    cell = f"regional/{MAP}"
    assert again.cells[cell].scores == expected.cells[cell].scores
    assert (again.cells[cell].model.weight == expected.cells[cell].model.weight).all()


def test_rounds_of_other_settings_are_not_read_again(tmp_path: Path):
    simulated = make_study(tmp_path / "sites")
    transport = Unreliable(simulated.transport)
    Rounds(transport, tmp_path / "rounds").ask_all(Request("counts"))
    Rounds(transport, tmp_path / "rounds").ask_all(Request("counts"))
    assert transport.asked == 1
    with pytest.raises(OtherSettingsError, match="use one settings file"):
        Rounds(transport, tmp_path / "rounds", settings="others").ask_all(Request("counts"))


def test_a_question_is_asked_again_until_the_attempts_are_spent(tmp_path: Path):
    simulated = make_study(tmp_path / "sites")
    transport = Unreliable(simulated.transport, loses={1: "berlin", 3: "cork", 4: "cork"})
    rounds = Rounds(transport, tmp_path / "rounds", attempts=2)
    assert set(rounds.ask_all(Request("counts")).keys()) == set(simulated.sites)
    assert transport.asked == 2
    with pytest.raises(SiteFailedError, match="cork did not answer after 2 attempts: no answer within 60 s"):
        rounds.ask_all(Request("counts", fold=1))


def test_an_answer_that_is_not_finite_counts_as_none(tmp_path: Path):
    class Broken(Unreliable):
        def ask_all(self, request: Request) -> Answers:
            broken = Answer({"sum": np.array([1.0, np.inf])})
            return {**super().ask_all(request), "berlin": broken}

    rounds = Rounds(Broken(make_study(tmp_path / "sites").transport), tmp_path / "rounds")
    with pytest.raises(SiteFailedError, match=r"berlin .* not finite"):
        rounds.ask_all(Request("counts"))


def test_a_study_read_from_its_files_gives_the_same_results(tmp_path: Path):
    simulated = make_study(tmp_path / "sites", permutations=5)
    plan = make_plan(simulated, settings="digest")
    sites = {}
    for name, site in simulated.sites.items():
        folder = tmp_path / "files" / name
        study.write_site(folder, site.data, settings="digest", messages=folder / "out")
        sites[name] = study.read_site(folder)
        sites[name].labellings = site.labellings
        site.settings = "digest"
    study.write_plan(tmp_path / "coordinator", plan)
    study.run_plan(study.read_plan(tmp_path / "coordinator"), InProcess(sites), tmp_path / "coordinator")
    study.run_plan(plan, simulated.transport, tmp_path / "in process")
    facts, arrays = study.read_results(tmp_path / "coordinator")
    expected_facts, expected = study.read_results(tmp_path / "in process")
    assert facts == expected_facts
    assert arrays.keys() == expected.keys()
    assert all((arrays[name] == expected[name]).all() for name in arrays)
    assert study.is_finished(tmp_path / "files" / "ams")


def test_predictions_stay_in_a_table_of_the_site(tmp_path: Path):
    simulated = make_study(tmp_path / "sites")
    plan = make_plan(simulated, permutations=0)
    folder, name = tmp_path / "files", "berlin"
    study.write_site(folder, simulated.sites[name].data, settings="", messages=folder)
    sites = {**simulated.sites, name: study.read_site(folder)}
    results = study.run_plan(plan, InProcess(sites), tmp_path / "coordinator")
    study.write_predictions(folder, tmp_path / "predictions.tsv", plan.classes)
    table = pd.read_csv(tmp_path / "predictions.tsv", sep="\t")
    assert sorted(table["participant_id"]) == sorted(f"sub-{row}" for row in simulated.sites[name].data.participants)
    assert set(table["predicted"]) <= set(plan.classes)
    assert 0 < (table["true"] == table["predicted"]).mean() <= 1
    assert results.cells[f"regional/{MAP}"].scores["n"] > len(table)
