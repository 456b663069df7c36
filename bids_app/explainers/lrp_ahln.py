"""Layer-wise relevance propagation through a transformer by the rules AH and LN: attention and scales are held.

Attention heads (AH) and layer normalisation (LN) count as linear: the weights of attention, and the scale of the
normalisation, are constants. GELU hands on relevance as it comes (its gate is held too); all other layers by rule 0, in
proportion to what came in. What biases, the class token and the places of tokens add is relevance that no voxel gets:
the sum over voxels is the logit less that.

Ali et al. 2022, ICML, PMLR 162:435-451, doi:10.48550/arXiv.2202.07304 (AH and LN); Achtibat et al. 2024, ICML, PMLR
235:135-168, doi:10.48550/arXiv.2402.05602 (one input, one output: relevance as it is); rule 0: Montavon et al. 2019,
LNCS 11700:193-209, doi:10.1007/978-3-030-28954-6_10.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bids_app.explainers import _attention, _held, _relus, lrp0
from bids_app.explainers._state import evaluating
from bids_app.explainers._voxels import summed

SIGN = "both"
UNIT = "relevance (contribution to the logit)"
OF = "person"


def check(classifier: nn.Module) -> str | None:
    """Why the rules do not suit a classifier: it is no transformer, or has parts that they say nothing of."""
    if not _attention.attentions(classifier):
        return "lrp_ahln needs a transformer; for other networks use lrp0"
    known = (nn.GELU, nn.LayerNorm)
    strange = tuple(kind for kind in (*_relus.OTHERS, *lrp0.OTHER_NORMS, nn.MultiheadAttention) if kind not in known)
    for module in classifier.modules():
        if isinstance(module, strange) or (isinstance(module, nn.GELU) and module.approximate != "none"):
            return f"lrp_ahln has no rule for {module}"
    return None


def explain(classifier: nn.Module, x: torch.Tensor, target: int, *, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Relevances (X, Y, Z), zero outside the mask, for x (channels, X, Y, Z)."""
    batch = x[None].detach().clone().requires_grad_()
    attention = _attention.opened(classifier, lambda *given: given[2].detach())
    with evaluating(classifier), _held.scales(classifier), _held.gates(classifier), attention:
        (gradient,) = torch.autograd.grad(classifier(batch)[0, target], batch)
    return summed((gradient * batch)[0], mask)


def checks(classifier: nn.Module, x: torch.Tensor, target: int, values: NDArray[np.float32]) -> dict[str, float]:
    """`conservation_error`: what the relevances miss of the logit, as a share of it; what is not of voxels keeps it."""
    return lrp0.checks(classifier, x, target, values)
