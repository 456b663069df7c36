"""The memory of one training step, estimated without training: a forward pass on torch's meta device."""

from dataclasses import dataclass

import torch
from torch.autograd.graph import saved_tensors_hooks

from bids_app.training.training_config import TrainingConfig

FRAGMENTATION, TENSOR_COPIES, CHANNEL_BLOCK = 1.5, 3, 16
LIBRARY_BYTES = 2**26


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes of a network's weights, of the activations saved by a forward pass, and of its largest tensor, whose
    channels are counted in blocks of 16, as convolutions on a CPU lay them out.
    """

    weights: int
    activations: int
    largest: int
    best: bool

    @property
    def total(self) -> int:
        """The estimated peak in bytes, at most twice too high; compared with real peaks in benchmarks/test_training.py.

        Weights, gradients, two optimiser moments, and the best weights with early stopping; saved activations, and half
        as much for fragmentation; three times the largest tensor, since the backward pass of a convolution holds the
        gradients of both sides and a reordered copy; and what libraries allocate once.
        """
        of_weights = (5 if self.best else 4) * self.weights
        return int(of_weights + FRAGMENTATION * self.activations + TENSOR_COPIES * self.largest + LIBRARY_BYTES)


def estimate_step(
    network: torch.nn.Module, config: TrainingConfig, *, channels: int, shape: tuple[int, ...]
) -> MemoryEstimate:
    """Estimate the memory of one training step on volumes (X, Y, Z). The network loses its weights."""
    network.to("meta").train()
    weights = [*network.parameters(), *network.buffers()]
    parameter_storages = {weight.untyped_storage()._cdata for weight in weights}
    saved: dict[int, torch.UntypedStorage] = {}
    sizes = [0]

    def save(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in parameter_storages:
            saved[storage._cdata] = storage
        return tensor

    def record_size(module: torch.nn.Module, inputs: object, output: object) -> None:
        del module, inputs
        if isinstance(output, torch.Tensor):
            channels = output.shape[1] if output.ndim > 3 else CHANNEL_BLOCK
            sizes.append(output.nbytes // channels * -(-channels // CHANNEL_BLOCK) * CHANNEL_BLOCK)

    for module in network.modules():
        module.register_forward_hook(record_size)
    x = torch.empty(config.micro_batch_size, channels, *shape, device="meta")
    with saved_tensors_hooks(save, lambda tensor: tensor):
        network(x)
    return MemoryEstimate(
        weights=sum(weight.nbytes for weight in weights),
        activations=sum(storage.nbytes() for storage in saved.values()),
        largest=max(x.nbytes, *sizes),
        best=config.patience is not None,
    )
