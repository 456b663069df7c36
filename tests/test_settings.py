"""Parsing of arguments into settings: spellings, precedence, invalid and unimplemented values."""

import argparse
import dataclasses
from pathlib import Path

import pytest

from bids_app import cli, run, settings
from bids_app.errors import MissingInputError, UsageError
from bids_app.planning import hyperparameters

ACTIONS = {action.dest: action for action in cli.parser()._actions}
NOT_IMPLEMENTED = sorted(name for name, option in settings.OPTIONS.items() if not option.implemented)


def built(*words: str, level: str = "group") -> settings.Settings:
    given = cli.parse(["BIDS", "OUT", level, *words])
    for name in ("bids_dir", "output_dir", "level"):
        given.pop(name)
    return settings.build(level, Path("/BIDS"), Path("/OUT"), options=given)


def spelled(action: argparse.Action) -> list[str]:
    """An option with a value that is not its default."""
    option = next(text for text in action.option_strings if text.startswith("--"))
    return [option] if action.nargs == 0 else [option, "HERE=3" if action.dest == "maps_from" else "3"]


def toml(folder: Path, text: str) -> str:
    file = folder / "chosen.toml"
    file.write_text(text)
    return str(file)


def test_without_options_the_defaults_apply():
    sections = {name: section() for name, section in settings.SECTIONS.items()}
    assert built() == settings.Settings(Path("/BIDS"), Path("/OUT"), "group", **sections)
    assert built().work_dir == Path("/OUT/.work")


def test_every_option_is_a_setting_and_every_setting_an_option():
    positions = {"bids_dir", "output_dir", "level", "help", "version", "bids_exec_spec", "print_completion"}
    fields = {field.name for section in settings.SECTIONS.values() for field in dataclasses.fields(section)}
    assert set(ACTIONS) - positions == fields


def test_command_line_overrides_file_and_file_overrides_default(tmp_path):
    file = toml(tmp_path, '[group]\nfolds = 3\nlabel = "dx"\n[compute]\nrandom_seed = 7\n')
    chosen = built("--config-file", file, "--folds", "4")
    assert chosen.group.folds == 4
    assert chosen.group.label == "dx"
    assert chosen.compute.random_seed == 7
    assert chosen.group.repeats == 1


def test_sections_of_a_settings_file_are_optional(tmp_path):
    chosen = built("--config-file", toml(tmp_path, 'folds = 3\nmaps = ["gm", "wm"]\nclassifiers = "svm"\n'))
    assert chosen.group.folds == 3
    assert chosen.participant.maps == ("gm", "wm")
    assert chosen.group.classifiers == ("svm",)


@pytest.mark.parametrize("text", ["foldz = 3", "[group]\nfoldz = 3", "[foldz]\nfolds = 3"])
def test_unknown_key_in_a_settings_file_is_named(tmp_path, text):
    with pytest.raises(UsageError, match=r"unknown setting.*: foldz"):
        built("--config-file", toml(tmp_path, text))


def test_settings_file_that_is_not_toml_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"chosen\.toml is not TOML"):
        built("--config-file", toml(tmp_path, "folds: 3"))


def test_missing_settings_file_is_named(tmp_path):
    with pytest.raises(MissingInputError, match=r"no file .*nowhere\.toml"):
        built("--config-file", str(tmp_path / "nowhere.toml"))


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("folds = 2.5", "--folds"),
        ("folds = true", "--folds"),
        ('folds = "few"', "--folds"),
        ('sloppy = "yes"', "--sloppy"),
        ("label = ['a', 'b']", "--label"),
        ("classes = ['a', 'b']", "--classes"),
        ("maps = 3", "--maps"),
    ],
)
def test_value_of_the_wrong_type_is_refused_naming_the_option(tmp_path, text, option):
    with pytest.raises(UsageError, match=option):
        built("--config-file", toml(tmp_path, text))


@pytest.mark.parametrize(
    "words",
    [
        ("--folds", "1"),
        ("--nprocs", "0"),
        ("--random-seed", "-1"),
        ("--device", "tpu"),
        ("--registration", "rigid"),
        ("--sessions", "last"),
        ("--folds", "few"),
        ("--fold", "3"),
        ("--no-such-option",),
    ],
)
def test_invalid_argument_exits_64_and_names_the_option(words, capsys):
    assert run.main(["BIDS", "OUT", "group", *words]) == 64
    message = capsys.readouterr().err
    assert words[0] in message
    assert "Traceback" not in message


@pytest.mark.parametrize("name", NOT_IMPLEMENTED)
def test_unimplemented_option_is_refused_with_exit_64(name, capsys, tmp_path):
    out = tmp_path / "out"
    words = spelled(ACTIONS[name])
    assert run.main([str(tmp_path), str(out), "group", *words]) == 64
    assert f"{words[0]} is not implemented in this version" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("name", NOT_IMPLEMENTED)
def test_unimplemented_option_is_accepted_at_the_default(name):
    default = settings.OPTIONS[name].default
    made = settings.build("group", Path("/BIDS"), Path("/OUT"), options={name: default})
    assert made == settings.build("group", Path("/BIDS"), Path("/OUT"), options={})


def test_underscores_and_dashes_are_equivalent_in_options_but_not_in_values():
    assert built("--max_mean_fd", "0.5").group.max_mean_fd == 0.5
    assert built("--groups", "mother_id").group.groups == "mother_id"
    assert built("--groups=mother_id").group.groups == "mother_id"


@pytest.mark.parametrize(
    "spellings",
    [
        (("--session-label", "1"), ("--session-id", "1"), ("--session_id", "1")),
        (("--derivatives", "fmriprep=/D"), ("-d", "fmriprep=/D"), ("--datasets", "fmriprep=/D"), ("-d", "/D")),
        (("--nprocs", "2"), ("--nthreads", "2"), ("--n-cpus", "2"), ("--n_cpus", "2")),
        (("--mem-mb", "4000"), ("--mem", "4000"), ("--mem_mb", "4000")),
        (("--work-dir", "/W"), ("-w", "/W"), ("--work_dir", "/W")),
        (("--verbose",), ("-v",)),
    ],
)
def test_aliases_set_the_same_option(spellings):
    every = [built(*words) for words in spellings]
    assert all(one == every[0] for one in every)
    assert every[0] != built()


def test_task_has_a_short_spelling():
    assert cli.parse(["B", "O", "group", "-t", "rest"]) == cli.parse(["B", "O", "group", "--task_id", "rest"])


@pytest.mark.parametrize(
    ("text", "megabytes"), [("4000", 4000), ("32G", 32000), ("32GB", 32000), ("1.5g", 1500), ("900 MB", 900)]
)
def test_memory_is_in_megabytes_unless_a_unit_is_given(text, megabytes):
    assert built("--mem", text).compute.mem_mb == megabytes


@pytest.mark.parametrize(
    ("text", "message"), [("32", "for gigabytes use 32G"), ("much", "'much' is not a size"), ("0.1G", "at least 512")]
)
def test_implausible_memory_is_refused_with_a_hint(text, message):
    with pytest.raises(UsageError, match=message):
        built("--mem-mb", text)


def test_memory_in_a_file_is_read_as_on_the_command_line(tmp_path):
    assert built("--config-file", toml(tmp_path, 'mem_mb = "32G"\n')).compute.mem_mb == 32000


def test_setting_in_the_wrong_section_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"unknown setting in \[group\] of chosen\.toml: nprocs"):
        built("--config-file", toml(tmp_path, "[group]\nnprocs = 2\n"))


def test_classes_are_named_and_the_first_is_the_reference():
    assert built("--classes", "patient=MA,MO", "HC").group.classes == {"patient": ("MA", "MO"), "HC": ("HC",)}
    assert list(built("--classes", "HC", "patient=MA,MO").group.classes) == ["HC", "patient"]


def test_a_class_named_twice_is_refused():
    with pytest.raises(UsageError, match="contains HC twice"):
        built("--classes", "HC", "HC=MA")


@pytest.mark.parametrize("words", [("fmriprep=/D",), ("/D",)])
def test_derivatives_are_named_or_default_to_fmriprep(words):
    assert built("-d", *words).select.derivatives == {"fmriprep": Path("/D")}


@pytest.mark.parametrize(("option", "section", "name"), [("--work-dir", "compute", "work_dir"), ("-d", "select", "x")])
def test_relative_paths_are_made_absolute(option, section, name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    chosen = getattr(built(option, "near" if name == "work_dir" else "x=near"), section)
    path = chosen.work_dir if name == "work_dir" else chosen.derivatives["x"]
    assert path == tmp_path / "near"


def test_written_settings_survive_a_round_trip(tmp_path, capsys):
    words = [
        "--label", "dx", "--classes", "control=HC", "patient=MA,MO", "--maps", "gm", "wm", "--mem", "8G", "--sloppy",
        "-d", "fmriprep=/D", "--covariates", "none", "--smoothing", "6", "--participant-label", "01", "sub-02",
    ]  # fmt: skip
    assert run.main(["BIDS", "OUT", "group", *words, "--write-config"]) == 0
    file = toml(tmp_path, capsys.readouterr().out)
    again = built("--config-file", file)
    assert dataclasses.replace(again, other=built().other) == built(*words)
    assert list(again.group.classes) == ["control", "patient"]


def test_an_unknown_level_exits_17_and_lists_the_levels(capsys, tmp_path):
    assert run.main([str(tmp_path), str(tmp_path / "out"), "session"]) == 17
    assert "unknown analysis level 'session'; choose from participant, group" in capsys.readouterr().err


def test_too_few_arguments_exit_64(capsys):
    assert run.main(["BIDS"]) == 64
    assert "--help-all lists all options" in capsys.readouterr().err


@pytest.mark.parametrize("corners", ["1 2 3 4 5", "9 0 0 1 1 1", "0 0 0 0 0 0"])
def test_bounding_box_is_two_corners_with_the_lower_one_first(corners):
    with pytest.raises(UsageError, match=r"bounding.box"):
        built("--bounding-box", *corners.split())
    good = built("--bounding-box", "-90", "-126", "-72", "90", "90", "108")
    assert good.participant.bounding_box == (-90, -126, -72, 90, 90, 108)


NUMBERS = [name for name, item in settings.OPTIONS.items() if item.kind is float and name != "bounding_box"]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["nan", "inf", float("-inf")])
def test_a_number_that_is_not_finite_is_refused_by_every_option(name, value):
    with pytest.raises(UsageError, match=f"--{name.replace('_', '-')}: .* is not a finite number"):
        settings.build("group", Path("/BIDS"), Path("/OUT"), options={name: value})


@pytest.mark.parametrize(("name", "value"), [("smoothing", 50), ("resolution", 100)])
def test_a_number_beyond_its_limit_is_refused(name, value):
    with pytest.raises(UsageError, match=f"--{name} must be at most"):
        settings.build("group", Path("/BIDS"), Path("/OUT"), options={name: value})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_hyperparameter_that_is_not_finite_is_refused(value):
    run = settings.build(
        "group",
        Path("/BIDS"),
        Path("/OUT"),
        options={"classifiers": ["cnn3d"], "set": {"cnn3d": {"learning_rate": value}}},
    )
    with pytest.raises(UsageError, match=r"cnn3d.learning_rate: .* is not a finite number"):
        hyperparameters.classifier_options(run)
