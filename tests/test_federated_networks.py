"""A network's step on gradients summed over sites equals the pooled step; FedAvg and FedProx as defined."""

import copy

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from bids_app.classifiers import cnn3d
from bids_app.errors import DataError
from bids_app.federated.networks import average_weights, balanced_weights, step, sum_gradients, train_locally
from bids_app.training import loop
from bids_app.training.training_config import config_from_module

SHAPE, PEOPLE = (9, 8, 7), {"ams": (6, 3), "berlin": (2, 5), "cork": (3, 1)}


@pytest.fixture
def sites():
    """Volumes and classes of three sites of unequal size and class ratio, in the order of their names."""
    random = torch.Generator().manual_seed(0)
    parts = []
    for controls, patients in PEOPLE.values():
        y = torch.tensor([0] * controls + [1] * patients)
        parts.append((torch.randn(len(y), 1, *SHAPE, generator=random) + 0.5 * y[:, None, None, None, None], y))
    return parts


def network():
    """A network whose gains are not 0, as after some training: all parameters have a gradient."""
    model = cnn3d.build(1, 2, SHAPE, voxel_mm=(4.0, 4.0, 4.0), seed=1)
    gains = torch.randn(model.cam_layer[-1].place.shape, generator=torch.Generator().manual_seed(2))
    model.cam_layer[-1].place.data = 0.5 * gains
    return model


def pool(sites):
    return torch.cat([x for x, _ in sites]), torch.cat([y for _, y in sites])


def distance(one, other):
    pairs = list(zip(one.parameters(), other.parameters(), strict=True))
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


def federated_steps(model, sites, optimiser, *, count):
    y = pool(sites)[1]
    weight = balanced_weights(np.bincount(y.numpy()))
    for _ in range(count):
        step(model, optimiser, [sum_gradients(model, x, labels, weight, at_once=4) for x, labels in sites], len(y))


def test_one_step_of_gradient_descent_equals_the_pooled_step(sites):
    federated, pooled = network(), network()
    federated_steps(federated, sites, torch.optim.SGD(federated.parameters(), lr=0.5), count=1)
    x, y = pool(sites)
    counts = torch.bincount(y)
    weight = len(y) / (2 * counts)
    cross_entropy(pooled(x), y, weight=weight, reduction="none").mean().backward()
    norm = float(torch.nn.utils.clip_grad_norm_(pooled.parameters(), 1.0))
    torch.optim.SGD(pooled.parameters(), lr=0.5).step()
    moved = distance(pooled, network())
    print(f"norm {norm:.3g}, moved {moved:.3g}, difference {distance(federated, pooled):.3g}")
    assert moved > 1e-2
    assert distance(federated, pooled) < 1e-6


def test_full_batch_steps_equal_the_pooled_training_loop(sites):
    federated, pooled = network(), network()
    x, y = pool(sites)
    options = {"epochs": 5, "batch_size": len(y), "schedule": "none"}
    config = config_from_module(cnn3d, options)
    optimiser = torch.optim.AdamW(federated.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    federated_steps(federated, sites, optimiser, count=5)
    volumes = x.numpy()
    loop.train(pooled, lambda rows: volumes[rows], y.numpy(), config, seed=0, device="cpu")
    print(f"5 steps of AdamW: moved {distance(pooled, network()):.3g}, differ {distance(federated, pooled):.3g}")
    assert distance(pooled, network()) > 1e-2
    assert distance(federated, pooled) < 1e-4


def test_averaged_weights_after_one_local_step_equal_a_pooled_step_without_clipping(sites):
    x, y = pool(sites)
    weight = balanced_weights(np.bincount(y.numpy()))
    common, local = network(), []
    for volumes, labels in sites:
        local.append(copy.deepcopy(common))
        train_locally(local[-1], volumes, labels, weight, steps=1, learning_rate=0.05)
    average_weights(common, local, [len(labels) for _, labels in sites])
    pooled = network()
    cross_entropy(pooled(x), y, weight=weight, reduction="none").mean().backward()
    torch.optim.SGD(pooled.parameters(), lr=0.05).step()
    assert distance(common, pooled) < 1e-6


def test_a_proximal_term_keeps_sites_closer_to_the_common_weights(sites):
    (x, y), common = sites[0], network()
    weight = balanced_weights(np.bincount(y.numpy()))
    moved = []
    for proximal in (0.0, 100.0):
        local = copy.deepcopy(common)
        train_locally(local, x, y, weight, steps=8, learning_rate=1e-3, proximal=proximal)
        moved.append(distance(local, common))
    assert 0 < moved[1] < 0.8 * moved[0]


def test_gradients_that_are_not_finite_are_refused(sites):
    model = network()
    x, y = sites[0]
    gradients = sum_gradients(model, x * float("nan"), y, balanced_weights(np.array([1, 1])))
    with pytest.raises(DataError, match="site 1 are not finite"):
        step(model, torch.optim.SGD(model.parameters(), lr=0.1), [gradients], len(y))
