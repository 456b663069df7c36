"""Renamed options: former names are equivalent everywhere and no longer shown."""

import re
from dataclasses import asdict
from pathlib import Path

import pytest

from bids_app import cli, run, settings
from bids_app.errors import UsageError
from bids_app.options.participant import Participant

ROOT = Path(__file__).parents[1]
RENAMED = {
    "keep_together": ("groups", "family"),
    "hold_out": ("test_size", 0.25),
    "test_per_class": ("n_test_per_class", 3),
    "people_per_class": ("max_per_class", 4),
    "map_form": ("map_scaling", "zscore"),
    "whole_grid": ("no_crop", True),
    "without_regions": ("exclude_regions", ["CSF"]),
    "network_maps": ("network_templates", "/networks.nii"),
    "strength": ("fcs_measure", "abs"),
    "intensity": ("t1w_scaling", "minmax"),
    "adjust_for": ("covariates", ["age", "sex"]),
    "combat_keep": ("combat_covariates", ["age"]),
    "tune": ("set", {"cnn3d": {"epochs": 3}}),
    "explain_checks": ("explainer_checks", True),
}


def built(*words: str) -> settings.Settings:
    options = cli.parse(["BIDS", "OUT", "group", *words])
    level, bids_dir, output_dir = (options.pop(name) for name in ("level", "bids_dir", "output_dir"))
    return settings.build(level, bids_dir, output_dir, options=options)


def write_toml(file: Path, section: str, name: str, value: object) -> str:
    import tomli_w

    file.write_text(tomli_w.dumps({section: {name: value}}))
    return str(file)


def section_of(name: str) -> str:
    return next(section for section, names in settings.NAMES.items() if name in names)


def test_former_names_are_those_that_were_released():
    assert {former: name for former, (name, _) in RENAMED.items()} == settings.FORMER


@pytest.mark.parametrize("former", RENAMED)
def test_former_option_on_the_command_line_is_equivalent(former):
    name, value = RENAMED[former]
    values = ["cnn3d.epochs=3"] if isinstance(value, dict) else [] if value is True else value
    words = [str(word) for word in (values if isinstance(values, list) else [values])]
    expected = built("--" + name.replace("_", "-"), *words)
    assert expected != built()
    for spelling in ("--" + former, "--" + former.replace("_", "-")):
        assert built(spelling, *words) == expected


@pytest.mark.parametrize("former", RENAMED)
def test_former_key_in_a_settings_file_is_equivalent(former, tmp_path):
    name, value = RENAMED[former]
    section = section_of(name)
    old, new = (write_toml(tmp_path / f"{key}.toml", section, key, value) for key in (former, name))
    assert asdict(built("--recipe", old, "--analysis", "a").group) == asdict(
        built("--recipe", new, "--analysis", "a").group
    )
    before, after = (getattr(built("--config-file", file), section) for file in (old, new))
    assert before == after != getattr(built(), section)


def test_former_section_name_is_accepted(tmp_path):
    file = write_toml(tmp_path / "old.toml", "both", "atlas", ["aal"])
    assert built("--config-file", file).shared.atlas == ("aal",)
    with pytest.raises(UsageError, match=r"unknown setting in \[both\] of old.toml: folds"):
        built("--config-file", write_toml(tmp_path / "old.toml", "both", "folds", 3))


@pytest.mark.parametrize(
    "text", ['groups = "a"\nkeep_together = "b"\n', '[group]\ngroups = "a"\nkeep_together = "b"\n']
)
def test_a_setting_under_both_names_is_refused(tmp_path, text):
    (tmp_path / "twice.toml").write_text(text)
    with pytest.raises(UsageError, match=r"twice\.toml: keep_together is a former name of groups; give one of them"):
        built("--config-file", str(tmp_path / "twice.toml"))


def test_former_names_are_absent_from_help_and_docs_but_listed_in_the_changelog(capsys):
    with pytest.raises(SystemExit):
        run.main(["--help-all"])
    texts = [capsys.readouterr().out]
    texts += [file.read_text(encoding="utf-8") for file in (ROOT / "docs" / "usage.md", ROOT / "README.md")]
    for former in RENAMED:
        assert not any(re.search(rf"--{former.replace('_', '-')}(?![\w-])", text) for text in texts)
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for former, (name, _) in RENAMED.items():
        row = "| `--" + former.replace("_", "-") + "` | `--" + name.replace("_", "-") + "` |"
        assert row in changes


def test_participant_hashes_use_the_original_setting_names():
    assert set(settings.to_first_names(Participant())) == {
        "maps", "output_space", "resolution", "anatomy", "bounding_box", "registration", "intensity", "brain_mask",
        "without_regions", "fallback_preprocessing", "sloppy", "denoise", "band", "dummy_scans", "fd_threshold",
        "network_maps", "alff_definition", "strength", "reho_neighbours", "save_series",
    }  # fmt: skip
