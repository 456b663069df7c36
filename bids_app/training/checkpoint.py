"""The state of a training run in one file (safetensors, no pickle), so that it resumes exactly after being killed."""

import hashlib
import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file

from bids_app.training.training_config import TrainingConfig

EVERY_S = 300.0


@dataclass(eq=False)
class State:
    """All that the next epoch depends on. history: losses by name and epoch; best: the weights of the best epoch."""

    network: torch.nn.Module
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler | None
    order: np.random.Generator
    noise: torch.Generator
    history: dict[str, list[float]]
    best: dict[str, torch.Tensor] = field(default_factory=dict)


@dataclass(eq=False)
class Checkpoint:
    """A file written between epochs, at least EVERY_S seconds apart; shorter trainings write nothing.

    It stays until `clear`, so that a finished training is not repeated if a later step is killed.
    """

    file: Path
    begun: float = field(default_factory=time.monotonic)
    written: float = field(default_factory=time.monotonic)

    def save(self, state: State, *, last: bool) -> None:
        """Write the state if the last write is long ago, or after the last epoch of a long training."""
        now = time.monotonic()
        if now - (self.begun if last else self.written) >= EVERY_S:
            write(state, self.file)
            self.written = now

    def restore(self, state: State) -> None:
        """Restore the state from the file, if there is one."""
        if self.file.exists():
            read(state, self.file)


def make_checkpoint(folder: Path, config: TrainingConfig, arrays: Iterable[NDArray[Any]], **context: Any) -> Checkpoint:
    """The checkpoint of one training; the file's name is a hash of the configuration, arrays and other arguments."""
    digest = hashlib.sha256(json.dumps([asdict(config), context, torch.__version__], sort_keys=True).encode())
    for array in arrays:
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
    return Checkpoint(folder / f"checkpoint-{digest.hexdigest()[:16]}.safetensors")


def clear(folder: Path) -> None:
    """Remove all checkpoints of a folder, including those of other settings."""
    for file in folder.glob("checkpoint-*"):
        file.unlink()


def write(state: State, file: Path) -> None:
    """Write tensors as they are and the rest as JSON in the header; the file is replaced atomically."""
    optimiser = state.optimiser.state_dict()
    tensors = {f"network.{name}": tensor for name, tensor in state.network.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in state.best.items()}
    for number, values in optimiser["state"].items():
        tensors |= {f"optimiser.{number}.{name}": torch.as_tensor(value) for name, value in values.items()}
    tensors |= {"random.torch": torch.get_rng_state(), "random.noise": state.noise.get_state()}
    if state.noise.device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    metadata = {
        "optimiser": optimiser["param_groups"],
        "schedule": None if state.schedule is None else state.schedule.state_dict(),
        "order": state.order.bit_generator.state,
        "told": state.history,
    }
    partial = file.with_suffix(".partial")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, {"state": json.dumps(metadata)})
    partial.replace(file)


def read(state: State, file: Path) -> None:
    """Restore a state that `write` saved."""
    parts: dict[str, dict[str, torch.Tensor]] = {"network": {}, "best": {}, "optimiser": {}, "random": {}}
    with safe_open(file, "pt") as stored:
        metadata = json.loads(stored.metadata()["state"])
        for name in stored.keys():  # noqa: SIM118 - it is a file, not a dictionary
            part, _, key = name.partition(".")
            parts[part][key] = stored.get_tensor(name)
    of_parameters: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in parts["optimiser"].items():
        number, _, key = name.partition(".")
        of_parameters.setdefault(int(number), {})[key] = tensor
    state.network.load_state_dict(parts["network"])
    state.optimiser.load_state_dict({"state": of_parameters, "param_groups": metadata["optimiser"]})
    if state.schedule is not None:
        state.schedule.load_state_dict(metadata["schedule"])
    state.order.bit_generator.state = metadata["order"]
    state.noise.set_state(parts["random"]["noise"])
    torch.set_rng_state(parts["random"]["torch"])
    if "cuda" in parts["random"]:
        torch.cuda.set_rng_state(parts["random"]["cuda"])
    state.history, state.best = metadata["told"], parts["best"]
