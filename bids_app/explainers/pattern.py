"""Haufe's activation pattern of a linear classifier: how each voxel varies with the decision, A = cov(X, s) / var(s).

Unlike the weights, which also hold what cancels shared noise, it is large only where the image itself goes with the
decision. Computed from the training people's decisions s, so no covariance of voxels by voxels is formed.

Haufe et al. 2014, NeuroImage 87:96-110, doi:10.1016/j.neuroimage.2013.10.067, equation 7.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bids_app.classifiers._gram import combine
from bids_app.errors import DataError
from bids_app.explainers import weights

SIGN = "both"
UNIT = "training SD per unit of the logit"
OF = "model"


def check(classifier: torch.nn.Module) -> str | None:
    """Why a classifier has no pattern: it is not linear."""
    reason = weights.check(classifier)
    return reason and reason.replace("weights", "pattern", 1)


def describe(classifier: torch.nn.Module, x_train: NDArray[Any]) -> NDArray[np.float32]:
    """Patterns (classes, channels * voxels) from the training people x_train (n, channels * voxels), scaled.

    Raises DataError where the decision is the same for all of them.
    """
    centre = x_train.mean(axis=0, dtype=np.float64)
    with torch.no_grad():
        people = [classifier(torch.from_numpy(np.array(row, np.float32))[None])[0] for row in x_train]
        logits = torch.stack(people).double().cpu().numpy()
    logits -= logits.mean(axis=0)
    squares = (logits**2).sum(axis=0)
    if squares.min() <= np.finfo(np.float32).tiny:
        raise DataError("all training people get the same decision, so there is no pattern; look at the scores")
    return combine(logits.T / squares[:, None], x_train, centre).astype(np.float32)
