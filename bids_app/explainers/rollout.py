"""Attention rollout: how much of the class token comes from each patch through all blocks, one after the other.

A block hands on half of each token as it is and half by its attention, mean over heads: A = (W + I) / 2, whose rows sum
up to 1. Their product over blocks, the last on the left, has the class token's shares in its first row. As attention
it knows no class and no sign. Linear between the patches' centres.

Abnar & Zuidema 2020, ACL, 4190-4197, doi:10.18653/v1/2020.acl-main.385.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bids_app.explainers import _attention
from bids_app.explainers._features import at_voxels

SIGN = "positive"
UNIT = "attention rolled out (share of a slice)"
OF = "person"
CELLS = True


def check(classifier: torch.nn.Module) -> str | None:
    """Why a classifier has no rollout: it is no transformer with a class token."""
    return _attention.why_not(classifier, "rollout")


def explain(
    classifier: torch.nn.Module, x: torch.Tensor, target: int, *, mask: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """The map (X, Y, Z) of one person's x (channels, X, Y, Z), zero outside the mask (X, Y, Z); the same for every
    class.
    """
    return at_voxels(raw(classifier, x), classifier, mask)


def raw(classifier: Any, x: torch.Tensor) -> NDArray[np.float32]:
    """The same on the patches (slices, rows, columns)."""
    weights = _attention.weights(classifier, x)
    itself = torch.eye(weights[0].shape[-1], dtype=weights[0].dtype, device=weights[0].device)
    rolled = itself.expand_as(weights[0])
    for one in weights:
        rolled = (one + itself) / 2 @ rolled
    return _attention.of_patches(rolled[:, 0], classifier)
