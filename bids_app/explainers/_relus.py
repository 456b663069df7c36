"""Whether a network's ReLUs are modules, each used once, as the guided methods and LRP need them."""

import torch
from torch import nn

# Their kinks are not ReLUs': guided backpropagation would silently be the plain gradient there.
OTHERS = (nn.GELU, nn.SiLU, nn.ELU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Hardswish)


def why_not(classifier: nn.Module, method: str) -> str | None:
    """Why a guided method does not suit a classifier; None where every kink is an nn.ReLU module of its own."""
    if getattr(classifier, "takes", None) != "volumes":
        return f"{method} needs a network with ReLU modules; for a linear model use weights or pattern"
    modules = list(classifier.modules())
    if not any(isinstance(module, nn.ReLU) for module in modules):
        return f"{method} needs ReLU modules, and this network has none: it would equal saliency"
    if other := next((module for module in modules if isinstance(module, OTHERS)), None):
        return f"{method} does not suit {type(other).__name__}, which this network has beside its ReLUs"
    return None


def unguided(classifier: nn.Module, x: torch.Tensor) -> int:
    """How many ReLUs run that are no module of their own: functional ones, or a module used again."""
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
    return _relu_nodes(logits.grad_fn) - len(hooks)


def _relu_nodes(start: object) -> int:
    """ReLUs in the graph that made a tensor."""
    seen, waiting = set(), [start]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        waiting += [before for before, _ in getattr(node, "next_functions", ())]
    return sum(type(node).__name__.startswith("ReluBackward") for node in seen)
