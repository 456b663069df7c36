"""What counts as constant while relevance goes through it: scales of normalisations, gates, attention.

The network then is linear there, its values as they were, and the gradient times the input is the relevance by rule 0.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

Hook = Callable[[nn.Module, tuple[torch.Tensor, ...], torch.Tensor], torch.Tensor]


@contextmanager
def scales(classifier: nn.Module) -> Iterator[None]:
    """Group and layer normalisation as linear maps: their standard deviation takes no gradient."""
    with _each(classifier, nn.GroupNorm, _groups), _each(classifier, nn.LayerNorm, _layer):
        yield


@contextmanager
def gates(classifier: nn.Module) -> Iterator[None]:
    """GELU as x times a constant, the share of x that it lets through."""
    with _each(classifier, nn.GELU, _gate):
        yield


@contextmanager
def _each(classifier: nn.Module, kind: type[nn.Module], hook: Hook) -> Iterator[None]:
    """A forward hook on every module of a kind, gone afterwards."""
    handles = [module.register_forward_hook(hook) for module in classifier.modules() if isinstance(module, kind)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _groups(module: nn.Module, given: tuple[torch.Tensor, ...], out: torch.Tensor) -> torch.Tensor:
    """The same values as `out`, (batch, channels, ...), of which only the mean depends on the input."""
    assert isinstance(module, nn.GroupNorm)
    (x,) = given
    centred = _centred(x.reshape(len(x), module.num_groups, -1), module.eps).reshape(x.shape)
    if not module.affine:
        return centred
    shape = (1, -1, *([1] * (x.ndim - 2)))
    return centred * module.weight.reshape(shape) + module.bias.reshape(shape)


def _layer(module: nn.Module, given: tuple[torch.Tensor, ...], out: torch.Tensor) -> torch.Tensor:
    """The same for layer normalisation of (..., channels)."""
    assert isinstance(module, nn.LayerNorm)
    (x,) = given
    centred = _centred(x.flatten(-len(module.normalized_shape)), module.eps).reshape(x.shape)
    if not module.elementwise_affine:
        return centred
    scaled = centred * module.weight
    return scaled if module.bias is None else scaled + module.bias


def _centred(rows: torch.Tensor, eps: float) -> torch.Tensor:
    """Rows (..., values) less their mean, over their standard deviation, which is held."""
    scale = (rows.var(dim=-1, unbiased=False, keepdim=True) + eps).sqrt().detach()
    return (rows - rows.mean(dim=-1, keepdim=True)) / scale


def _gate(module: nn.Module, given: tuple[torch.Tensor, ...], out: torch.Tensor) -> torch.Tensor:
    """The same values as GELU's, x Phi(x), of which only x depends on the input."""
    share: torch.Tensor = torch.special.ndtr(given[0])
    return given[0] * share.detach()
