"""The one loop that trains networks."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_class_weight
from torch.nn.functional import cross_entropy

from bids_app.training import augment
from bids_app.training.checkpoint import Checkpoint, State
from bids_app.training.device import autocast_precision, training_mode
from bids_app.training.sampling import Rows, draw_epoch, epoch_length, train_validation_split
from bids_app.training.training_config import TrainingConfig

CUDA_TOLERANCE = 1e-3  # of probabilities, two trainings with one seed on one device

Batch = Callable[[NDArray[np.intp]], NDArray[np.float32]]
Loss = Callable[[NDArray[np.intp]], torch.Tensor]


def train(
    network: torch.nn.Module,
    batch: Batch,
    y: NDArray[np.int64],
    config: TrainingConfig,
    *,
    seed: int,
    device: str,
    groups: Sequence[str] | None = None,
    checkpoint: Checkpoint | None = None,
    progress: Callable[[Iterable[int]], Iterable[int]] | None = None,
) -> dict[str, list[float]]:
    """Train in place with class-balanced cross entropy; return the mean `loss` of each epoch and, with a validation
    set, its loss `validation`.

    batch: rows of y -> volumes (rows, channels, X, Y, Z), so that samples are read when needed; groups (samples,) are
    never split by validation. Gradients are clipped to norm 1. Early stopping uses training samples only; without
    patience the weights of the last epoch are used. On a CPU, weights are reproducible with the same seed and number of
    threads, including after resuming from a checkpoint. On CUDA some sums have no fixed order, and probabilities may
    differ by up to CUDA_TOLERANCE (a `gpu` test; neither it nor bfloat16 and channels last have run on a device yet).
    """
    rows, validation_rows = np.arange(len(y)), np.arange(0)
    if config.validation_size:
        rows, validation_rows = train_validation_split(y, groups, share=config.validation_size, seed=seed)
    # batches of even size: a last batch of one sample would break batch normalisation
    parts = math.ceil(epoch_length(rows, y, oversample=config.oversample) / config.batch_size)
    validation_parts = np.array_split(
        validation_rows, max(1, math.ceil(len(validation_rows) / config.micro_batch_size))
    )
    with training_mode(network, device), fixed_seed(seed, device):
        state = _init_state(network, config, parts, seed, device)
        change, balancing = augment.load(config.augment), None if config.oversample else rows
        loss = _make_loss(state, batch, y, config, device, balancing=balancing, change=change)
        validation = _make_loss(
            state, batch, y, config, device, balancing=validation_rows if validation_rows.size else None, change=None
        )
        if checkpoint is not None:
            checkpoint.restore(state)
        epochs = range(len(state.history["loss"]), config.epochs)
        for _ in epochs if progress is None else progress(epochs):
            if _should_stop(state, config):
                break
            epoch_rows = draw_epoch(rows, y, state.order, oversample=config.oversample)
            steps = [_train_step(state, loss, batch_rows, config) for batch_rows in np.array_split(epoch_rows, parts)]
            state.history["loss"].append(
                sum(float(mean) * len(few) for step in steps for few, mean in step) / len(epoch_rows)
            )
            if config.validation_size:
                _validate(state, validation, validation_parts, keep=config.patience is not None)
            if checkpoint is not None:
                checkpoint.save(state, last=_should_stop(state, config) or len(state.history["loss"]) == config.epochs)
        if state.best:
            network.load_state_dict(state.best)
    return state.history


def _init_state(network: torch.nn.Module, config: TrainingConfig, parts: int, seed: int, device: str) -> State:
    """Return the state before the first epoch."""
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[config.optimiser]
    optimiser = kind(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = None
    if config.schedule == "cosine":
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=config.epochs * parts)
    order, noise = np.random.default_rng(seed), torch.Generator(device).manual_seed(seed)
    history: dict[str, list[float]] = {
        name: [] for name in ("loss", *(("validation",) if config.validation_size else ()))
    }
    return State(network, optimiser, schedule, order, noise, history)


def _make_loss(
    state: State,
    batch: Batch,
    y: NDArray[np.int64],
    config: TrainingConfig,
    device: str,
    *,
    balancing: Rows | None,
    change: augment.Augment | None,
) -> Loss:
    """Return a function of rows that computes their mean loss, weighted to balance the classes of rows `balancing`."""
    weights = None
    if balancing is not None:
        labels = y[balancing]
        balanced = compute_class_weight("balanced", classes=np.unique(labels), y=labels)
        weights = torch.tensor(balanced, dtype=torch.float32, device=device)

    def loss(rows: Rows) -> torch.Tensor:
        x = torch.from_numpy(batch(rows)).to(device)
        x = x if change is None else change(x, state.noise)
        target = torch.from_numpy(y[rows]).to(device)
        with autocast_precision(device):
            forward: Any = state.network.instances if config.instances else state.network
            logits = forward(x)
            if config.instances:  # (batch, slices, classes): each slice has its sample's class
                target, logits = target.repeat_interleave(logits.shape[1]), logits.flatten(0, 1)
            return cross_entropy(logits, target, weight=weights, reduction="none").mean()

    return loss


def _train_step(state: State, loss: Loss, rows: Rows, config: TrainingConfig) -> list[tuple[Rows, torch.Tensor]]:
    """Take one optimiser step on the mean loss of some rows, accumulated over micro-batches; return their losses."""
    losses = []
    state.optimiser.zero_grad()
    for part in np.array_split(rows, min(config.accumulate, len(rows))):
        mean = loss(part)
        (mean * (len(part) / len(rows))).backward()
        losses.append((part, mean.detach()))
    torch.nn.utils.clip_grad_norm_(state.network.parameters(), 1.0)
    state.optimiser.step()
    if state.schedule is not None:
        state.schedule.step()
    return losses


def _validate(state: State, loss: Loss, parts: list[Rows], *, keep: bool) -> None:
    """Append the validation loss to the history, and with `keep` store the weights if it is the best so far."""
    state.network.eval()
    with torch.no_grad():
        total = sum(float(loss(part)) * len(part) for part in parts)
    state.network.train()
    history = state.history["validation"]
    history.append(total / sum(map(len, parts)))
    if keep and np.argmin(history) == len(history) - 1:
        state.best = {name: tensor.clone() for name, tensor in state.network.state_dict().items()}


def _should_stop(state: State, config: TrainingConfig) -> bool:
    """Whether the validation loss has not improved for as many epochs as the patience."""
    history = state.history.get("validation", [])
    return (
        bool(history) and config.patience is not None and len(history) - 1 - int(np.argmin(history)) >= config.patience
    )


@contextmanager
def fixed_seed(seed: int, device: str) -> Iterator[None]:
    """Seed torch's global generators (dropout) and make cuDNN deterministic; restore both afterwards."""
    devices = [torch.cuda.current_device()] if device.startswith("cuda") else []
    with (
        torch.random.fork_rng(devices=devices),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
    ):
        torch.manual_seed(seed)
        yield


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Run torch on `count` threads, since its results depend on the number."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
