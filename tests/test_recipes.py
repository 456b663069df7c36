"""Recipes: selected by name or file, overridden by settings file and command line, one analysis each."""

import tomllib

import pytest

from bids_app import catalogue, recipes, run, settings
from bids_app.errors import UsageError

TEXT = '[about]\ntitle = "a study"\n[participant]\nmaps = ["wm"]\n[group]\nfolds = 7\nrepeats = 3\n'


@pytest.fixture
def recipe(tmp_path):
    file = tmp_path / "study.toml"
    file.write_text(TEXT)
    return file


def built(tmp_path, **given):
    return settings.each("group", tmp_path / "BIDS", tmp_path / "OUT", options=given)


def test_recipe_is_overridden_by_the_settings_file_and_the_command_line(tmp_path, recipe):
    (tmp_path / "own.toml").write_text("[group]\nrepeats = 2\n")
    (one,) = built(tmp_path, recipe=[str(recipe)], config_file=str(tmp_path / "own.toml"), smoothing=4.0)
    assert (one.participant.maps, one.group.folds, one.group.repeats, one.group.smoothing) == (("wm",), 7, 2, 4.0)
    (other,) = built(tmp_path, recipe=[str(recipe)], folds=4)
    assert other.group.folds == 4


def test_analysis_is_named_after_the_recipe_unless_given(tmp_path, recipe):
    assert built(tmp_path, recipe=[str(recipe)])[0].group.analysis == "study"
    assert built(tmp_path, recipe=[str(recipe)], analysis="mine")[0].group.analysis == "mine"


def test_splitting_option_replaces_that_of_the_recipe(tmp_path):
    (one,) = built(tmp_path, recipe=["rafsani2025"], leave_site_out=True)
    assert (one.group.leave_site_out, one.group.n_test_per_class, one.group.folds) == (True, None, 5)
    (other,) = built(tmp_path, recipe=["rafsani2025"], n_test_per_class=4)
    assert (other.group.n_test_per_class, other.group.test_size) == (4, None)


def test_several_recipes_are_separate_runs(tmp_path, recipe):
    (tmp_path / "second.toml").write_text("[group]\nfolds = 3\n")
    runs = built(tmp_path, recipe=[str(recipe), str(tmp_path / "second.toml")])
    assert [(one.group.analysis, one.group.folds, len(one.shared.recipe)) for one in runs] == [
        ("study", 7, 1), ("second", 3, 1),
    ]  # fmt: skip
    with pytest.raises(UsageError, match="--analysis names a single analysis"):
        built(tmp_path, recipe=[str(recipe), str(tmp_path / "second.toml")], analysis="both")


def test_invalid_recipes_are_refused_with_the_reason(tmp_path):
    with pytest.raises(UsageError, match="--recipe: there is no tarot; choose from"):
        built(tmp_path, recipe=["tarot"])
    (tmp_path / "bad.toml").write_text("[group]\nfolded = 3\n")
    with pytest.raises(UsageError, match=r"unknown setting in \[group\] of bad.toml: folded"):
        built(tmp_path, recipe=[str(tmp_path / "bad.toml")])
    (tmp_path / "worse.toml").write_text("= 3")
    with pytest.raises(UsageError, match=r"--recipe .*worse\.toml is not TOML"):
        built(tmp_path, recipe=[str(tmp_path / "worse.toml")])


def test_full_settings_of_a_recipe_can_be_written_and_parsed(tmp_path, recipe, capsys):
    (tmp_path / "BIDS").mkdir()
    words = [str(tmp_path / "BIDS"), str(tmp_path / "OUT"), "group", "--recipe", str(recipe), "--write-config"]
    assert run.main(words) == 0
    told = tomllib.loads(capsys.readouterr().out)
    assert told["group"]["folds"] == 7
    assert set(told) == set(settings.SECTIONS)


@pytest.mark.parametrize("name", recipes.names())
def test_shipped_recipe_is_documented_and_uses_existing_plugins(tmp_path, name):
    (one,) = built(tmp_path, recipe=[name])
    about = tomllib.loads(recipes.find(name).read_text(encoding="utf-8"))["about"]
    assert about["doi"]
    text = (recipes.folder() / name / "README.md").read_text(encoding="utf-8")
    for heading in ("What the paper says", "What it leaves out", "Its numbers", "Known flaws"):
        assert f"## {heading}" in text
    assert one.group.analysis == name
    for room, parts in (
        ("maps", one.participant.maps), ("classifiers", one.group.classifiers), ("explainers", one.group.explainers),
    ):  # fmt: skip
        catalogue.check(room, parts)
