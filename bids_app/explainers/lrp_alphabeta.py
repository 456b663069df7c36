"""Layer-wise relevance propagation by the alpha-beta rule: positive and negative contributions propagate separately.

The inputs that raise a unit get 1.5 times its relevance, in proportion to their contributions, and those that lower it
-0.5 times. Batch normalisation is merged with the convolution whose output it alone takes; pools, sums and other
scales, which are constant, follow rule 0. Biases absorb their share: the sum over voxels is the logit minus that. Group
normalisation subtracts a mean, so that large relevances of opposite sign may arise that cancel.

Bach et al. 2015, PLoS ONE 10:e0130140, doi:10.1371/journal.pone.0130140, equation 60; alpha 1.5, beta 0.5 for
networks of brains: Wang et al. 2023, NeuroImage 269:119929, doi:10.1016/j.neuroimage.2023.119929.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import conv1d, conv2d, conv3d, linear

from bids_app.explainers import lrp0
from bids_app.explainers._activations import has_cam_layer
from bids_app.explainers._frozen_nonlinearities import freeze_scales
from bids_app.explainers._state import evaluation_mode
from bids_app.explainers._voxels import sum_over_channels

SIGN = "both"
UNIT = "relevance (contribution to the logit)"
SCOPE = "sample"
ALPHA, BETA = 1.5, 0.5

CONVOLUTIONS: dict[type[nn.Module], Any] = {nn.Conv1d: conv1d, nn.Conv2d: conv2d, nn.Conv3d: conv3d}
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def check(classifier: nn.Module) -> str | None:
    """Why the rule does not suit a classifier: it is no network of convolutions, or rule 0 does not suit it either."""
    if not has_cam_layer(classifier):
        return "lrp_alphabeta requires a convolutional network; use weights or pattern for a linear model"
    if reason := lrp0.check(classifier):
        return reason.replace("lrp0", "lrp_alphabeta", 1)
    layers = [module for module in classifier.modules() if type(module) in CONVOLUTIONS]
    if any(getattr(module, "padding_mode", "zeros") != "zeros" for module in layers):
        return "lrp_alphabeta has no rule for convolutions that pad other than with zeros"
    return None


def explain(classifier: nn.Module, x: torch.Tensor, target: int, *, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Relevances (X, Y, Z), zero outside the mask, for x (channels, X, Y, Z)."""
    batch = x[None].detach().clone().requires_grad_()
    with evaluation_mode(classifier), freeze_scales(classifier), _alpha_beta_rule(classifier, batch):
        (gradient,) = torch.autograd.grad(classifier(batch)[0, target], batch)
    return sum_over_channels((gradient * batch)[0], mask)


def checks(classifier: nn.Module, x: torch.Tensor, target: int, values: NDArray[np.float32]) -> dict[str, float]:
    """`conservation_error`: the sum of the relevances minus the logit, as a share of it; biases absorb the rest."""
    return lrp0.checks(classifier, x, target, values)


@contextmanager
def _alpha_beta_rule(classifier: nn.Module, batch: torch.Tensor) -> Iterator[None]:
    """Outputs of convolutions and linear layers are unchanged; their gradient times the input follows the rule."""
    norms = _merged_norms(classifier, batch)
    handles = [layer.register_forward_hook(partial(_rule, norms.get(layer))) for layer in _layers(classifier)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _layers(classifier: nn.Module) -> list[nn.Module]:
    """The convolutions and linear layers."""
    return [one for one in classifier.modules() if type(one) in CONVOLUTIONS or isinstance(one, nn.Linear)]


def _merged_norms(classifier: nn.Module, batch: torch.Tensor) -> dict[nn.Module, nn.Module]:
    """By layer, the batch normalisation that takes its output, where nothing else takes it.

    Found by running the network: the next module of the list may normalise another tensor (pre-activation networks).
    """
    outputs: list[tuple[nn.Module, Any]] = []  # by layer, the node of autograd's graph that computed its output
    takers: dict[Any, nn.Module] = {}
    handles = [
        layer.register_forward_hook(lambda module, _, out: outputs.append((module, out.grad_fn)))
        for layer in _layers(classifier)
    ]
    handles += [
        norm.register_forward_pre_hook(lambda module, inputs: takers.update({inputs[0].grad_fn: module}))
        for norm in classifier.modules()
        if isinstance(norm, BATCH_NORMS)
    ]
    try:
        uses = _count_uses(classifier(batch).grad_fn)
    finally:
        for handle in handles:
            handle.remove()
    found: dict[nn.Module, set[nn.Module | None]] = {}
    for layer, node in outputs:
        found.setdefault(layer, set()).add(takers.get(node) if uses[node] == 1 else None)
    return {layer: norm for layer, (norm, *others) in found.items() if norm is not None and not others}


def _count_uses(last: Any) -> Counter[Any]:
    """How many operations take the output of each operation in the graph that computed a tensor."""
    uses: Counter[Any] = Counter()
    waiting = [last]
    while waiting:
        for before, _ in waiting.pop().next_functions:
            if before is not None:
                if before not in uses:
                    waiting.append(before)
                uses[before] += 1
    return uses


def _rule(
    norm: nn.Module | None, module: nn.Module, inputs: tuple[torch.Tensor, ...], out: torch.Tensor
) -> torch.Tensor:
    """A forward hook of one layer and the normalisation merged with it, if any: the values of `out`, another gradient.

    The unit is y = scale * out + shift, and the output of the norm is y (1 + alpha dp / p - beta dn / n): p and n are
    the sums of positive and negative contributions to y; dp and dn are zero, with the gradients of p and n.
    """
    (x,) = inputs
    weight = module.get_parameter("weight").detach()
    bias = weight.new_zeros(len(weight)) if module.bias is None else module.get_parameter("bias").detach()
    scale, shift = _affine(norm, bias)
    weight = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    bias = bias * scale + shift
    up, down, higher, lower = x.clamp(min=0), x.clamp(max=0), weight.clamp(min=0), weight.clamp(max=0)
    raised = _apply(module, up, higher, bias.clamp(min=0)) + _apply(module, down, lower, None)
    lowered = _apply(module, up, lower, bias.clamp(max=0)) + _apply(module, down, higher, None)
    column = (-1, *[1] * (out.ndim - 2))
    unit = (out * scale.reshape(column) + shift.reshape(column)).detach()
    change = unit * (ALPHA * _relative(raised) - BETA * _relative(lowered))
    return out.detach() + change / torch.where(scale == 0, 1, scale).reshape(column)


def _affine(norm: nn.Module | None, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and shift (channels,) of batch normalisation by its running moments; one and zero without a norm."""
    if norm is None:
        return torch.ones_like(like), torch.zeros_like(like)
    assert isinstance(norm, BATCH_NORMS)
    scale = (norm.get_buffer("running_var") + norm.eps).rsqrt()
    shift = -norm.get_buffer("running_mean") * scale
    if norm.affine:
        weight, bias = norm.weight.detach(), norm.bias.detach()
        return scale * weight, shift * weight + bias
    return scale, shift


def _apply(module: nn.Module, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """The layer with another weight and bias."""
    if isinstance(module, nn.Linear):
        return linear(x, weight, bias)
    settings = (getattr(module, name) for name in ("stride", "padding", "dilation", "groups"))
    output: torch.Tensor = CONVOLUTIONS[type(module)](x, weight, bias, *settings)
    return output


def _relative(part: torch.Tensor) -> torch.Tensor:
    """Zero, with the gradient of the logarithm of a sum's absolute value; no gradient if the sum is zero."""
    value = part.detach()
    return (part - value) / torch.where(value == 0, 1, value)
