"""Nonlinearities whose factors are constants in the backward pass: scales of normalisation layers and GELU gates.

The forward pass is unchanged and the network is linear there, so that the gradient times the input is the relevance by
rule 0 of layer-wise relevance propagation.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

Hook = Callable[[nn.Module, tuple[torch.Tensor, ...], torch.Tensor], torch.Tensor]


@contextmanager
def freeze_scales(classifier: nn.Module) -> Iterator[None]:
    """Group and layer normalisation are linear maps: their standard deviation has no gradient."""
    with _hook_modules(classifier, nn.GroupNorm, _group_norm), _hook_modules(classifier, nn.LayerNorm, _layer_norm):
        yield


@contextmanager
def freeze_gates(classifier: nn.Module) -> Iterator[None]:
    """GELU is x times a constant, its gate Phi(x)."""
    with _hook_modules(classifier, nn.GELU, _gelu):
        yield


@contextmanager
def _hook_modules(classifier: nn.Module, kind: type[nn.Module], hook: Hook) -> Iterator[None]:
    """A forward hook on every module of a type, removed afterwards."""
    handles = [module.register_forward_hook(hook) for module in classifier.modules() if isinstance(module, kind)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _group_norm(module: nn.Module, inputs: tuple[torch.Tensor, ...], out: torch.Tensor) -> torch.Tensor:
    """The same values as `out`, (batch, channels, ...), of which only the mean depends on the input."""
    assert isinstance(module, nn.GroupNorm)
    (x,) = inputs
    centred = _standardise(x.reshape(len(x), module.num_groups, -1), module.eps).reshape(x.shape)
    if not module.affine:
        return centred
    shape = (1, -1, *([1] * (x.ndim - 2)))
    return centred * module.weight.reshape(shape) + module.bias.reshape(shape)


def _layer_norm(module: nn.Module, inputs: tuple[torch.Tensor, ...], out: torch.Tensor) -> torch.Tensor:
    """The same for layer normalisation of (..., channels)."""
    assert isinstance(module, nn.LayerNorm)
    (x,) = inputs
    centred = _standardise(x.flatten(-len(module.normalized_shape)), module.eps).reshape(x.shape)
    if not module.elementwise_affine:
        return centred
    scaled = centred * module.weight
    return scaled if module.bias is None else scaled + module.bias


def _standardise(rows: torch.Tensor, eps: float) -> torch.Tensor:
    """Rows (..., values) minus their mean, over their standard deviation, which is a constant."""
    scale = (rows.var(dim=-1, unbiased=False, keepdim=True) + eps).sqrt().detach()
    return (rows - rows.mean(dim=-1, keepdim=True)) / scale


def _gelu(module: nn.Module, inputs: tuple[torch.Tensor, ...], out: torch.Tensor) -> torch.Tensor:
    """The same values as GELU's, x Phi(x), of which only x depends on the input."""
    share: torch.Tensor = torch.special.ndtr(inputs[0])
    return inputs[0] * share.detach()
