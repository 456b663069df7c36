"""Attention rollout: how much of the class token comes from each patch, accumulated over all blocks.

A block passes on half of each token through its skip connection and half by its attention, mean over heads: A = (W + I)
/ 2, whose rows sum to 1. In the product over blocks, the last on the left, the first row holds the shares of the class
token. Like attention it has neither class nor sign. Interpolated linearly between patch centres.

Abnar & Zuidema 2020, ACL, 4190-4197, doi:10.18653/v1/2020.acl-main.385.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bids_app.explainers._activations import explain_by
from bids_app.explainers._attention import attention_weights, patch_values, refuse_without_class_token

SIGN = "positive"
UNIT = "attention rollout (proportion of a slice)"
SCOPE = "sample"
COARSE = True


def check(classifier: torch.nn.Module) -> str | None:
    """Why a classifier has no rollout: it is no transformer with a class token."""
    return refuse_without_class_token(classifier, "rollout")


def rollout_map(classifier: Any, x: torch.Tensor, target: int) -> NDArray[np.float32]:
    """The map on the patches (slices, rows, columns); the same for every class."""
    del target
    weights = attention_weights(classifier, x)
    identity = torch.eye(weights[0].shape[-1], dtype=weights[0].dtype, device=weights[0].device)
    rollout = identity.expand_as(weights[0])
    for block in weights:
        rollout = (block + identity) / 2 @ rollout
    return patch_values(rollout[:, 0], classifier)


explain = explain_by(rollout_map)
