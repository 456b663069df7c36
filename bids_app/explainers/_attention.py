"""Self-attention of timm's transformers: its weights can be read and changed in the forward pass."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bids_app.classifiers._slices import SliceNetwork
from bids_app.classifiers._tokens import TokenNetwork
from bids_app.explainers._state import evaluation_mode


def attentions(classifier: nn.Module) -> list[Any]:
    """The self-attention modules of a network in order, as timm builds them: weights go through `attn_drop`."""
    return [module for module in classifier.modules() if hasattr(module, "fused_attn") and hasattr(module, "attn_drop")]


def refuse_without_class_token(classifier: nn.Module, method: str) -> str | None:
    """Why a method of transformers does not suit a classifier; None if slices have patch tokens and a class token."""
    if isinstance(classifier, TokenNetwork):
        return None
    return (
        f"{method} requires a transformer with a class token; use gradcam for a convolutional network, "
        "otherwise weights"
    )


@contextmanager
def open_attention(classifier: nn.Module, hook: Callable[..., torch.Tensor | None]) -> Iterator[None]:
    """Each self-attention computes its weights (images, heads, queries, keys) and passes them to `hook`, a forward hook
    whose output, if any, replaces them. Everything is restored afterwards.
    """
    modules = attentions(classifier)
    fused = [module.fused_attn for module in modules]
    hooks = [module.attn_drop.register_forward_hook(hook) for module in modules]
    try:
        for module in modules:
            module.fused_attn = False
        yield
    finally:
        for module, before in zip(modules, fused, strict=True):
            module.fused_attn = before
        for handle in hooks:
            handle.remove()


def attention_weights(classifier: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Attention (slices, queries, keys) of every block in order, mean over heads, for x (channels, X, Y, Z).

    The class token is the first query and key; the weights of each query sum to 1.
    """
    weights: list[torch.Tensor] = []

    def record(*args: Any) -> None:
        weights.append(args[2].mean(dim=1))

    with evaluation_mode(classifier), open_attention(classifier, record), torch.no_grad():
        classifier(x[None])
    return weights


def patch_values(tokens: torch.Tensor, classifier: SliceNetwork) -> NDArray[np.float32]:
    """Values of tokens (slices, tokens) on the grid of the patches (slices, rows, columns)."""
    return classifier.grid(tokens[..., None])[:, 0].cpu().numpy()
