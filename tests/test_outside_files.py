"""TOML and YAML written by others: whatever is wrong with a file is one message with an exit code, no traceback."""

import datetime
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w

from bids_app import settings
from bids_app.errors import MissingInputError, UsageError
from bids_app.run import main
from bids_app.text_files import find_mismatch

NOT_TEXT = {
    "binary": b"\x89PNG\r\n\x1a\n\x00\xff\xfe",
    "UTF-16": "folds = 3\n".encode("utf-16"),
    "Latin-1": 'label = "Übung"\n'.encode("latin-1"),
}
MODEL = {
    "format": 1, "cell": "svm/gm", "classifier": "svm", "maps": ["gm"], "classes": ["control", "patient"], "seed": 1,
    "repeat": 1, "fold": 1, "grid": {"shape": [2, 2, 2], "affine": np.eye(4).tolist(), "whole": False},
    "adjust": {"gm": ["age"]}, "settings": {
        "folds_sha256": "0", "levels": {}, "made": {"gm": {}}, "smoothing_mm": {"gm": 4.0}, "map_form": {"gm": "raw"},
    },
}  # fmt: skip


@pytest.fixture
def run_cli(tmp_path, capsys) -> Callable[..., tuple[int, str]]:
    """Run the command line on folders that do not exist; returns the exit code and the one message."""

    def run(*words: str | Path) -> tuple[int, str]:
        code = main([str(tmp_path / "bids"), str(tmp_path / "out"), *map(str, words)])
        message = capsys.readouterr().err
        assert message.count("pellucid:") == 1
        assert "Traceback" not in message
        assert "internal error" not in message
        return code, message.strip()

    return run


def write(file: Path, content: bytes) -> Path:
    file.write_bytes(content)
    return file


@pytest.mark.parametrize("option", ["--config-file", "--recipe", "--use-plugin"])
@pytest.mark.parametrize("kind", NOT_TEXT)
def test_file_that_is_not_utf8_text_is_named(run_cli, tmp_path, option, kind):
    code, message = run_cli("group", option, write(tmp_path / "given.toml", NOT_TEXT[kind]))
    assert code == 64
    assert f"{option} {tmp_path}/given.toml is not a text file in UTF-8" in message


def test_settings_file_with_a_byte_order_mark_is_read(tmp_path):
    file = write(tmp_path / "given.toml", "folds = 3\n".encode("utf-8-sig"))
    assert settings.build("group", tmp_path, tmp_path, options={"config_file": file}).group.folds == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("plugin: [", "is not YAML"),
        ("- SLURM", "it is not a table"),
        ("", "it is not a table"),
        ("plugin_args: {}", "it has no plugin"),
        ("plugin: 3", "plugin is not a text"),
        ("plugin: SLURM\nplugin_args: [1]", "plugin_args is not a table"),
        ("plugin: SLURM\nplugin_args: 1.5", "plugin_args is not a table"),
        ("plugin: SLURM\nplugin_args: {max_jobs: many}", "max_jobs is not a whole number"),
        ("plugin: SLURM\nplugin_args: {sbatch_args: [--mem]}", "sbatch_args is not a text"),
        ("plugin: !!python/object:os.system {}", "is not YAML"),
        ("plugin: 2026-99-99", "is not YAML"),
        ("plugin: Linear", "leave the option out, and write --nprocs 1"),
    ],
)
def test_plugin_file_of_another_form_is_refused(run_cli, tmp_path, content, message):
    code, told = run_cli("group", "--use-plugin", write(tmp_path / "given.yml", content.encode()))
    assert code == 64
    assert message in told


def test_missing_plugin_file_is_named(run_cli, tmp_path):
    code, message = run_cli("participant", "--use-plugin", tmp_path / "none.yml")
    assert code == 66
    assert "none.yml" in message


ODD: list[Any] = [
    0, -1, 1.5, float("nan"), float("inf"), True, "", "x", [], [1], ["a"], [[]], [["a"]], [True], {}, {"a": 1},
    {"a": {"b": 1}}, {"a": []}, {"a": "x"}, [{}], datetime.date(2020, 1, 1), 10**400,
]  # fmt: skip


def refusal(file: Path) -> str:
    """Why a settings file is refused; empty if it is not."""
    try:
        run, *_ = settings.each("group", file.parent, file.parent, options={"config_file": file})
    except (UsageError, MissingInputError) as error:
        return str(error)
    settings.to_toml(run)
    return ""


@pytest.mark.parametrize("name", sorted(set(settings.OPTIONS) - settings.NOT_IN_A_FILE))
def test_value_of_any_type_in_a_settings_file_is_read_or_refused_by_name(tmp_path, name):
    for value in ODD:
        told = refusal(write(tmp_path / "given.toml", tomli_w.dumps({name: value}).encode()))
        assert not told or name.replace("_", "-") in told or name in told


@pytest.mark.parametrize("name", ["maps", "classifiers", "explainers"])
def test_empty_list_of_what_a_run_needs_is_refused(run_cli, tmp_path, name):
    code, message = run_cli("group", "--config-file", write(tmp_path / "given.toml", f"{name} = []\n".encode()))
    assert code == 64
    assert f"--{name} requires at least one value" in message


@pytest.mark.parametrize("content", ["folds: 3", "[group", "a = " + "[" * 3000, "folds = 3\nfolds = 4"])
def test_settings_file_that_is_not_toml_is_refused(run_cli, tmp_path, content):
    code, message = run_cli("group", "--config-file", write(tmp_path / "given.toml", content.encode()))
    assert code == 64
    assert "is not TOML" in message


def write_model(folder: Path, card: dict[str, Any]) -> Path:
    place = folder / "svm" / "gm" / "repeat-1_fold-1"
    place.mkdir(parents=True)
    write(place / "weights.safetensors", b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    write(place / "model.toml", tomli_w.dumps({"weights_sha256": digest, **card}).encode())
    return place / "model.toml"


def without(card: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in card.items() if name != key}


@pytest.mark.parametrize("key", sorted(set(MODEL) - {"format"}))
@pytest.mark.parametrize("wrong", [None, 1.5, [[]]])
def test_model_with_a_key_that_is_missing_or_of_a_wrong_type_is_refused(run_cli, tmp_path, key, wrong):
    write_model(tmp_path, without(MODEL, key) if wrong is None else {**MODEL, key: wrong})
    code, message = run_cli("participant", "--model", tmp_path / "svm")
    assert code == 65
    assert key in message
    assert "copy the model again" in message


@pytest.mark.parametrize("key", sorted(MODEL["settings"]))
@pytest.mark.parametrize("wrong", [None, 1.5, {"gm": []}])
def test_model_with_incomplete_settings_is_refused(run_cli, tmp_path, key, wrong):
    if (key, wrong) == ("levels", {"gm": []}):
        pytest.skip("these are levels")
    entries = without(MODEL["settings"], key) if wrong is None else {**MODEL["settings"], key: wrong}
    write_model(tmp_path, {**MODEL, "settings": entries})
    code, message = run_cli("participant", "--model", tmp_path / "svm")
    assert code == 65
    assert key in message or "gm is not" in message


@pytest.mark.parametrize("kind", NOT_TEXT)
def test_model_file_that_is_not_text_is_refused(run_cli, tmp_path, kind):
    write(write_model(tmp_path, MODEL), NOT_TEXT[kind])
    code, message = run_cli("participant", "--model", tmp_path / "svm")
    assert code == 65
    assert "model.toml is not a text file in UTF-8" in message


def test_work_folder_that_is_a_file_is_refused(tmp_path, phantom_bids, capsys):
    file = write(tmp_path / "work", b"")
    for work in (file, file / "below"):
        code = main([str(phantom_bids), str(tmp_path / "out"), "participant", "-w", str(work)])
        message = capsys.readouterr().err
        assert code == 73
        assert f"{file} is a file. Choose another work folder with --work-dir" in message
    assert not (tmp_path / "out").exists()


@pytest.fixture
def phantom_bids(tmp_path) -> Path:
    (tmp_path / "bids" / "sub-01").mkdir(parents=True)
    (tmp_path / "bids" / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    return tmp_path / "bids"


@pytest.mark.parametrize(
    ("value", "schema", "wrong"),
    [
        ({"a": 1}, {"a": int}, None),
        ({"a": 1}, {"a": float}, None),
        ({"a": float("nan")}, {"a": float}, "a is not a finite number"),
        ({"a": 10**400}, {"a": float}, "a is not a finite number"),
        ({"a": True}, {"a": int}, "a is not a whole number"),
        ({"a": [1, "x"]}, {"a": [int]}, "an entry of a is not a whole number"),
        ({"a": {"x": "y"}}, {"a": {"*": str}}, None),
        ({"a": {"x": 1}}, {"a": {"*": str}}, "x is not a text"),
        ({}, {"a": int, "b": int}, "it has no a, b"),
    ],
)
def test_mismatch_names_the_value_and_its_type(value, schema, wrong):
    assert find_mismatch(value, schema, "it") == wrong
