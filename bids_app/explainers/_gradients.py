"""Whether a classifier has a gradient with respect to its input."""

from torch import nn


def refuse_without_gradient(classifier: nn.Module, method: str) -> str | None:
    """Why a gradient method does not suit a classifier; None if it has a gradient with respect to its input."""
    if not hasattr(classifier, "input_format"):
        return f"{method} requires a classifier of this catalogue"
    if not getattr(classifier, "differentiable", True):
        return f"{method} needs a gradient, and trees have none: they are step functions; use occlusion"
    return None
