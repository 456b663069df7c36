"""Explaining leaves a classifier unchanged."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def evaluation_mode(classifier: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode with gradients on; the mode of every module and the stored gradients are restored."""
    modes = [(module, module.training) for module in classifier.modules()]
    gradients = [(parameter, parameter.grad) for parameter in classifier.parameters()]
    classifier.eval()
    try:
        with torch.enable_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, gradient in gradients:
            parameter.grad = gradient
