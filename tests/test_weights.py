"""Pretrained weights: found where they are, and asked for in words where they are not, before anything is computed."""

import pytest

from bids_app import cli, settings
from bids_app.errors import MissingInputError, UsageError
from bids_app.workflow import weights


def chosen(tmp_path, *words):
    given = cli.parse([str(tmp_path), str(tmp_path / "out"), "group", *words])
    places = [given.pop(name) for name in ("level", "bids_dir", "output_dir")]
    return settings.build(*places, given=given)


def test_without_a_classifier_that_takes_weights_none_are_looked_for_and_a_folder_is_refused(tmp_path):
    assert weights.find(chosen(tmp_path, "--classifiers", "svm")) == {}
    with pytest.raises(UsageError, match="none of the chosen classifiers takes pretrained weights"):
        weights.find(chosen(tmp_path, "--classifiers", "svm", "--weights", str(tmp_path)))


def test_a_folder_with_weights_is_taken_and_one_without_names_the_command(tmp_path):
    words = ["--classifiers", "svm", "biomedclip", "--weights", str(tmp_path)]
    with pytest.raises(MissingInputError, match="hf download microsoft/BiomedCLIP") as told:
        weights.find(chosen(tmp_path, *words))
    assert "--weights none" in str(told.value)
    (tmp_path / "open_clip_pytorch_model.bin").touch()
    assert weights.find(chosen(tmp_path, *words)) == {"biomedclip": str(tmp_path)}


def test_unless_given_the_hub_s_cache_is_looked_through_and_none_starts_from_scratch(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(MissingInputError, match="the hub's cache has none"):
        weights.find(chosen(tmp_path, "--classifiers", "biomedclip"))
    repository = tmp_path / "hub" / "models--microsoft--BiomedCLIP-PubMedBERT_256-vit_base_patch16_224"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    (snapshot / "open_clip_pytorch_model.bin").touch()
    assert weights.find(chosen(tmp_path, "--classifiers", "biomedclip")) == {"biomedclip": str(snapshot)}
    assert weights.find(chosen(tmp_path, "--classifiers", "biomedclip", "--weights", "none")) == {}
