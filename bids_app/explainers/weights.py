"""Weights of a linear classifier times the deviation from the training mean: each voxel's contribution to the logit.

The sum over voxels is exactly the participant's logit minus the logit at the training mean. Large weights may also
suppress noise shared with other voxels: interpret them together with `pattern`.

Haufe et al. 2014, NeuroImage 87:96-110, doi:10.1016/j.neuroimage.2013.10.067 (why weights do not map an effect);
Kohoutova et al. 2020, Nature Protocols 15:1399-1435, doi:10.1038/s41596-019-0289-5.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

SIGN = "both"
UNIT = "contribution to the logit"
SCOPE = "both"


def check(classifier: torch.nn.Module) -> str | None:
    """Why a classifier has no weights of voxels: it is not linear."""
    if isinstance(getattr(classifier, "linear", None), torch.nn.Linear):
        return None
    return "weights requires a linear classifier such as svm; use gradcam for a network, occlusion for a forest"


def explain(
    classifier: torch.nn.Module, x: torch.Tensor, target: int, *, mask: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Contributions to the logit of class `target`, summed over channels: (voxels,) for x (channels * voxels,) of the
    mask's voxels.
    """
    with torch.no_grad():
        weights = classifier.get_submodule("linear").get_parameter("weight")[target]
        contributions = weights * (x.flatten() - classifier.get_buffer("centre"))
    return np.asarray(contributions.cpu().numpy().reshape(-1, int(mask.sum())).sum(axis=0), np.float32)


def describe(classifier: torch.nn.Module, x_train: NDArray[Any]) -> NDArray[np.float32]:
    """The weights (classes, channels * voxels): change of each logit per training SD of a voxel."""
    del x_train
    weights = classifier.get_submodule("linear").get_parameter("weight").detach()
    return np.array(weights.cpu().numpy(), np.float32)
