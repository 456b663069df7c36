"""An interrupted training resumes to the same result and never uses the checkpoint of another training."""

import pickle
import signal
import subprocess
import sys
import time

import pytest
import torch
from small_training import alike, convolutional, people, train

from bids_app.training import augment, checkpoint, fold
from bids_app.training.training_config import TrainingConfig

HOW = {"epochs": 6, "batch_size": 4, "learning_rate": 0.02, "patience": 5, "augment": "noisy"}
OTHERWISE = {"optimiser": "adam", "schedule": "none", "oversample": True, "accumulate": 2}


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """Write a checkpoint after each epoch, and use a random augmentation."""
    monkeypatch.setattr(checkpoint, "EVERY_S", 0.0)
    monkeypatch.setattr(
        augment, "load", {"noisy": lambda x, noise: x + 0.1 * torch.randn(x.shape, generator=noise)}.get
    )


@pytest.mark.parametrize("more", [{}, OTHERWISE])
def test_interrupted_training_resumes_to_identical_weights(tmp_path, more):
    x, y = people(14, effect=0.2)
    how = HOW | more
    whole, stopped = convolutional(dropout=0.5), convolutional(dropout=0.5)
    history = train(whole, x, y, **how)
    place = checkpoint.Checkpoint(tmp_path / "checkpoint-a.safetensors")
    asked = []

    def batch(rows):
        asked.append(rows)
        if len(asked) == 16:
            raise KeyboardInterrupt
        return x[rows]

    with pytest.raises(KeyboardInterrupt):
        train(stopped, x, y, batch=batch, checkpoint=place, **how)
    torch.rand(7)
    again = convolutional(seed=9, dropout=0.5)
    seen = []
    assert train(again, x, y, batch=lambda rows: (seen.append(rows), x[rows])[1], checkpoint=place, **how) == history
    assert alike(again, whole)
    assert len(seen) < 6 * 4 * (2 if more else 1)  # the epochs that were done are not done again
    # what has ended is not trained again either
    once_more = convolutional(seed=8)
    assert train(once_more, x, y, batch=seen.append, checkpoint=place, **how) == history
    assert alike(once_more, whole)


def test_checkpoint_depends_on_data_labels_settings_seed_and_initial_weights(tmp_path):
    x, y = people(6)
    standard, start = TrainingConfig(epochs=3), convolutional().state_dict()["0.weight"].numpy()

    def place(how=standard, arrays=(x, y, start), **told):
        return checkpoint.make_checkpoint(tmp_path, how, arrays, **{"seed": 1, **told}).file

    changed = x.copy()
    changed[3, 0, 2, 2, 2] += 1e-6
    others = [
        place(how=TrainingConfig(epochs=4)),
        place(arrays=(changed, y, start)),
        place(arrays=(x, 1 - y, start)),
        place(arrays=(x, y, -start)),
        place(seed=2),
    ]
    assert place() == place()
    assert len({place(), *others}) == 6


def test_short_training_writes_no_checkpoint_and_clear_removes_existing_ones(tmp_path, monkeypatch):
    x, y = people(6)
    file = tmp_path / "checkpoint-b.safetensors"
    monkeypatch.setattr(checkpoint, "EVERY_S", 60.0)
    train(convolutional(), x, y, checkpoint=checkpoint.Checkpoint(file))
    assert not file.exists()
    monkeypatch.setattr(checkpoint, "EVERY_S", 0.0)
    train(convolutional(), x, y, checkpoint=checkpoint.Checkpoint(file))
    assert file.exists()
    assert [one.name for one in tmp_path.iterdir()] == [file.name]
    checkpoint.clear(tmp_path)
    assert not list(tmp_path.iterdir())


def test_killed_and_rerun_fold_equals_an_uninterrupted_fold(study, tmp_path, monkeypatch):
    read = checkpoint.read
    common, splits, _ = study(1.0)
    given = {**common, "split": splits[0], "cell": "cnn3d/gm", "classifier": "cnn3d", "options": {"epochs": 8}}
    (tmp_path / "given").write_bytes(pickle.dumps({**given, "folder": tmp_path / "killed"}))
    code = (
        "import pickle, sys, time\n"
        "from bids_app.training import checkpoint, fold\n"
        "from bids_app.training.feature_pipeline import FeaturePipeline\n"
        "checkpoint.EVERY_S = 0.0\n"
        "volumes = FeaturePipeline.to_volumes\n"
        "FeaturePipeline.to_volumes = lambda *given: (time.sleep(0.05), volumes(*given))[1]\n"
        "fold.train_fold(**pickle.load(open(sys.argv[1], 'rb')))\n"
    )
    killed = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "given")])
    end = time.monotonic() + 100
    while not list((tmp_path / "killed").glob("checkpoint-*.safetensors")):
        assert killed.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "model").exists()
    taken = []
    monkeypatch.setattr(checkpoint, "read", lambda *given: (taken.append(given[1].name), read(*given)))
    for name in ("killed", "whole"):
        fold.train_fold(**given, folder=tmp_path / name)
    assert len(taken) == 1
    for name in ("model/weights.safetensors", "predictions.tsv", "losses.tsv"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert not list((tmp_path / "killed").glob("checkpoint-*"))
