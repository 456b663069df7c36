"""The device that a network runs on, and the memory layout and precision that are fastest there."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from bids_app.errors import UsageError

CONTIGUOUS = torch.contiguous_format


def resolve_device(device: str) -> str:
    """Return cpu or cuda instead of auto. Raises UsageError when cuda is requested and unavailable."""
    available = torch.cuda.is_available()
    if device.startswith("cuda") and not available:
        raise UsageError("--device cuda: torch sees no CUDA device here; use --device cpu or auto")
    return device if device != "auto" else ("cuda" if available else "cpu")


@contextmanager
def training_mode(network: torch.nn.Module, device: str) -> Iterator[None]:
    """Put a network on the device in training mode, on CUDA with channels last; afterwards restore the default layout
    and evaluation mode, so that a saved and reloaded model computes exactly as this one.
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
    """Set the memory format of convolution weights; activations follow it."""
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Conv3d):
            layout = images if isinstance(module, torch.nn.Conv2d) else volumes
            module.weight.data = module.weight.data.contiguous(memory_format=layout)


def autocast_precision(device: str) -> AbstractContextManager[object]:
    """Return autocast to bfloat16 on CUDA, float32 otherwise. Gradients and weights stay float32."""
    return torch.autocast("cuda", torch.bfloat16) if device.startswith("cuda") else nullcontext()
