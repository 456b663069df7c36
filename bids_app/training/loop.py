"""The one loop that trains networks."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

CUDA_TOLERANCE = 1e-3  # of probabilities, two trainings with one seed on one device

Batch = Callable[[NDArray[np.intp]], NDArray[np.float32]]
Augment = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


def train(
    network: torch.nn.Module,
    batch: Batch,
    y: NDArray[np.int64],
    *,
    epochs: int,
    learning_rate: float = 1e-3,
    weight_decay: float = 1e-2,
    batch_size: int = 8,
    seed: int,
    device: str,
    augment: Augment | None = None,
    progress: Callable[[Iterable[int]], Iterable[int]] | None = None,
) -> list[float]:
    """Train in place with AdamW, a cosine rate and class-weighted cross entropy; return each epoch's mean loss.

    batch: rows of y -> volumes (rows, channels, X, Y, Z), so that people are read when they are needed. Gradients are
    clipped to norm 1. The weights of the last epoch are kept: there is no early stopping, since nothing but training
    people may decide when to stop. Same seed and threads: same weights, on a CPU; on CUDA some sums have
    no fixed order, and probabilities are to differ by CUDA_TOLERANCE at most (a `gpu` test, not run on a device yet).
    """
    network.to(device).train()
    weights = torch.tensor(_class_weights(y), dtype=torch.float32, device=device)
    parts = math.ceil(len(y) / batch_size)
    optimiser = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=epochs * parts)
    order, noise = np.random.default_rng(seed), torch.Generator(device).manual_seed(seed)
    losses = []
    with seeded(seed, device):
        for _ in range(epochs) if progress is None else progress(range(epochs)):
            total = 0.0
            # parts of even size: a last batch of one person would break batch normalisation
            for rows in np.array_split(order.permutation(len(y)), parts):
                x = torch.from_numpy(batch(rows)).to(device)
                x = x if augment is None else augment(x, noise)
                target = torch.from_numpy(y[rows]).to(device)
                loss = torch.nn.functional.cross_entropy(network(x), target, weight=weights, reduction="none").mean()
                optimiser.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimiser.step()
                schedule.step()
                total += float(loss.detach()) * len(rows)
            losses.append(total / len(y))
    network.eval()
    return losses


def _class_weights(y: NDArray[np.int64]) -> NDArray[np.float64]:
    """n / (classes x people of the class), so that each class weighs the same."""
    counts = np.bincount(y)
    return len(y) / (len(counts) * counts)


@contextmanager
def seeded(seed: int, device: str) -> Iterator[None]:
    """Torch's own generators (dropout) seeded and cuDNN made deterministic, both as before afterwards."""
    devices = [torch.cuda.current_device()] if device.startswith("cuda") else []
    with (
        torch.random.fork_rng(devices=devices),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
    ):
        torch.manual_seed(seed)
        yield


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Torch on `count` threads, since its numbers vary with them."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
