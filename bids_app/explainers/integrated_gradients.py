"""Integrated gradients: the gradient averaged on the way from the training mean to the person, times the way.

In scaled data the training mean is zero, which is the baseline. The sum over voxels is the person's logit less the
logit at the baseline (completeness), as far as the steps of the sum go. Steps go through one at a time, so that memory
does not grow with their number.

Sundararajan et al. 2017, ICML, PMLR 70:3319-3328, doi:10.48550/arXiv.1703.01365; captum's IntegratedGradients with
Gauss-Legendre nodes.
"""

import numpy as np
import torch
from captum.attr import IntegratedGradients
from numpy.typing import NDArray

from bids_app.explainers import _gradients
from bids_app.explainers._state import evaluating
from bids_app.explainers._voxels import summed

SIGN = "both"
UNIT = "contribution to the logit"
OF = "person"
OPTIONS = {"steps": 50}
TINY = 1e-12


def check(classifier: torch.nn.Module) -> str | None:
    """Why a classifier has no gradient; all but forests have one."""
    return _gradients.why_not(classifier, "integrated_gradients")


def explain(
    classifier: torch.nn.Module, x: torch.Tensor, target: int, *, mask: NDArray[np.bool_], steps: int = OPTIONS["steps"]
) -> NDArray[np.float32]:
    """Contributions: (X, Y, Z), zero outside the mask, for x (channels, X, Y, Z); (voxels,) for x (channels *
    voxels,)."""
    batch = x[None].detach().clone()
    with evaluating(classifier):
        found = IntegratedGradients(classifier).attribute(
            batch, target=target, n_steps=steps, internal_batch_size=1, method="gausslegendre"
        )
    return summed(found[0], mask)


def checks(classifier: torch.nn.Module, x: torch.Tensor, target: int, values: NDArray[np.float32]) -> dict[str, float]:
    """`convergence_delta`: what the map's sum misses of the logit less that of the baseline, as a share of it."""
    with evaluating(classifier), torch.no_grad():
        way = float(classifier(x[None])[0, target] - classifier(torch.zeros_like(x)[None])[0, target])
    return {"convergence_delta": (float(values.sum(dtype=np.float64)) - way) / max(abs(way), TINY)}
