"""Attention: how much the class token of the last block attends to each patch, mean over heads.

It shows where the network attends, not for which class, nor whether the content there speaks for it: the maps of all
classes are identical. All values are positive; with the class token's own share, those of a slice sum to 1.
Interpolated linearly between patch centres.

Vaswani et al. 2017, NeurIPS, doi:10.48550/arXiv.1706.03762 (the weights); Caron et al. 2021, ICCV, 9630-9640,
doi:10.1109/ICCV48922.2021.00951 (the class token's in the last block as a map); its limits: Jain & Wallace 2019, NAACL,
3543-3556, doi:10.18653/v1/N19-1357.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bids_app.explainers._activations import explain_by
from bids_app.explainers._attention import attention_weights, patch_values, refuse_without_class_token

SIGN = "positive"
UNIT = "attention of the class token (proportion of a slice)"
SCOPE = "sample"
COARSE = True


def check(classifier: torch.nn.Module) -> str | None:
    """Why a classifier has no attention: it is no transformer with a class token."""
    return refuse_without_class_token(classifier, "attention")


def attention_map(classifier: Any, x: torch.Tensor, target: int) -> NDArray[np.float32]:
    """The map on the patches (slices, rows, columns); the same for every class."""
    del target
    return patch_values(attention_weights(classifier, x)[-1][:, 0], classifier)


explain = explain_by(attention_map)
