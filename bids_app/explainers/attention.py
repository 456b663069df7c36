"""Attention: how much of the class token in the last block comes from each patch, mean over heads.

It shows where the network looks, not for which class, nor whether what it finds there speaks for it: the maps of all
classes are the same. All is positive, and with the class token's own share a slice sums up to 1. Linear between the
patches' centres.

Vaswani et al. 2017, NeurIPS, doi:10.48550/arXiv.1706.03762 (the weights); Caron et al. 2021, ICCV, 9630-9640,
doi:10.1109/ICCV48922.2021.00951 (the class token's in the last block as a map); its limits: Jain & Wallace 2019, NAACL,
3543-3556, doi:10.18653/v1/N19-1357.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bids_app.explainers import _attention
from bids_app.explainers._features import at_voxels

SIGN = "positive"
UNIT = "attention of the class token (share of a slice)"
OF = "person"
CELLS = True


def check(classifier: torch.nn.Module) -> str | None:
    """Why a classifier has no attention: it is no transformer with a class token."""
    return _attention.why_not(classifier, "attention")


def explain(
    classifier: torch.nn.Module, x: torch.Tensor, target: int, *, mask: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """The map (X, Y, Z) of one person's x (channels, X, Y, Z), zero outside the mask (X, Y, Z); the same for every
    class.
    """
    return at_voxels(raw(classifier, x), classifier, mask)


def raw(classifier: Any, x: torch.Tensor) -> NDArray[np.float32]:
    """The same on the patches (slices, rows, columns)."""
    return _attention.of_patches(_attention.weights(classifier, x)[-1][:, 0], classifier)
