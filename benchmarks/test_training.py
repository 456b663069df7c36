"""What the loop adds to a bare step of torch, and how near the estimate of memory comes to the peak:
`pytest -m slow -s benchmarks/test_training.py`.

Three networks: `cnn3d` on a brain at 3 mm, four samples a step, and at 1.5 mm, with one more level; that of Ng
et al. 2018 on 121 x 145 x 121 voxels, two samples a step. Samples are read from a memory-mapped array of values in an
ellipsoid as large as the brain. The bare step is forward, cross entropy, backward and AdamW on a batch that is there
already; it takes turns with ours, from the same weights. Times are the processor's, on one thread; the ratio is the
median of the rounds'. For memory each network has a process of its own, as in benchmarks/test_explainers.py.
"""

import copy
import ctypes
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
from test_explainers import Ng, resident
from torch.nn.functional import cross_entropy

from bids_app import catalogue
from bids_app.dataset.grid import Grid
from bids_app.training import loop, memory
from bids_app.training.feature_pipeline import FeaturePipeline
from bids_app.training.training_config import TrainingConfig
from bids_app.training.volume_reader import VolumeReader

pytestmark = pytest.mark.slow
PEOPLE, LOADER, STEP, HIGHEST = 24, 0.02, 1.1, 2.0
SHORT_MS, SHORT = 20, {"step": 1.2, "loader": 0.08}  # a shorter step: reading four samples and clipping take a ms of it
NETWORKS = {  # shape, voxel_mm, participants a step, steps
    "cnn3d": ((49, 61, 53), 3.0, 4, 120),
    "cnn3d at 1.5 mm": ((97, 121, 103), 1.5, 4, 48),
    "ng2018": ((121, 145, 121), 1.5, 2, 12),
}
MEMORY = {**{name: its[:3] for name, its in NETWORKS.items() if name != "cnn3d"}, "vit_b16": ((49, 61, 53), 3.0, 1)}


def made(name, shape, voxel_mm):
    torch.manual_seed(0)
    if name == "ng2018":
        return Ng(shape, pooled=False)
    part = catalogue.load("classifiers", name.partition(" ")[0])
    return part.build(1, 2, shape, voxel_mm=(voxel_mm,) * 3, seed=0)


def reader(shape, folder, people):
    """The batch reader of a fold, and the classes."""
    axes = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij")
    grid = Grid(sum(axis**2 for axis in axes) <= 1, np.eye(4))
    x = np.random.default_rng(0).standard_normal((PEOPLE, grid.voxels), dtype=np.float32)
    np.save(folder / "x.npy", x)
    mapped = np.load(folder / "x.npy", mmap_mode="r")
    preparation = FeaturePipeline(("gm",), {"gm": ()}, grid, {})
    return VolumeReader(preparation, mapped, most=people), np.arange(PEOPLE) % 2


def seconds(work):
    start = time.process_time()
    work()
    return time.process_time() - start


class Bare:
    """Steps as torch's own documentation writes them."""

    def __init__(self, network, x, y):
        self.network, self.x, self.y = network.train(), x, y
        self.optimiser = torch.optim.AdamW(network.parameters())

    def step(self):
        loss = cross_entropy(self.network(self.x), self.y)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()


class Turns:
    """Reads batches for the loop and first runs a bare step; records the seconds of steps and reading."""

    def __init__(self, read, bare):
        self.read, self.bare, self.left = read, bare, None
        self.ours, self.plain, self.loading = [], [], []

    def __call__(self, rows):
        if self.left is not None:
            self.ours.append(time.process_time() - self.left + self.loading[-1])
        self.plain.append(seconds(self.bare.step))
        start = time.process_time()
        x = self.read(rows)
        self.left = time.process_time()
        self.loading.append(self.left - start)
        return x


@pytest.mark.parametrize("name", NETWORKS)
def test_training_step_and_loader_add_little_to_a_bare_step(name, tmp_path, capsys):
    shape, voxel_mm, people, steps = NETWORKS[name]
    read, y = reader(shape, tmp_path, people)
    network, rows = made(name, shape, voxel_mm), np.arange(people)
    with loop.torch_threads(1):
        x = torch.from_numpy(read(rows)).clone()
        turns = Turns(read, Bare(copy.deepcopy(network), x, torch.from_numpy(y[rows])))
        how = TrainingConfig(epochs=people * steps // PEOPLE, batch_size=people)
        loop.train(network, turns, y, how, seed=0, device="cpu")
    # the first steps make the optimiser's states
    step, plain, loading = (np.array(its[2 : steps - 1]) for its in (turns.ours, turns.plain, turns.loading))
    ratio, share = np.median(step / plain), np.median(loading / step)
    step, plain = np.median(step), np.median(plain)
    with capsys.disabled():
        print(f"\n| {name} | {people} | {1000 * plain:.1f} | {1000 * step:.1f} | {ratio:.3f} | {100 * share:.2f} % |")
    short = 1000 * plain < SHORT_MS
    assert ratio <= (SHORT["step"] if short else STEP)
    assert share < (SHORT["loader"] if short else LOADER)


def peak(name):
    """The estimate of a step's memory and its peak in MB, as the process's only work."""
    torch.set_num_threads(1)
    shape, voxel_mm, people = MEMORY[name]
    target = torch.from_numpy(np.arange(people) % 2)
    small = (24, 24, 24)
    Bare(made(name, small, voxel_mm), torch.randn(2, 1, *small), torch.tensor([0, 1])).step()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    before = resident("VmRSS")
    network = made(name, shape, voxel_mm)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    bare = Bare(network, torch.randn(people, 1, *shape), target)
    bare.step()
    bare.step()
    result = resident("VmHWM") - before
    need = memory.estimate_step(network, TrainingConfig(epochs=1, batch_size=people), channels=1, shape=shape)
    return {"estimate": need.total / 2**20, "peak": result}


@pytest.mark.parametrize("name", MEMORY)
def test_memory_estimate_is_between_one_and_two_times_the_peak(name, capsys):
    command = [sys.executable, __file__, name]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    ratio = told["estimate"] / told["peak"]
    with capsys.disabled():
        print(f"\n| {name} | {MEMORY[name][2]} | {told['peak']:.0f} | {told['estimate']:.0f} | {ratio:.2f} |")
    assert 1 <= ratio <= HIGHEST


if __name__ == "__main__":
    print(json.dumps(peak(sys.argv[1])))
