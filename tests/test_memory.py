"""Memory estimates are exact and reported in time; benchmarks/test_training.py compares them with peaks."""

import subprocess
import sys

import numpy as np
import torch

from bids_app import catalogue
from bids_app.graphs.memory import BRAIN_MM, NetworkRequest, measure_networks
from bids_app.run import main
from bids_app.training import memory
from bids_app.training.training_config import TrainingConfig, config_from_module


def test_weights_and_activations_are_counted_to_the_byte():
    convolution, dense = torch.nn.Conv3d(2, 3, 3, padding=1), torch.nn.Linear(3 * 4 * 5 * 6, 2)
    network = torch.nn.Sequential(convolution, torch.nn.ReLU(), torch.nn.Flatten(), dense)
    need = memory.estimate_step(network, TrainingConfig(epochs=1, batch_size=7), channels=2, shape=(4, 5, 6))
    volume = 7 * 4 * 5 * 6 * 4  # one channel of 7 participants
    assert need.weights == 4 * (2 * 3 * 27 + 3 + 360 * 2 + 2)
    assert (
        need.activations == 2 * volume + 3 * volume
    )  # what each layer was given; the ReLU's result is the dense layer's
    assert need.largest == 16 * volume  # three channels take the room of 16


def test_micro_batch_size_and_stored_best_weights_are_counted():
    part = catalogue.load("classifiers", "cnn3d")

    def need(**how):
        network = part.build(1, 2, (24, 24, 24), voxel_mm=(4.0,) * 3, seed=0)
        return memory.estimate_step(
            network, TrainingConfig(epochs=1, **{"batch_size": 8, **how}), channels=1, shape=(24, 24, 24)
        )

    assert (
        need().activations / 4 < need(accumulate=4).activations < need().activations / 3
    )  # less what does not grow with participants
    assert need(accumulate=4) == need(batch_size=2)
    assert need(patience=3).total - need().total == need().weights


def test_importing_the_group_graph_does_not_import_torch():
    code = "import sys; from bids_app.graphs import group; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_planned_bounding_box_covers_the_template_brain(with_template, tmp_path):
    import nibabel as nib

    with_template(tmp_path)
    (mask,) = tmp_path.rglob("*mask*.nii.gz")
    image = nib.load(mask)
    inside = np.asarray(image.dataobj) > 0.5
    edge = image.header.get_zooms()[0]
    box = [np.ptp(np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis})))) + 1 for axis in range(3)]
    planned = [round(mm / edge) for mm in BRAIN_MM]
    assert all(0 <= more - less <= 2 for more, less in zip(planned, box, strict=True))


def test_network_exceeding_memory_is_refused_before_anything_is_computed(phantom_maps, capsys):
    bids, out = phantom_maps
    words = [str(bids), str(out), "group", "--label", "group", "--analysis", "toolarge", "--folds", "2"]
    assert main([*words, "--classifiers", "cnn3d", "--mem-mb", "1000", "--resolution", "4"]) == 65
    message = capsys.readouterr().err
    assert "cnn3d/gm requires about 1.6 GB, 0.1 GB of it for one training step" in message
    assert "1.0 GB" in message
    assert "--resolution" in message
    assert not list((out / ".work").glob("analysis-toolarge-*"))


def test_vit_b16_needs_gigabytes_and_cnn3d_does_not():
    asked = [NetworkRequest(name, 1, 2, (49, 61, 53), 3.0, {}) for name in ("vit_b16", "cnn3d")]
    (large, small), _ = measure_networks(asked, "cpu")
    assert 5 < large < 25
    assert small < 0.2
    assert config_from_module(catalogue.load("classifiers", "vit_b16")).micro_batch_size == 4
