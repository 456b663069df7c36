"""Integrated gradients: the mean gradient along the path from the training mean to the participant, times the path.

In scaled data the training mean is zero, which is the baseline. The sum over voxels is the participant's logit minus
the logit at the baseline (completeness), up to the error of the numerical integration. Steps are computed one at a
time, so that memory does not grow with their number.

Sundararajan et al. 2017, ICML, PMLR 70:3319-3328, doi:10.48550/arXiv.1703.01365; captum's IntegratedGradients with
Gauss-Legendre nodes.
"""

import numpy as np
import torch
from captum.attr import IntegratedGradients
from numpy.typing import NDArray

from bids_app.explainers._gradients import refuse_without_gradient
from bids_app.explainers._state import evaluation_mode
from bids_app.explainers._voxels import sum_over_channels

SIGN = "both"
UNIT = "contribution to the logit"
SCOPE = "sample"
OPTIONS = {"steps": 50}
TINY = 1e-12


def check(classifier: torch.nn.Module) -> str | None:
    """Why a classifier has no gradient; all but forests have one."""
    return refuse_without_gradient(classifier, "integrated_gradients")


def explain(
    classifier: torch.nn.Module, x: torch.Tensor, target: int, *, mask: NDArray[np.bool_], steps: int = OPTIONS["steps"]
) -> NDArray[np.float32]:
    """Contributions: (X, Y, Z), zero outside the mask, for x (channels, X, Y, Z); (voxels,) for x (channels *
    voxels,)."""
    batch = x[None].detach().clone()
    with evaluation_mode(classifier):
        attribution = IntegratedGradients(classifier).attribute(
            batch, target=target, n_steps=steps, internal_batch_size=1, method="gausslegendre"
        )
    return sum_over_channels(attribution[0], mask)


def checks(classifier: torch.nn.Module, x: torch.Tensor, target: int, values: NDArray[np.float32]) -> dict[str, float]:
    """`convergence_delta`: the map's sum minus the change of the logit from the baseline, as a share of it."""
    with evaluation_mode(classifier), torch.no_grad():
        change = float(classifier(x[None])[0, target] - classifier(torch.zeros_like(x)[None])[0, target])
    return {"convergence_delta": (float(values.sum(dtype=np.float64)) - change) / max(abs(change), TINY)}
