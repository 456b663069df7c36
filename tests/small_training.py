"""A small network, samples with a learnable effect, and the training loop with named arguments."""

import numpy as np
import torch

from bids_app.training import loop
from bids_app.training.training_config import TrainingConfig

SHAPE = (6, 6, 6)


def convolutional(seed=0, *, dropout=0.0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Conv3d(1, 4, 3),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool3d(1),
        torch.nn.Flatten(),
        torch.nn.Dropout(dropout),
        torch.nn.Linear(4, 2),
    )


def people(count, *, effect=2.0, seed=0):
    """Noise, brighter in every second participant."""
    y = np.arange(count) % 2
    x = np.random.default_rng(seed).normal(size=(count, 1, *SHAPE)) + effect * y[:, None, None, None, None]
    return x.astype(np.float32), y


def train(network, x, y, *, seed=0, batch=None, **how):
    more = {name: how.pop(name) for name in ("groups", "checkpoint", "progress") if name in how}
    reader = (lambda rows: x[rows]) if batch is None else batch
    return loop.train(network, reader, y, TrainingConfig(**{"epochs": 3, **how}), seed=seed, device="cpu", **more)


def alike(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
