"""Whether a classifier has a gradient with respect to its input."""

from torch import nn


def why_not(classifier: nn.Module, method: str) -> str | None:
    """Why a method of gradients does not suit a classifier; None where it takes volumes or vectors and is no forest."""
    if not hasattr(classifier, "takes"):
        return f"{method} needs a classifier of this catalogue"
    if not getattr(classifier, "differentiable", True):
        return f"{method} needs a gradient, and trees have none: their answer is flat between thresholds; use occlusion"
    return None
