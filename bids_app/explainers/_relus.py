"""Whether a network's ReLUs are modules, each used once, as guided methods and LRP require."""

import torch
from torch import nn

# guided backpropagation would silently be the plain gradient there
OTHER_ACTIVATIONS = (nn.GELU, nn.SiLU, nn.ELU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Hardswish)


def refuse_unguidable(classifier: nn.Module, method: str) -> str | None:
    """Why a guided method does not suit a classifier; None if every activation function is an nn.ReLU module."""
    if getattr(classifier, "input_format", None) != "volumes":
        return f"{method} requires a network with ReLU modules; use weights or pattern for a linear model"
    modules = list(classifier.modules())
    if not any(isinstance(module, nn.ReLU) for module in modules):
        return f"{method} requires ReLU modules, and this network has none: it would be equal to saliency"
    if other := next((module for module in modules if isinstance(module, OTHER_ACTIVATIONS)), None):
        return f"{method} does not support {type(other).__name__}, which this network has in addition to ReLUs"
    return None


def count_unguided_relus(classifier: nn.Module, x: torch.Tensor) -> int:
    """How many ReLUs run that are not separate modules: functional ones, or a module used twice."""
    calls: list[int] = []
    hooks = [
        module.register_forward_hook(lambda *_: calls.append(1))
        for module in classifier.modules()
        if isinstance(module, nn.ReLU)
    ]
    batch = x[None].detach().clone().requires_grad_()
    try:
        logits = classifier(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return _count_relu_nodes(logits.grad_fn) - len(hooks)


def _count_relu_nodes(start: object) -> int:
    """The number of ReLUs in the graph that computed a tensor."""
    seen, waiting = set(), [start]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        waiting += [before for before, _ in getattr(node, "next_functions", ())]
    return sum(type(node).__name__.startswith("ReluBackward") for node in seen)
