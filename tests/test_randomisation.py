"""Which methods keep their heatmap when all parameters are shuffled, and that this requires a deep network.

Adebayo et al. 2018 (networks of dozens of layers, photographs) found that guided backpropagation does, and gradients
and Grad-CAM do not. `scripts/test -m slow -s tests/test_randomisation.py` prints the figures of docs/explaining.md.
"""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from bids_app import catalogue
from bids_app.dataset.grid import Grid
from bids_app.training import loop
from bids_app.training.feature_pipeline import Samples, fit_pipeline
from bids_app.training.models import Model
from bids_app.training.parameter_randomization import randomize_cascade, rank_correlation
from bids_app.training.training_config import TrainingConfig

pytestmark = pytest.mark.slow
SHAPE, PEOPLE, SEEDS = (26, 32, 26), 60, (1, 2, 3)
METHODS = ("saliency", "guided_backprop", "gradcam", "guided_gradcam", "integrated_gradients", "lrp0")


class Plain(nn.Module):
    """Convolutions with ReLUs, the last of stride 2, and one dense layer."""

    input_format = "volumes"

    def __init__(self, shape, layers):
        super().__init__()
        blocks = []
        for layer in range(layers):
            blocks += [nn.Conv3d(8 if layer else 1, 8, 3, 1 + (layer == layers - 1), padding=1), nn.ReLU()]
        self.cam_layer = nn.Sequential(*blocks)
        self.dense = nn.Linear(8 * int(np.prod([-(-edge // 2) for edge in shape])), 2)

    def forward(self, x):
        return self.dense(self.cam_layer(x).flatten(1))


def made(seed, layers):
    """A network that learnt an effect in scaled images, and twelve participants held out."""
    random = np.random.default_rng(seed)
    middle = (np.array(SHAPE) - 1) / 2
    inside = sum(((one - at) / (at + 0.5)) ** 2 for one, at in zip(np.indices(SHAPE), middle, strict=True)) <= 1
    grid = Grid(inside, np.diag([6.0, 6.0, 6.0, 1.0]))
    y = np.arange(PEOPLE) % 2
    x = np.stack([gaussian_filter(random.normal(size=SHAPE), 1.0) for _ in y])
    x /= x.std()
    x[y == 1, 8:13, 14:19, 10:15] -= 1.7
    people = Samples({"gm": x[:, inside].astype(np.float32)}, {})
    training = people.select(slice(0, 48))
    pipeline = fit_pipeline(training, maps=("gm",), columns={}, grid=grid)
    torch.manual_seed(seed)
    network = Plain(grid.cropped.mask.shape, layers)
    vectors = pipeline.transform(training)
    losses = loop.train(
        network,
        lambda rows: pipeline.to_volumes(vectors[rows]),
        y[:48],
        TrainingConfig(epochs=30),
        seed=seed,
        device="cpu",
    )
    assert losses["loss"][-1] < 0.1
    return Model("cell", "cnn3d", ("control", "patient"), pipeline, network, seed, {}, 1, 1), people.select(
        slice(48, None)
    )


@pytest.fixture(scope="module")
def kept():
    """The rank correlation of absolute values that is left with all parameters shuffled, by layers, method, seed."""
    rows = []
    for seed in SEEDS:
        for layers in (1, 4):
            model, held_out = made(seed, layers)
            called = model.predict(held_out).argmax(axis=1)
            right = float((called == np.arange(12) % 2).mean())
            some = held_out.select(slice(0, 4))
            for method in METHODS:
                explainer = catalogue.load("explainers", method)
                stages = randomize_cascade(explainer, model, some, called[:4], seed=seed)
                told = {"seed": seed, "layers": layers, "method": method, "accuracy": right}
                rows.append(told | {"head": stages[0]["spearman_abs"], "all": stages[-1]["spearman_abs"]})
    table = pd.DataFrame(rows)
    print("\n", table.round(2).to_string(), flush=True)
    print("\n", table.groupby(["layers", "method"])[["head", "all", "accuracy"]].mean().round(2), flush=True)
    return table.groupby(["layers", "method"])[["head", "all"]].mean()


def test_guided_backprop_survives_randomisation_in_deep_but_not_in_shallow_networks(kept):
    guided = kept.xs("guided_backprop", level="method")
    assert guided.loc[4, "head"] > 0.7
    assert guided.loc[1, "head"] < 0.3
    assert guided.loc[4, "all"] > 3 * guided.loc[1, "all"]


def test_saliency_changes_with_the_head_and_every_method_with_all_parameters(kept):
    for layers in (1, 4):
        assert kept.loc[(layers, "saliency"), "head"] < 0.5
    assert kept["all"].max() < 0.7


def test_products_with_the_image_keep_about_the_chance_correlation(kept):
    """Two random maps times one image: their absolute values correlate by about a half."""
    random = np.random.default_rng(0)
    image, one, other = random.normal(size=(3, 100_000))
    chance = rank_correlation(np.abs(one * image), np.abs(other * image))
    assert chance == pytest.approx(0.45, abs=0.05)
    for layers in (1, 4):
        for method in ("integrated_gradients", "lrp0"):
            assert kept.loc[(layers, method), "all"] == pytest.approx(chance, abs=0.12)
