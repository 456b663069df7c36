"""Layer-wise relevance propagation by rule 0: each layer distributes relevance in proportion to its inputs.

For ReLUs, convolutions and pools this is the gradient times the input. Normalisation layers are treated as linear, with
a constant scale. Biases absorb relevance: the sum over voxels is the logit minus that.

Bach et al. 2015, PLoS ONE 10:e0130140, doi:10.1371/journal.pone.0130140; rule 0: Montavon et al. 2019, LNCS
11700:193-209, doi:10.1007/978-3-030-28954-6_10; that it is gradient times input: Ancona et al. 2018, ICLR,
doi:10.48550/arXiv.1711.06104; the constant scale: Ali et al. 2022, ICML, PMLR 162:435-451.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bids_app.explainers._frozen_nonlinearities import freeze_scales
from bids_app.explainers._gradients import refuse_without_gradient
from bids_app.explainers._relus import OTHER_ACTIVATIONS
from bids_app.explainers._state import evaluation_mode
from bids_app.explainers._voxels import sum_over_channels

SIGN = "both"
UNIT = "relevance (contribution to the logit)"
SCOPE = "sample"
TINY = 1e-12
OTHER_NORMS = (nn.LayerNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.LocalResponseNorm)


def check(classifier: nn.Module) -> str | None:
    """Why rule 0 does not suit a classifier: no gradient, or an activation or normalisation without a rule."""
    if reason := refuse_without_gradient(classifier, "lrp0"):
        return reason
    unsupported = (*OTHER_ACTIVATIONS, *OTHER_NORMS, nn.MultiheadAttention)
    if other := next((module for module in classifier.modules() if isinstance(module, unsupported)), None):
        hint = "; use lrp_ahln for a transformer" if isinstance(other, nn.LayerNorm) else ""
        return f"lrp0 has no rule for {type(other).__name__}{hint}"
    return None


def explain(classifier: nn.Module, x: torch.Tensor, target: int, *, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Relevances: (X, Y, Z), zero outside the mask, for x (channels, X, Y, Z); (voxels,) for x (channels * voxels,)."""
    batch = x[None].detach().clone().requires_grad_()
    with evaluation_mode(classifier), freeze_scales(classifier):
        (gradient,) = torch.autograd.grad(classifier(batch)[0, target], batch)
    return sum_over_channels((gradient * batch)[0], mask)


def checks(classifier: nn.Module, x: torch.Tensor, target: int, values: NDArray[np.float32]) -> dict[str, float]:
    """`conservation_error`: the sum of the relevances minus the logit, as a share of it; biases absorb the rest."""
    with evaluation_mode(classifier), torch.no_grad():
        logit = float(classifier(x[None])[0, target])
    return {"conservation_error": (float(values.sum(dtype=np.float64)) - logit) / max(abs(logit), TINY)}
