"""What an explainer's file lacks, or declares wrongly, is refused by name, with what to do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from bids_app import catalogue, explainers
from bids_app.errors import UsageError

ROOT = Path(__file__).parents[1]
EXPLAIN = "def explain(classifier, x, target, *, mask): return x\n"
DESCRIBE = "def describe(classifier, x_train): return x_train\n"
FILE = f"""
SIGN = "both"
UNIT = "logit"
SCOPE = "sample"
def check(classifier): return None
{EXPLAIN}"""
# the text of the file that is replaced, by what, and the message
DEFECTS = {
    "no sign": ('SIGN = "both"', "", "set SIGN to one of 'both', 'positive'$"),
    "another sign": ('SIGN = "both"', 'SIGN = "negative"', "set SIGN to one of 'both', 'positive', not 'negative'$"),
    "no unit": ('UNIT = "logit"', "", "set UNIT to the unit of the map"),
    "empty unit": ('UNIT = "logit"', 'UNIT = ""', "set UNIT to the unit of the map"),
    "no scope": ('SCOPE = "sample"', "", "set SCOPE to one of 'sample', 'model', 'both'$"),
    "a flag that is a number": ('SIGN = "both"', 'SIGN, COARSE = "both", 4', "set COARSE to True, or leave it out$"),
    "no check": ("def check(classifier): return None", "", r"define check\(classifier\)"),
    "check of two": ("check(classifier)", "check(classifier, x)", "check takes one argument, classifier$"),
    "no explain": (EXPLAIN, "", r"define explain\(classifier, x, target\), which SCOPE = 'sample' requires$"),
    "no describe": ('"sample"', '"both"', r"define describe\(classifier, x_train\), which SCOPE = 'both' requires$"),
    "explain of a model": ('"sample"', f'"model"\n{DESCRIBE}', "remove explain, which SCOPE = 'model' does not have"),
    "describe of a sample": (EXPLAIN, EXPLAIN + DESCRIBE, "remove describe, which SCOPE = 'sample' does not have"),
    "no target": ("x, target,", "x,", r"explain takes \(classifier, x, target\), then keywords after a \*$"),
    "mask not by keyword": ("*, mask", "mask", r"explain takes \(classifier, x, target\), .*; .* the keyword mask$"),
    "unknown keyword": ("mask)", "mask, parcel)", "explain asks for parcel, which is neither .* nor .* mask, parcels$"),
    "no mask": (", *, mask", "", "explain has to take the keyword mask$"),
    "unused option": ('SIGN = "both"', 'SIGN, OPTIONS = "both", {"n": 3}', "explain has to take the keyword n$"),
    "option of a model": (
        f'"sample"\ndef check(classifier): return None\n{EXPLAIN}',
        f'"model"\ndef check(classifier): return None\n{DESCRIBE}OPTIONS = {{"n": 3}}',
        "remove OPTIONS, which are keywords of explain$",
    ),
    "describe of three": (
        '"sample"',
        '"both"\ndef describe(classifier, x, y): return x',
        r"describe takes \(classifier, x_train\)",
    ),
}
COMPLETE = {
    "sample": FILE,
    "regions and an option": FILE.replace("mask)", "mask, parcels, n=3)") + "REGIONWISE, OPTIONS = True, {'n': 3}",
    "both": FILE.replace('"sample"', '"both"') + DESCRIBE,
    "model": FILE.replace('"sample"', '"model"').replace(EXPLAIN, DESCRIBE),
}


def part(text: str) -> ModuleType:
    module = ModuleType("toy")
    exec(text, vars(module))
    return module


@pytest.mark.parametrize("name", COMPLETE)
def test_complete_explainer_passes(name):
    explainers.check_contract("toy", part(COMPLETE[name]))


@pytest.mark.parametrize("name", DEFECTS)
def test_defect_is_refused_with_what_to_do(name):
    old, new, message = DEFECTS[name]
    assert old in FILE
    with pytest.raises(UsageError, match=f"^explainers/toy.py: {message}"):
        explainers.check_contract("toy", part(FILE.replace(old, new)))


def test_everything_that_is_wrong_is_named_at_once():
    with pytest.raises(UsageError, match=r"set SIGN .*; set SCOPE .*; set UNIT .*; define check"):
        explainers.check_contract("toy", ModuleType("toy"))


@pytest.mark.parametrize("name", catalogue.names("explainers"))
def test_explainer_of_the_catalogue_passes(name):
    explainers.check_contract(name, catalogue.load("explainers", name))


def test_incomplete_file_is_refused_when_it_is_loaded(tmp_path):
    shutil.copytree(ROOT / "bids_app", tmp_path / "bids_app", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "bids_app" / "explainers" / "toy.py").write_text('SIGN, UNIT = "both", "logit"\n')
    command = [sys.executable, "-c", "from bids_app import catalogue; catalogue.load('explainers', 'toy')"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "explainers/toy.py: set SCOPE to one of 'sample', 'model', 'both'; define check" in done.stderr
