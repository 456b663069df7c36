"""Time and memory of every explainer on a large network, as multiples of one forward and backward pass of it:
`pytest -m slow -s benchmarks/test_explainers.py`.

The network is that of Ng et al. 2018 (Cephalalgia 38:1496) on one image of 121 x 145 x 121 voxels: convolutions of 20,
10 and 5 channels, dense layers of 300, 100 and 2, 48.6 million weights in the first of them; for `cam` a mean over
space and one linear layer follow the convolutions. What is of linear models is measured on the svm with all voxels.

Each method has a process of its own, which uses it on a small image first, so that imports are no part of it, then
builds network and input, and resets the peak of its resident memory. Memory is the peak above that level, before
anything else is done at this size; for the pass it is that of two, since what convolutions keep from the first (66 MB)
is there before its own peak in some processes and after it in others. Times are the processor's, on one thread, the
better of two; passes and the method take turns.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy, which reads it once

import numpy as np
import pytest
import torch
from torch import nn

from bids_app import catalogue

pytestmark = pytest.mark.slow
SHAPE, SMALL, PEOPLE, LINEAR = (121, 145, 121), (24, 24, 24), 100, ("weights", "pattern")
REGIONS, TIMED = 120, 6
STEPS = (4, 16)
GOAL = 1.15


class Ng(nn.Module):
    """Logits (batch, 2) of volumes (batch, 1, X, Y, Z); `pooled` has a mean over space in place of dense layers."""

    input_format = "volumes"

    def __init__(self, shape, *, pooled):
        super().__init__()
        first, second, third = nn.Conv3d(1, 20, 3, 1, 1), nn.Conv3d(20, 10, 3, 1, 1), nn.Conv3d(10, 5, 3, 1, 1)
        # the last pool is no part of it: the map has the cells of the last convolution
        self.cam_layer = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.MaxPool3d(2), third, nn.ReLU())
        self.pooled = pooled
        if pooled:
            self.head = nn.Linear(5, 2)
        else:
            wide = 5 * int(np.prod([edge // 4 for edge in shape]))
            dense = (nn.Linear(wide, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 2))
            self.dense = nn.Sequential(nn.MaxPool3d(2), nn.Flatten(), *dense)

    def forward(self, x):
        features = self.cam_layer(x)
        return self.head(features.mean((2, 3, 4))) if self.pooled else self.dense(features)


def blocks(shape):
    """Labels (X, Y, Z) of 4 x 5 x 6 = 120 blocks, of which all but the first few are 0: the rest is not timed."""
    axes = (np.arange(edge) * parts // edge for edge, parts in zip(shape, (4, 5, 6), strict=True))
    labels = np.ravel_multi_index(np.meshgrid(*axes, indexing="ij"), (4, 5, 6)) + 1
    assert labels.max() == REGIONS
    return np.where(labels <= TIMED, labels, 0)


def one_pass(network, x):
    """Forward, and backward from a logit to the image."""
    batch = x[None].clone().requires_grad_()
    torch.autograd.grad(network(batch)[0, 1], batch)


def work_of(method, shape, steps=0):
    """The work of a method, and the pass with which it is compared."""
    torch.manual_seed(0)
    network, x = Ng(shape, pooled=method == "cam").eval(), torch.randn(1, *shape)
    mask = np.ones(shape, bool)
    if method == "pass":
        return lambda: one_pass(network, x), lambda: one_pass(network, x)
    explainer = catalogue.load("explainers", method)
    if method in LINEAR:
        svm = catalogue.load("classifiers", "svm").build(1, 2, (mask.size,), voxel_mm=(1.5,) * 3, seed=0)
        nn.init.normal_(svm.linear.weight, std=1e-3)
        people = np.random.default_rng(0).standard_normal((PEOPLE, mask.size), dtype=np.float32)
        return lambda: explainer.describe(svm, people), lambda: one_pass(network, x)
    assert explainer.check(network) is None
    more = {"parcels": blocks(shape)} if method == "occlusion" else {}
    more |= {"steps": steps} if steps else {}
    return lambda: explainer.explain(network, x, 1, mask=mask, **more), lambda: one_pass(network, x)


def resident(which):
    """VmRSS or its peak VmHWM, MB."""
    return int(Path("/proc/self/status").read_text().split(f"{which}:")[1].split()[0]) / 1024


def seconds(work):
    start = time.process_time()
    work()
    return time.process_time() - start


def alone(method, steps):
    """Seconds of a method, of a pass, and the method's peak of memory in MB, as the process's only work."""
    torch.set_num_threads(1)
    work_of(method, SMALL, steps)[0]()
    work, passing = work_of(method, SHAPE, steps)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = resident("VmRSS")
    times = [seconds(work) for _ in range(2 if method == "pass" else 1)]
    peak = resident("VmHWM") - before
    passes = [seconds(passing)]
    if times[0] < 10 * passes[0]:
        times.append(seconds(work))
    passes.append(seconds(passing))
    return {"seconds": min(times), "pass": min(passes), "mb": peak}


def measured(method, steps=0):
    command = [sys.executable, __file__, method, str(steps)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def one():
    """What one pass takes."""
    return measured("pass")


@pytest.fixture(scope="module")
def table(request, one):
    """Rows of measurements, printed at the end."""
    rows = []
    yield rows
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\n| method | s | times a pass | peak, MB | times a pass |\n|---|---|---|---|---|")
        print(f"| one forward and backward pass | {one['seconds']:.1f} | 1 | {one['mb']:.0f} | 1 |")
        print("\n".join(rows))


def tell(table, name, result, one):
    times, memory = result["seconds"] / result["pass"], result["mb"] / one["mb"]
    table.append(f"| {name} | {result['seconds']:.1f} | {times:.2f} | {result['mb']:.0f} | {memory:.2f} |")


def test_the_first_dense_layer_has_48_6_million_weights():
    assert Ng(SHAPE, pooled=False).dense[2].weight.numel() == 48_600_000


def of_networks():
    """The explainers that suit this network, or its variant that ends in a mean."""
    for name in catalogue.names("explainers"):
        check = catalogue.load("explainers", name).check
        if name != "integrated_gradients" and not all(check(Ng(SMALL, pooled=pooled)) for pooled in (True, False)):
            yield name


@pytest.mark.parametrize("method", list(of_networks()))
def test_cost_of_a_network_explainer_is_measured(table, one, method):
    result = measured(method)
    tell(table, f"{method}, {TIMED} of {REGIONS} regions" if method == "occlusion" else method, result, one)
    assert result["mb"] > 0


@pytest.mark.parametrize("method", LINEAR)
def test_svm_explainer_needs_less_memory_than_two_passes(table, one, method):
    result = measured(method)
    tell(table, f"{method}, of the svm and {PEOPLE} people", result, one)
    assert 0 < result["mb"] < 2 * one["mb"]  # a few times the participants, never voxels by voxels


@pytest.mark.parametrize("steps", STEPS)
def test_integrated_gradients_need_the_memory_of_one_pass_whatever_the_steps(table, one, steps):
    result = measured("integrated_gradients", steps)
    tell(table, f"integrated_gradients, {steps} steps", result, one)
    assert result["mb"] <= GOAL * one["mb"]


if __name__ == "__main__":
    print(json.dumps(alone(sys.argv[1], int(sys.argv[2]))))
