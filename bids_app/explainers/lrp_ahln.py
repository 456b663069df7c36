"""Layer-wise relevance propagation through a transformer by the rules AH and LN: attention and scales are constant.

Attention heads (AH) and layer normalisation (LN) are treated as linear: attention weights and the scale of the
normalisation are constants. GELU passes relevance on unchanged (its gate is constant too); all other layers follow rule
0, in proportion to each input's contribution. Biases, the class token and the position embeddings absorb relevance: the
sum over voxels is the logit minus that.

Ali et al. 2022, ICML, PMLR 162:435-451, doi:10.48550/arXiv.2202.07304 (AH and LN); Achtibat et al. 2024, ICML, PMLR
235:135-168, doi:10.48550/arXiv.2402.05602 (one input, one output: relevance unchanged); rule 0: Montavon et al. 2019,
LNCS 11700:193-209, doi:10.1007/978-3-030-28954-6_10.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bids_app.explainers import lrp0
from bids_app.explainers._attention import attentions, open_attention
from bids_app.explainers._frozen_nonlinearities import freeze_gates, freeze_scales
from bids_app.explainers._relus import OTHER_ACTIVATIONS
from bids_app.explainers._state import evaluation_mode
from bids_app.explainers._voxels import sum_over_channels

SIGN = "both"
UNIT = "relevance (contribution to the logit)"
SCOPE = "sample"


def check(classifier: nn.Module) -> str | None:
    """Why the rules do not suit a classifier: it is no transformer, or has layers without a rule."""
    if not attentions(classifier):
        return "lrp_ahln requires a transformer; use lrp0 for other networks"
    supported = (nn.GELU, nn.LayerNorm)
    others = (*OTHER_ACTIVATIONS, *lrp0.OTHER_NORMS, nn.MultiheadAttention)
    unsupported = tuple(layer for layer in others if layer not in supported)
    for module in classifier.modules():
        if isinstance(module, unsupported) or (isinstance(module, nn.GELU) and module.approximate != "none"):
            return f"lrp_ahln has no rule for {module}"
    return None


def explain(classifier: nn.Module, x: torch.Tensor, target: int, *, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Relevances (X, Y, Z), zero outside the mask, for x (channels, X, Y, Z)."""
    batch = x[None].detach().clone().requires_grad_()
    attention = open_attention(classifier, lambda *args: args[2].detach())
    with evaluation_mode(classifier), freeze_scales(classifier), freeze_gates(classifier), attention:
        (gradient,) = torch.autograd.grad(classifier(batch)[0, target], batch)
    return sum_over_channels((gradient * batch)[0], mask)


def checks(classifier: nn.Module, x: torch.Tensor, target: int, values: NDArray[np.float32]) -> dict[str, float]:
    """`conservation_error`: the sum of the relevances minus the logit, as a share of it; the rest is absorbed."""
    return lrp0.checks(classifier, x, target, values)
