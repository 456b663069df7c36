"""The Boutiques descriptor: generated from the parser, accepted by Boutiques and consistent with the parser."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bids_app import boutiques, cli, settings

BOSH = Path(sys.executable).with_name("bosh")
PELLUCID = Path(sys.executable).with_name("pellucid")


def bosh(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BOSH, *words], cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def descriptor(tmp_path_factory) -> Path:
    """What `pellucid --bids-exec-spec` prints, without folders or level."""
    folder = tmp_path_factory.mktemp("boutiques")
    done = subprocess.run([PELLUCID, "--bids-exec-spec"], cwd=folder, capture_output=True, text=True, check=True)
    assert list(folder.iterdir()) == []
    file = folder / "pellucid.json"
    file.write_text(done.stdout)
    return file


def test_descriptor_passes_boutiques_bids_validation(descriptor):
    done = bosh("validate", "--bids", descriptor.name, folder=descriptor.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "BIDS validation OK" in done.stdout


def test_boutiques_refuses_a_descriptor_whose_command_lacks_an_argument(descriptor, tmp_path):
    told = json.loads(descriptor.read_text())
    told["command-line"] = told["command-line"].replace("[MEM_MB]", "")
    (tmp_path / "bad.json").write_text(json.dumps(told))
    assert bosh("validate", "bad.json", folder=tmp_path).returncode != 0


def test_every_parser_option_is_an_input_of_the_descriptor(descriptor):
    told = {one["id"] for one in json.loads(descriptor.read_text())["inputs"]}
    options = {action.dest for action in cli.parser()._actions}
    assert told - {"output_dir_there"} == options - boutiques.ALONE


def test_command_built_by_boutiques_parses_to_the_requested_settings(descriptor):
    asked = {
        "bids_dir": "bids", "output_dir": "out", "level": "group", "participant_label": ["01", "02"], "folds": 3,
        "classes": ["control=HC", "patient=MA,MO"], "smoothing": 4.5, "sloppy": True, "verbose": True,
        "bounding_box": [-90, -126, -72, 90, 90, 108], "mem_mb": "8G", "harmonize": "combat",
    }  # fmt: skip
    (descriptor.parent / "bids").mkdir(exist_ok=True)
    (descriptor.parent / "asked.json").write_text(json.dumps(asked))
    done = bosh("exec", "simulate", "-i", "asked.json", descriptor.name, folder=descriptor.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = (line for line in done.stdout.splitlines() if "pellucid" in line)
    given = cli.parse(line[line.index("pellucid ") :].split()[1:])
    level, bids_dir, output_dir = (given.pop(name) for name in ("level", "bids_dir", "output_dir"))
    chosen = settings.build(level, bids_dir, output_dir, options=given)
    assert (level, str(bids_dir), str(output_dir)) == ("group", "bids", "out")
    assert chosen.select.participant_label == ("01", "02")
    assert chosen.group.classes == {"control": ("HC",), "patient": ("MA", "MO")}
    assert (chosen.group.folds, chosen.group.smoothing, chosen.group.harmonize) == (3, 4.5, "combat")
    assert chosen.participant.bounding_box == (-90, -126, -72, 90, 90, 108)
    assert (chosen.participant.sloppy, chosen.compute.mem_mb, chosen.other.verbose) == (True, 8000, 1)


@pytest.mark.parametrize(("name", "bad"), [("folds", 1), ("harmonize", "neuro"), ("level", "session")])
def test_boutiques_refuses_a_value_that_pellucid_refuses(descriptor, name, bad):
    (descriptor.parent / "bids").mkdir(exist_ok=True)
    asked = {"bids_dir": "bids", "output_dir": "out", "level": "group", name: bad}
    (descriptor.parent / "bad.json").write_text(json.dumps(asked))
    done = bosh("exec", "simulate", "-i", "bad.json", descriptor.name, folder=descriptor.parent)
    assert done.returncode != 0
