"""Pretrained weights: located where available, otherwise requested before any computation."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from test_networks import names_of_open_clip

from bids_app import cli, settings
from bids_app.atlases import templates
from bids_app.errors import MissingInputError, UsageError
from bids_app.planning import pretrained_weights
from bids_app.run import main
from bids_app.training import fold


def chosen(tmp_path, *words):
    given = cli.parse([str(tmp_path), str(tmp_path / "out"), "group", *words])
    places = [given.pop(name) for name in ("level", "bids_dir", "output_dir")]
    return settings.build(*places, options=given)


def test_weights_folder_is_refused_without_a_pretrained_classifier(tmp_path):
    assert pretrained_weights.find_weights(chosen(tmp_path, "--classifiers", "svm")) == {}
    with pytest.raises(UsageError, match="none of the selected classifiers uses pretrained weights"):
        pretrained_weights.find_weights(chosen(tmp_path, "--classifiers", "svm", "--weights", str(tmp_path)))


def test_weights_folder_is_used_or_else_the_download_command_is_named(tmp_path):
    words = ["--classifiers", "svm", "biomedclip", "--weights", str(tmp_path)]
    with pytest.raises(MissingInputError, match="hf download microsoft/BiomedCLIP") as message:
        pretrained_weights.find_weights(chosen(tmp_path, *words))
    assert "--weights none" in str(message.value)
    (tmp_path / "open_clip_pytorch_model.bin").touch()
    assert pretrained_weights.find_weights(chosen(tmp_path, *words)) == {"biomedclip": str(tmp_path)}


def test_hub_cache_is_searched_by_default_and_skipped_with_weights_none(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(MissingInputError, match="the cache of the hub has none"):
        pretrained_weights.find_weights(chosen(tmp_path, "--classifiers", "biomedclip"))
    repository = tmp_path / "hub" / "models--microsoft--BiomedCLIP-PubMedBERT_256-vit_base_patch16_224"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    (snapshot / "open_clip_pytorch_model.bin").touch()
    assert pretrained_weights.find_weights(chosen(tmp_path, "--classifiers", "biomedclip")) == {
        "biomedclip": str(snapshot)
    }
    assert pretrained_weights.find_weights(chosen(tmp_path, "--classifiers", "biomedclip", "--weights", "none")) == {}


def text_tower():
    """Names and shapes of the other tensors in BiomedCLIP's file: PubMedBERT as written by open_clip."""
    width, rows = 768, {"word": 30522, "position": 512, "token_type": 2}
    result = {f"embeddings.{name}_embeddings.weight": (count, width) for name, count in rows.items()}
    norms = ["embeddings.LayerNorm"]
    for layer in range(12):
        own = f"encoder.layer.{layer}"
        squares = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense")
        shapes = dict.fromkeys(squares, (width, width))
        shapes |= {"intermediate.dense": (4 * width, width), "output.dense": (width, 4 * width)}
        for name, shape in shapes.items():
            result |= {f"{own}.{name}.weight": shape, f"{own}.{name}.bias": shape[:1]}
        norms += [f"{own}.attention.output.LayerNorm", f"{own}.output.LayerNorm"]
    result |= {f"{name}.{part}": (width,) for name in norms for part in ("weight", "bias")}
    whole = {f"text.transformer.{name}": shape for name, shape in result.items()}
    return whole | {"text.proj.0.weight": (640, width), "text.proj.2.weight": (512, 640), "logit_scale": ()}


@pytest.fixture
def invented(tmp_path, invented_gm):
    """The arguments of a group run on simulated maps of eight participants."""
    bids, out, random = tmp_path / "bids", tmp_path / "out", np.random.default_rng(0)
    bids.mkdir()
    (bids / "dataset_description.json").write_text('{"Name": "invented", "BIDSVersion": "1.10.0"}')
    table = pd.DataFrame({"participant_id": [f"sub-{row:02}" for row in range(8)], "group": ["control", "patient"] * 4})
    table.to_csv(bids / "participants.tsv", sep="\t", index=False)
    for person in table["participant_id"]:
        (bids / person).mkdir()
        shape, affine = templates.grid("MNI152NLin2009cAsym", 4.0)
        invented_gm(out, person, nib.Nifti1Image(random.random(shape, np.float32), affine), random)
    return [str(bids), str(out), "group", "--label", "group", "--sloppy"]


@pytest.mark.slow
def test_weights_file_in_hub_format_is_accepted_and_initialises_the_model(invented, study, tmp_path, capsys):
    torch.manual_seed(0)
    shapes = names_of_open_clip(width=768, blocks=12, size=224, patch=16, projection=512)
    assert sum(name.startswith("visual.trunk.") for name in shapes) == 150
    state = {name: torch.randn(shape) * 0.02 for name, shape in shapes.items()}
    folder = tmp_path / "weights"
    folder.mkdir()
    texts = {name: torch.zeros(shape) for name, shape in text_tower().items()}
    torch.save(state | texts, folder / "open_clip_pytorch_model.bin")

    words = [*invented, "--classifiers", "biomedclip", "--folds", "2", "--weights", str(folder), "--mem-mb", "1000"]
    assert main(words) == 65  # found, and looked no further than at the memory
    assert "biomedclip/gm requires about" in capsys.readouterr().err

    common, splits, _ = study(people=6)
    given = common | {"cell": "biomedclip/gm", "classifier": "biomedclip", "split": splits[0]}
    fold.train_fold(**given, options={"epochs": 1}, weights=folder, folder=tmp_path / "fold")
    predictions = pd.read_csv(tmp_path / "fold" / "predictions.tsv", sep="\t").filter(like="probability_")
    assert np.isfinite(predictions.to_numpy()).all()
    assert np.allclose(predictions.sum(axis=1), 1, atol=1e-5)
    kept = {name.partition("backbone.")[2]: one for name, one in load_file(
        tmp_path / "fold" / "model" / "weights.safetensors").items()}  # fmt: skip
    moved = [(kept[name].float() - one).abs().max().item() for name, one in state.items()]
    assert max(moved) < 1e-4  # one step at a rate of 1e-5, from values that are 0.02 and more apart


def test_missing_weights_file_error_gives_the_hub_download_command(invented, tmp_path, capsys):
    assert main([*invented, "--classifiers", "biomedclip", "--weights", str(tmp_path)]) == 66
    message = capsys.readouterr().err
    assert "hf download microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224 open_clip_pytorch_model.bin" in message
    assert "--weights none" in message
