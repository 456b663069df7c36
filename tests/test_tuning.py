"""Hyperparameters from --set: validated early and merged from recipe, file and command line."""

import inspect
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from vit_small import build as small_transformer

from bids_app import catalogue, cli, run, settings
from bids_app.classifiers._slices import PROBABILITIES
from bids_app.dataset import samples
from bids_app.errors import UsageError
from bids_app.planning import hyperparameters
from bids_app.training.training_config import TRAINING_KEYS


def built(*words: str) -> settings.Settings:
    given = cli.parse(["BIDS", "OUT", "group", *words])
    for name in ("bids_dir", "output_dir", "level"):
        given.pop(name)
    return settings.build("group", Path("/BIDS"), Path("/OUT"), options=given)


def options(*words: str) -> dict:
    return hyperparameters.classifier_options(built(*words))


def test_hyperparameters_are_merged_with_the_most_specific_taking_precedence():
    words = ["--classifiers", "svm", "wang_a-24", "wang_a", "vit_b16", "--set", "epochs=3", "wang_a.epochs=5"]
    assert options(*words, "wang_a-24.patience=none", "vit_b16.size=64", "vit_b16.learning_rate=1") == {
        "wang_a-24": {"epochs": 5, "patience": None, "width": 24},
        "wang_a": {"epochs": 5},
        "vit_b16": {"epochs": 3, "size": 64, "learning_rate": 1.0},
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--classifiers", "svm", "--set", "resnet.size=3"), "there is no resnet; choose from"),
        (("--classifiers", "cnn3d", "--set", "cnn3d.size=3"), "cnn3d has no size; choose from accumulate, "),
        (("--classifiers", "svm", "--set", "svm.C=3"), "svm has no C; it has no options"),
        (("--classifiers", "vit_b16", "--set", "vit_b16.size=big"), "'big' is not of type int"),
        (("--classifiers", "cnn3d", "--set", "epochs=2.5"), "2.5 is not of type int"),
        (("--classifiers", "cnn3d", "--set", "epochs=0"), "EPOCHS, .* must be at least 1"),
        (("--classifiers", "wang_a", "--set", "wang_a.validation=0.0"), "VALIDATION must be a proportion below 1"),
        (("--set", "saliency.steps=3"), "saliency has no steps; it has no options"),
        (("--classifiers", "svm-3"), "svm has no variants, so there is no svm-3"),
        (("--classifiers", "wang_a-wide"), "'wide' is not of type int"),
    ],
)
def test_invalid_hyperparameters_are_refused(words, message):
    with pytest.raises(UsageError, match=message):
        options(*words), hyperparameters.explainer_options(built(*words, "--explainers", "saliency"))


def test_hyperparameters_of_recipe_file_and_command_line_are_merged_per_option(tmp_path):
    (tmp_path / "study.toml").write_text(
        "[group]\nset.cnn3d = {epochs = 1, batch_size = 2, learning_rate = 0.5}\n"
        "[sloppy]\nfolds = 2\nset.cnn3d.epochs = 9\n"
    )
    (tmp_path / "own.toml").write_text("[group.set.cnn3d]\nbatch_size = 3\n")
    words = ["--recipe", str(tmp_path / "study.toml"), "--config-file", str(tmp_path / "own.toml")]
    words += ["--set", "cnn3d.learning_rate=0.25", "--classifiers", "cnn3d"]
    assert options(*words)["cnn3d"] == {"epochs": 1, "batch_size": 3, "learning_rate": 0.25}
    assert built(*words).group.folds == 5
    assert options(*words, "--sloppy")["cnn3d"] == {"epochs": 9, "batch_size": 3, "learning_rate": 0.25}
    assert built(*words, "--sloppy").group.folds == 2
    assert built(*words, "--sloppy", "--folds", "4").group.folds == 4


def test_written_settings_list_and_explain_every_setting_without_a_dataset(capsys):
    assert run.main(["--recipe", "li2025", "--write-config", "--set", "vit_b16.size=64"]) == 0
    message = capsys.readouterr().out
    lines = message.splitlines()
    for section, names in settings.NAMES.items():
        for name in set(names) - {"write_config", "config_file"}:
            at = [n for n, line in enumerate(lines) if line == f"# {settings.OPTIONS[name].help}"]
            assert any(lines[n + 1].startswith((f"{name} =", f"# {name} =", f"[{section}.{name}")) for n in at), name
    assert tomllib.loads(message)["group"]["set"] == {"vit_b16": {"size": 64}}


@pytest.mark.parametrize("name", catalogue.names("classifiers"))
def test_classifier_options_agree_with_the_build_signature(name):
    part = catalogue.load("classifiers", name)
    stated = getattr(part, "OPTIONS", {})
    assert not set(stated) & set(TRAINING_KEYS)
    own = inspect.signature(part.build).parameters
    assert bool(stated) == (len(own) > 5)
    if hasattr(part, "NAME_SUFFIX"):
        assert part.NAME_SUFFIX in stated


def test_width_option_sets_the_width_of_the_network():
    wang_a = catalogue.load("classifiers", "wang_a")
    network = wang_a.build(1, 2, (110, 110, 110), voxel_mm=(1.0, 1.0, 1.0), seed=0, width=24)
    assert [block[0].out_channels for block in network.blocks] == [24] * 5


def test_sample_probability_is_the_mean_over_slice_probabilities():
    network = small_transformer(1, 2, (8, 9, 12), seed=0).eval()
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 1, 8, 9, 12)).astype(np.float32) * 5)
    network.pool = PROBABILITIES
    with torch.no_grad():
        each = torch.softmax(network.instances(x), dim=-1)
        torch.testing.assert_close(torch.softmax(network(x), dim=-1), each.mean(dim=1))
    assert catalogue.load("classifiers", "biomedclip").PROBABILITIES == PROBABILITIES


def test_max_per_class_samples_whole_participants_and_records_the_reason_for_others():
    people = [f"{number:02d}" for number in range(12)]
    rows = [
        (participant, visit, "ab"[int(participant) % 3 == 0], int(participant) != 1)
        for participant in people
        for visit in ("1", "2")
    ]
    table = pd.DataFrame(rows, columns=["participant_id", "session_id", "class", "used"]).assign(reason="")
    drawn = samples.limit_per_class(table, most=3, seed=1)
    used = drawn[drawn["used"]]
    assert used.groupby("class")["participant_id"].nunique().to_dict() == {"a": 3, "b": 3}
    assert used.groupby("participant_id").size().eq(2).all()
    left = drawn[~drawn["used"] & (drawn["participant_id"] != "01")]
    assert set(left["reason"]) == {"not sampled: --max-per-class 3"}
    pd.testing.assert_frame_equal(
        drawn, samples.limit_per_class(table.sample(frac=1, random_state=0), most=3, seed=1).sort_index()
    )
    assert samples.limit_per_class(table, most=None, seed=1) is table
