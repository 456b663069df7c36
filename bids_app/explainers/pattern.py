"""Haufe's activation pattern of a linear classifier: how each voxel varies with the decision, A = cov(X, s) / var(s).

Unlike the weights, which also suppress shared noise, it is large only where the image itself covaries with the
decision. Computed from the decisions s of the training samples, without a voxel-by-voxel covariance matrix.

Haufe et al. 2014, NeuroImage 87:96-110, doi:10.1016/j.neuroimage.2013.10.067, equation 7.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bids_app.classifiers._gram import combine_samples
from bids_app.errors import DataError
from bids_app.explainers import weights

SIGN = "both"
UNIT = "SD of the training maps per unit of the logit"
SCOPE = "model"


def check(classifier: torch.nn.Module) -> str | None:
    """Why a classifier has no pattern: it is not linear."""
    reason = weights.check(classifier)
    return reason and reason.replace("weights", "pattern", 1)


def describe(classifier: torch.nn.Module, x_train: NDArray[Any]) -> NDArray[np.float32]:
    """Patterns (classes, channels * voxels) from the scaled training samples x_train (n, channels * voxels).

    Raises DataError if the decision is the same for all of them.
    """
    centre = x_train.mean(axis=0, dtype=np.float64)
    with torch.no_grad():
        samples = [classifier(torch.from_numpy(np.array(row, np.float32))[None])[0] for row in x_train]
        logits = torch.stack(samples).double().cpu().numpy()
    logits -= logits.mean(axis=0)
    squares = (logits**2).sum(axis=0)
    if squares.min() <= np.finfo(np.float32).tiny:
        raise DataError(
            "all training participants have the same decision value, so there is no pattern; check the scores"
        )
    return combine_samples(logits.T / squares[:, None], x_train, centre).astype(np.float32)
