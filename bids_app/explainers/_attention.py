"""Self-attention of timm's transformers, opened: their weights can be read and changed while the network runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bids_app.classifiers._slices import OfSlices
from bids_app.classifiers._tokens import OfTokens
from bids_app.explainers._state import evaluating


def attentions(classifier: nn.Module) -> list[Any]:
    """The self-attentions of a network in their order, as timm makes them: weights go through `attn_drop`."""
    return [one for one in classifier.modules() if hasattr(one, "fused_attn") and hasattr(one, "attn_drop")]


def why_not(classifier: nn.Module, method: str) -> str | None:
    """Why a method of transformers does not suit a classifier; None where slices have tokens and a class token."""
    if isinstance(classifier, OfTokens):
        return None
    return f"{method} needs a transformer with a class token; for a convolutional network use gradcam, else weights"


@contextmanager
def opened(classifier: nn.Module, hook: Callable[..., torch.Tensor | None]) -> Iterator[None]:
    """Each self-attention computes its weights (images, heads, queries, keys), and hands them to `hook`, a forward hook
    whose output, if any, takes their place. All is as before afterwards.
    """
    parts = attentions(classifier)
    fused = [one.fused_attn for one in parts]
    hooks = [one.attn_drop.register_forward_hook(hook) for one in parts]
    try:
        for one in parts:
            one.fused_attn = False
        yield
    finally:
        for one, before in zip(parts, fused, strict=True):
            one.fused_attn = before
        for handle in hooks:
            handle.remove()


def weights(classifier: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Attention (slices, queries, keys) of every block in their order, mean over heads, for x (channels, X, Y, Z).

    The class token is the first query and key; each query's weights sum up to 1.
    """
    seen: list[torch.Tensor] = []

    def keep(*given: Any) -> None:
        seen.append(given[2].mean(dim=1))

    with evaluating(classifier), opened(classifier, keep), torch.no_grad():
        classifier(x[None])
    return seen


def of_patches(tokens: torch.Tensor, classifier: OfSlices) -> NDArray[np.float32]:
    """A value for each token (slices, tokens) on the cells of the patches (slices, rows, columns)."""
    return classifier.grid(tokens[..., None])[:, 0].cpu().numpy()
