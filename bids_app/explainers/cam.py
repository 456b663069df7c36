"""Class activation map: channels of the last spatial layer, each weighted by the linear head's weight of the class.

Defined only for global average pooling followed by one linear layer, where it is exact: its mean over space plus the
head's bias is the logit. Signed: values below zero speak against the class. Interpolated linearly between the layer's
units, whose positions follow from the network's strides and paddings.

Zhou et al. 2016, CVPR, 2921-2929, doi:10.1109/CVPR.2016.319.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from bids_app.errors import DataError
from bids_app.explainers._activations import activations_and_logits, explain_by, has_cam_layer, weighted_sum

SIGN = "both"
UNIT = "class activation (the logit is its mean over activation units plus a constant)"
SCOPE = "sample"
COARSE = True
TOLERANCE = 1e-3  # of the logit, in float32


def check(classifier: torch.nn.Module) -> str | None:
    """Why a classifier has no class activation map: no spatial layer, or no single linear layer after its mean."""
    if has_cam_layer(classifier) and isinstance(getattr(classifier, "head", None), torch.nn.Linear):
        return None
    return "cam requires a network that ends in a spatial mean and one linear layer; use gradcam for others"


def cam_map(classifier: torch.nn.Module, x: torch.Tensor, target: int) -> NDArray[np.float32]:
    """The map on the layer's feature grid. Raises DataError if it does not sum to the logit."""
    values, logits = activations_and_logits(classifier, x)
    head = classifier.get_submodule("head")
    weights = head.get_parameter("weight")[target].detach().cpu().numpy()
    if len(weights) != values.shape[1]:
        raise DataError("the head's input is not the mean of each channel, so there is no cam; use gradcam")
    activations = weighted_sum(values, weights[None])
    # a head without a bias has None in its place
    bias = 0.0 if head.bias is None else float(head.get_parameter("bias")[target].detach())
    error = abs(activations.mean(dtype=np.float64) + bias - logits[target])
    if error > TOLERANCE * max(1.0, abs(float(logits[target]))):
        raise DataError("the class activation map does not sum to the logit, so cam is not defined; use gradcam")
    return activations


explain = explain_by(cam_map)
