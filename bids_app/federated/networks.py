"""Steps of a network over several sites: exact by summed gradients, or FedAvg and FedProx by averaged weights.

A gradient is a sum over participants, so that one step on it equals a step of pooled training on all participants at
once, with the pooled class weights, if clipping and the optimiser are at the coordinator. That holds for networks
without batch normalisation, whose statistics are no sums of single participants. FedAvg lets each site take
several steps between two rounds: fewer messages, another model. FedProx adds `proximal` / 2 times the squared distance
from the common weights to each site's loss, so that sites drift apart less.

These are functions of arrays, not yet questions that a site answers.

McMahan et al. 2017, AISTATS, PMLR 54:1273-1282 (FedAvg); Li et al. 2020, MLSys, arXiv:1812.06127 (FedProx).
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from bids_app.errors import DataError

MAX_NORM = 1.0  # of a gradient, as in training.loop


def balanced_weights(counts: NDArray[np.int64]) -> torch.Tensor:
    """The weight of each class (classes,) that balances `counts` (classes,), summed over all sites."""
    return torch.tensor(counts.sum() / len(counts) / counts, dtype=torch.float32)


def sum_gradients(
    network: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, class_weight: torch.Tensor, *, at_once: int = 8
) -> list[torch.Tensor]:
    """A site's part: the gradient of the sum of its participants' weighted losses, one tensor per parameter.

    x (n, channels, X, Y, Z), y (n,); at_once: volumes in memory at a time.
    """
    network.zero_grad()
    for rows in torch.arange(len(y)).split(at_once):
        cross_entropy(network(x[rows]), y[rows], weight=class_weight, reduction="none").sum().backward()
    gradients = [_gradient(parameter).clone() for parameter in network.parameters()]
    network.zero_grad()
    return gradients


def step(
    network: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    gradients: Sequence[Sequence[torch.Tensor]],
    people: int,
) -> None:
    """The coordinator's part: one step on the mean over `people` of all sites' summed gradients, clipped to norm 1.

    gradients: those of `sum_gradients`, in the order of site names. Raises DataError where a site's are not finite.
    """
    for number, site in enumerate(gradients):
        if not all(bool(gradient.isfinite().all()) for gradient in site):
            raise DataError(f"the gradients of site {number + 1} are not finite; it cannot take part")
    for index, parameter in enumerate(network.parameters()):
        total = torch.zeros_like(parameter, dtype=torch.float64)
        for site in gradients:
            total += site[index]
        parameter.grad = (total / people).to(parameter.dtype)
    torch.nn.utils.clip_grad_norm_(network.parameters(), MAX_NORM)
    optimiser.step()
    optimiser.zero_grad()


def train_locally(
    network: torch.nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    class_weight: torch.Tensor,
    *,
    steps: int,
    learning_rate: float,
    proximal: float = 0.0,
) -> None:
    """A site's part of FedAvg, or FedProx with `proximal` above 0: full-batch gradient steps in place from the common
    weights, without clipping.
    """
    common = [parameter.detach().clone() for parameter in network.parameters()]
    for _ in range(steps):
        gradients = sum_gradients(network, x, y, class_weight)
        with torch.no_grad():
            for parameter, gradient, start in zip(network.parameters(), gradients, common, strict=True):
                parameter.sub_(learning_rate * (gradient / len(y) + proximal * (parameter - start)))


def average_weights(network: torch.nn.Module, sites: Sequence[torch.nn.Module], people: Sequence[int]) -> None:
    """The coordinator's part of FedAvg: set the weights to the sites' mean, weighted by their participants."""
    with torch.no_grad():
        for parameter, *parts in zip(network.parameters(), *(site.parameters() for site in sites), strict=True):
            mean = sum(part.double() * count for part, count in zip(parts, people, strict=True)) / sum(people)
            parameter.copy_(torch.as_tensor(mean))


def _gradient(parameter: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
