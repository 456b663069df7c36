"""--help, and what is said of options that are not Pellucid's."""

import re
import shutil
import subprocess
import sys

import pytest

from bids_app import cli, run
from bids_app.options.other_programs import INSTEAD
from bids_app.settings import FORMER, OPTIONS


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("--output-spaces", "write --output-space SPACE, and --resolution MM in place of :res-2"),
        ("--fs-license-file=x", "FreeSurfer is not run"),
        ("--n_procs", "write --nprocs N"),
        ("--covariate", "did you mean --covariates"),
        ("--classifer", "did you mean --classifiers"),
    ],
)
def test_an_option_of_another_program_or_misspelled_is_named_with_what_to_write(capsys, word, hint):
    assert run.main(["BIDS", "OUT", "participant", word, "x"]) == 64
    message = capsys.readouterr().err
    assert f"{word.partition('=')[0].replace('_', '-')} is not an option of pellucid: {hint}" in message


def test_what_is_suggested_in_place_of_other_programs_options_exists_here():
    flags = {flag for item in OPTIONS.values() for flag in item.flags}
    for word, hint in INSTEAD.items():
        assert word.removeprefix("--").replace("-", "_") not in {*OPTIONS, *FORMER}
        assert set(re.findall(r"(?<!\w)(--[a-z-]+)", hint)) <= flags


def test_help_lists_common_options_with_examples_and_help_all_the_rest(capsys):
    shown = {}
    for word in ("--help", "--help-all"):
        with pytest.raises(SystemExit):
            run.main([word])
        shown[word] = capsys.readouterr().out
    for item in OPTIONS.values():
        flag = rf"(?<![\w-])--{item.name.replace('_', '-')}(?![\w-])"
        assert re.search(flag, shown["--help-all"]), item.name
        assert bool(re.search(rf"^ .*{flag}", shown["--help"].partition("\nexamples:")[0], re.M)) == item.common, (
            item.name
        )
    assert len(shown["--help"].splitlines()) < 100
    for text in shown.values():
        for command in re.findall(r"^  pellucid (BIDS_DIR .*)$", text, re.M):
            assert cli.parse(command.split())["level"] in cli.LEVELS


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("pellucid BIDS OUT part", "participant"),
        ("pellucid BIDS OUT group --classifiers sv", "svm"),
        ("pellucid BIDS OUT group --device cp", "cpu"),
        ("pellucid BIDS OUT group --fold", "--folds --folds-file"),
    ],
)
def test_bash_completes_levels_options_and_plugins(capsys, typed, completed):
    with pytest.raises(SystemExit):
        run.main(["--print-completion", "bash"])
    words = f"COMP_WORDS=({typed}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _shtab_pellucid"
    script = f'{capsys.readouterr().out}\n{words}; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == completed


def test_completion_without_shtab_names_the_package(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert run.main(["--print-completion", "zsh"]) == 64
    assert "pip install shtab" in capsys.readouterr().err
