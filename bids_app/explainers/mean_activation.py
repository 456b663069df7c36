"""Mean activation: the mean over channels of the last spatial layer, whatever the class.

It shows where the network responds, not for which class: the maps of all classes are identical. Interpolated linearly
between the layer's units, whose positions follow from the network's strides and paddings.

Ng et al. 2018, ICANN, LNCS 11141:300-309, doi:10.1007/978-3-030-01424-7_30 (feature maps of the last layer, averaged).
"""

import numpy as np
import torch
from numpy.typing import NDArray

from bids_app.explainers._activations import activations_and_logits, explain_by, has_cam_layer, weighted_sum

SIGN = "both"
UNIT = "mean activation (arbitrary scale)"
SCOPE = "sample"
COARSE = True


def check(classifier: torch.nn.Module) -> str | None:
    """Why there is no mean activation of a classifier: it has no spatial layer, or the mean over channels is zero."""
    if not has_cam_layer(classifier):
        return "mean_activation requires a network with a spatial layer before its head"
    if isinstance(classifier.get_submodule("cam_layer"), torch.nn.LayerNorm):
        return "mean_activation is zero in a layer that sets the mean over channels to 0, as LayerNorm does"
    return None


def activation_map(classifier: torch.nn.Module, x: torch.Tensor, target: int) -> NDArray[np.float32]:
    """The map on the layer's feature grid; the same for every class."""
    del target
    values, _ = activations_and_logits(classifier, x)
    return weighted_sum(values, np.full((1, values.shape[1]), 1 / values.shape[1]))


explain = explain_by(activation_map)
