"""Files for containers, clusters and brainlife are consistent with the app."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from bids_app import __version__, cli, environment, settings
from bids_app.atlases import templates

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
SHELL = [ROOT / "brainlife" / "main", ROOT / "singularity" / "submit", *sorted((ROOT / "singularity").glob("*.sh"))]


def script(name: str) -> ModuleType:
    """A script of brainlife/, which is not a package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "brainlife" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_dockerfile_passes_hadolint():
    done = subprocess.run([BIN / "hadolint", "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_hadolint_rejects_a_faulty_dockerfile(tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM debian\nRUN sudo apt-get install gcc\n")
    done = subprocess.run([BIN / "hadolint", tmp_path / "Dockerfile"], capture_output=True, check=False)
    assert done.returncode != 0


def test_image_version_equals_package_version():
    assert re.search(r"^ARG VERSION=(\S+)", DOCKERFILE, flags=re.MULTILINE)[1] == __version__


def test_image_downloads_the_head_template_named_by_the_app():
    assert templates.HEAD_COMMAND.removeprefix("python ") in DOCKERFILE


def test_final_stage_has_no_compiler_cache_or_home():
    last = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
    assert not re.search(r"\b(gcc|build-essential|python3-dev|python3-venv|pip|uv)\b", last)
    assert "rm -rf /var/lib/apt/lists/*" in last
    assert "HOME=/nonexistent" in last
    assert 'ENTRYPOINT ["pellucid"]' in last
    assert f"{environment.COMPILED}=/opt/pellucid/numba" in last


def test_default_python_of_the_image_has_pellucid():
    assert "VIRTUAL_ENV=/opt/pellucid" in DOCKERFILE
    assert "ENV PATH=/opt/pellucid/bin:" in DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
    assert "--entrypoint python pellucid -m bids_app --version" in (ROOT / "scripts" / "containers").read_text()


def test_build_context_contains_only_what_the_image_needs():
    lines = (ROOT / ".dockerignore").read_text().split()
    copied = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert "*" in lines
    assert {"bids_app", "pellucid", "models", "pyproject.toml", "requirements.lock"} <= copied
    assert copied <= {path.name for path in ROOT.iterdir()}


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
def test_cluster_scripts_are_executable_and_valid_bash(path):
    assert os.access(path, os.X_OK)
    assert subprocess.run(["bash", "-n", path], check=False).returncode == 0


def test_brainlife_script_declares_resources_and_the_container():
    text = (ROOT / "brainlife" / "main").read_text()
    assert "#PBS -l nodes=1:ppn=4,vmem=16gb" in text
    assert "docker://" in text
    assert "singularity exec" in text


def test_brainlife_images_map_to_bids_paths():
    asked = json.loads((ROOT / "brainlife" / "config.json").read_text())
    stage = script("stage")
    there = {str(stage.bids_path(*one)) for one in stage.list_images(asked)}
    assert there == {"bids/sub-01/anat/sub-01_T1w.nii.gz", "bids/sub-02/anat/sub-02_T1w.nii.gz"}
    one = {"t1": "../in/t1.nii", "_inputs": [{"id": "t1", "meta": {"subject": "NDAR_7", "session": "baseline 1"}}]}
    assert [str(stage.bids_path(*it)) for it in stage.list_images(one)] == [
        "bids/sub-NDAR7/ses-baseline1/anat/sub-NDAR7_ses-baseline1_T1w.nii"
    ]
    assert [str(stage.bids_path(*it)) for it in stage.list_images({"t1": "a.nii.gz"})] == [
        "bids/sub-01/anat/sub-01_T1w.nii.gz"
    ]


def test_brainlife_commands_are_accepted_by_the_parser():
    asked = json.loads((ROOT / "brainlife" / "config.json").read_text())
    asked["options"] = {"participant": "--sloppy", "group": "--folds 4 --analysis 'my study'"}
    chosen = []
    for words in script("stage").commands(asked):
        given = cli.parse(["bids", "output", *words])
        bids_dir, output_dir, level = (given.pop(name) for name in ("bids_dir", "output_dir", "level"))
        chosen.append(settings.build(level, bids_dir, output_dir, options=given))
    people, group = chosen
    assert (people.level, people.participant.maps, people.participant.sloppy) == ("participant", ("gm",), True)
    assert (group.level, group.group.label, group.group.analysis) == ("group", "group", "my study")
    assert group.group.classes == {"control": ("control",), "patient": ("patient",)}
    del asked["label"]
    assert len(script("stage").commands(asked)) == 1


def test_brainlife_product_contains_no_participant_image(tmp_path):
    for name in ("sub-01/figures/sub-01_t1w.png", "group/big/figures/heatmap.png", "group/few/figures/heatmap.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(name.encode())
    for analysis in ("big", "few"):
        (tmp_path / "group" / analysis / "report.html").write_text("<html>")
        (tmp_path / "group" / analysis / "share").mkdir()
    (tmp_path / "group" / "big" / "share" / "scores.tsv").write_text("cell\tscore\nsvm/gm\t0.8\n")
    (tmp_path / "qc.tsv").write_text("participant_id\tstatus\nsub-01\tdone\nsub-02\tit has no image\n")
    shown = script("product").product(tmp_path, 1)
    assert [one["type"] for one in shown["brainlife"]] == ["info", "image/png", "info"]
    assert shown["brainlife"][0]["msg"] == "big: cell svm/gm, score 0.8"
    assert (
        shown["brainlife"][1]["base64"] == "Z3JvdXAvYmlnL2ZpZ3VyZXMvaGVhdG1hcC5wbmc="
    )  # group/big/figures/heatmap.png
    assert shown["brainlife"][2]["msg"].startswith("few: a class has fewer than ten participants tested")
    assert shown["warnings"] == ["not complete: sub-02"]
    assert "some participants failed" in shown["errors"][0]
