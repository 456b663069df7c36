"""The table of usual mistakes in docs/troubleshooting.md: each is made here, and its message and exit code compared."""

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from bids_app.run import main

DOCUMENT = Path(__file__).parents[1] / "docs" / "troubleshooting.md"
ROWS = re.findall(r"^\| ([^|]+) \| `([^|]+)` \| (\d+) \| [^|]+ \|$", DOCUMENT.read_text(), re.M)


@dataclass(frozen=True)
class Folders:
    """The simulated data set, its outputs, and an empty folder."""

    bids: Path
    out: Path
    empty: Path

    @property
    def new(self) -> Path:
        return self.empty / "out"


def group(*words: str) -> Callable[[Folders], list[str | Path]]:
    return lambda folders: [
        folders.bids, folders.out, "group", "--sloppy", "--label", "group", "--classes", "control", "patient",
        "--classifiers", "svm", "--explainers", "weights", *words,
    ]  # fmt: skip


def participant(*words: str) -> Callable[[Folders], list[str | Path]]:
    return lambda folders: [folders.bids, folders.new, "participant", *words]


def without_table(folders: Folders) -> list[str | Path]:
    data = shutil.copytree(folders.bids, folders.empty / "data", ignore=shutil.ignore_patterns("participants.tsv"))
    return [data, folders.out, "group", "--label", "group"]


def derivative(folders: Folders) -> list[str | Path]:
    data = shutil.copytree(folders.bids, folders.empty / "fmriprep")
    made_by = [{"Name": "fMRIPrep", "Version": "23.1.3"}]
    described = {"Name": "x", "BIDSVersion": "1.4.0", "DatasetType": "derivative", "GeneratedBy": made_by}
    (data / "dataset_description.json").write_text(json.dumps(described))
    return [data, folders.new, "participant"]


def unwritable(folders: Folders) -> list[str | Path]:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    (folders.empty / "shut").mkdir(mode=0o500)
    return [folders.bids, folders.empty / "shut" / "out", "participant"]


MISTAKES: dict[str, list[Callable[[Folders], list[str | Path]]]] = {
    "a level that does not exist": [lambda folders: [folders.bids, folders.new, "subject"]],
    "BIDS_DIR and OUT_DIR swapped": [
        lambda folders: [folders.out, folders.bids, "participant"],
        lambda folders: [folders.out, folders.bids, "group", "--label", "group"],
    ],
    "OUT_DIR is BIDS_DIR": [lambda folders: [folders.bids, folders.bids, "participant"]],
    "Pellucid's output as BIDS_DIR and OUT_DIR": [
        lambda folders: [folders.out, folders.out, "group", "--label", "group"],
    ],
    "a derivative as BIDS_DIR": [derivative],
    "OUT_DIR that cannot be written": [unwritable],
    "no participants.tsv": [without_table],
    "no `--label`": [lambda folders: [folders.bids, folders.out, "group"]],
    "a label column that does not exist": [group("--label", "diagnosis")],
    "a class that does not exist": [group("--classes", "control", "autism")],
    "a misspelled class": [group("--classes", "control", "patints")],
    "one class only": [group("--classes", "patient")],
    "an unknown map": [participant("--maps", "gmm"), group("--maps", "gmm")],
    "an unknown atlas": [participant("--atlas", "brodman"), group("--atlas", "brodman")],
    "an atlas file that does not exist": [
        participant("--atlas", "regions.nii.gz"), group("--atlas", "regions.nii.gz"),
    ],
    "an unknown classifier": [participant("--classifiers", "svn"), group("--classifiers", "svn")],
    "an unknown explainer": [participant("--explainers", "gradcan"), group("--explainers", "gradcan")],
    "a map that was not computed": [group("--maps", "gm", "wm")],
    "a participant label that does not exist": [
        participant("--participant-label", "99"), participant("--participant-label", "sub-99"),
        group("--participant-label", "99"),
    ],
    "a settings file that does not exist": [
        participant("--config-file", "settings.toml"), group("--config-file", "settings.toml"),
    ],
    "a misspelled option": [participant("--resolutoin", "3"), group("--resolutoin", "3")],
    "more folds than participants": [group("--folds", "9")],
    "`--model` with another folder": [
        lambda folders: [folders.bids, folders.new, "participant", "--model", folders.bids],
        lambda folders: [folders.bids, folders.out, "group", "--model", folders.bids],
    ],
    "`--reports-only` before the results": [participant("--reports-only")],
}  # fmt: skip


def standing(*folders: Path) -> dict[str, int]:
    """Every file outside the work folder, and when it was written."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and ".work" not in path.parts]
    return {str(path): path.stat().st_mtime_ns for path in files}


def test_each_row_of_the_table_is_tried_here():
    assert [row[0] for row in ROWS] == list(MISTAKES)
    assert len(ROWS) > 20


@pytest.mark.parametrize(("mistake", "message", "code"), ROWS, ids=[row[0] for row in ROWS])
def test_mistake_gets_the_message_of_the_table_and_writes_nothing(
    phantom_maps, tmp_path, capsys, mistake, message, code
):
    expected = re.escape(message).replace(re.escape("..."), ".+")
    for number, words in enumerate(MISTAKES[mistake]):
        folders = Folders(*phantom_maps, tmp_path / str(number))
        folders.empty.mkdir()
        arguments = [str(word) for word in words(folders)]
        before = standing(folders.bids, folders.out, folders.empty)
        assert main(arguments) == int(code)
        shown = capsys.readouterr().err
        assert shown.startswith("pellucid: ")
        assert re.search(f"pellucid: {expected}$", " ".join(shown.split())), shown
        assert standing(folders.bids, folders.out, folders.empty) == before


def test_participant_label_is_the_same_with_and_without_its_prefix(phantom_maps, tmp_path, capsys):
    written = []
    for label in ("01", "sub-01"):
        words = ["participant", "--participant-label", label, "--sloppy", "--resolution", "4", "--reports-only"]
        assert main([*map(str, phantom_maps), *words]) == 0
        written.append(capsys.readouterr().err)
    assert "pellucid:" not in "".join(written)
