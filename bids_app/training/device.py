"""A network on a device, as that device computes fastest; on a CPU nothing is changed."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

CONTIGUOUS = torch.contiguous_format


@contextmanager
def training_mode(network: torch.nn.Module, device: str) -> Iterator[None]:
    """On the device and in training mode; on CUDA with channels last. Afterwards in the usual layout, in evaluation
    mode: so a saved model that is read again computes as this one does.
    """
    network.to(device).train()
    if device.startswith("cuda"):
        set_memory_format(network, images=torch.channels_last, volumes=torch.channels_last_3d)
    try:
        yield
    finally:
        set_memory_format(network, images=CONTIGUOUS, volumes=CONTIGUOUS)
        network.eval()


def set_memory_format(network: torch.nn.Module, *, images: torch.memory_format, volumes: torch.memory_format) -> None:
    """Order the weights of convolutions so in memory; what goes through them follows them."""
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Conv3d):
            layout = images if isinstance(module, torch.nn.Conv2d) else volumes
            module.weight.data = module.weight.data.contiguous(memory_format=layout)


def autocast_precision(device: str) -> AbstractContextManager[object]:
    """bfloat16 where torch holds it safe, on CUDA; float32 otherwise. Gradients and weights stay float32."""
    return torch.autocast("cuda", torch.bfloat16) if device.startswith("cuda") else nullcontext()
