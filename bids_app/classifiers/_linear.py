"""Linear models of many voxels and few people: one class against the rest, solved on the people-by-people Gram matrix.

With few people and many voxels the optimum of what is penalised by the length of the weights lies in the span of the
people, so the matrix (n, n) of their inner products is all that a solver needs; the weights of the voxels are summed up
afterwards. A `Machine` is such a solver, for one class against the rest.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from bids_app.classifiers import _people, _slope
from bids_app.classifiers._gram import combine, gram
from bids_app.errors import DataError

INNER_FOLDS = 5
# products of people (n, n), mean diagonal 1, and who is of the class (n,) -> coefficients (n,) and intercept
Machine = Callable[[NDArray[np.float64], NDArray[np.bool_]], tuple[NDArray[np.float64], float]]


class Linear(torch.nn.Module):
    """Logits (batch, classes) = linear(x - centre) of x (batch, voxels); `linear` holds the slope already.

    For two classes the logits are (-a f / 2, a f / 2), where f is the decision value and a the slope, so f = (logit 1
    - logit 0) / slope.
    """

    takes = "vectors"
    centre: torch.Tensor
    slope: torch.Tensor

    def __init__(self, voxels: int, classes: int, machine: Machine) -> None:
        super().__init__()
        self.machine = machine
        # Its default start would draw from the global random state.
        self.linear = torch.nn.utils.skip_init(torch.nn.Linear, voxels, classes)
        torch.nn.init.zeros_(self.linear.weight)
        torch.nn.init.zeros_(self.linear.bias)
        self.register_buffer("centre", torch.zeros(voxels))
        self.register_buffer("slope", torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (batch, classes) of scaled values (batch, voxels)."""
        logits: torch.Tensor = self.linear(x - self.centre)
        return logits

    def fit(self, x: NDArray[Any], y: NDArray[np.int_], *, seed: int, groups: Sequence[str] | None = None) -> None:
        """Learn from people x (n, voxels) of classes y (n,), 0 to classes - 1. Raises DataError for an empty class.

        The slope is from inner folds of these people, which keep `groups` (n,) together (default: every row its own);
        it stays 1 where there are no such folds with all classes in training.
        """
        classes = self.linear.out_features
        _people.check(y, classes)
        centre = x.mean(axis=0, dtype=np.float64)
        kernel = gram(x, centre)
        size = _size(kernel)
        kernel /= size
        alpha, intercept = _solve(self.machine, kernel, y, classes)
        splits = _inner_folds(y, range(len(y)) if groups is None else groups, classes, seed=seed)
        decisions = _inner_decisions(self.machine, kernel, y, classes, splits)
        slope = _slope.fit(decisions, y) if splits else 1.0
        with torch.no_grad():
            self.linear.weight.copy_(torch.from_numpy(combine(slope * alpha / size, x, centre)))
            self.linear.bias.copy_(torch.from_numpy(slope * intercept))
            self.centre.copy_(torch.from_numpy(centre))
            self.slope.fill_(slope)


def products(training: NDArray[Any], held_out: NDArray[Any]) -> NDArray[np.float64]:
    """All that `decide` needs of people (n, voxels) who train and (m, voxels) who are held out: (n + m, n)."""
    centre = training.mean(axis=0, dtype=np.float64)
    return np.concatenate([gram(training, centre), gram(training, centre, others=held_out)])


def decide(machine: Machine, inner: NDArray[np.float64], y: NDArray[np.int_]) -> NDArray[np.float64]:
    """Decisions (m, classes) on people held out, up to the slope, had the training people the classes y (n,).

    `inner` (n + m, n) is of `products`: what is true of the voxels whatever the classes. Raises DataError where all
    people are the same.
    """
    kernel = inner / _size(inner[: len(y)])
    alpha, intercept = _solve(machine, kernel[: len(y)], y, int(y.max()) + 1)
    decisions: NDArray[np.float64] = kernel[len(y) :] @ alpha.T + intercept
    return decisions


def _size(kernel: NDArray[np.float64]) -> float:
    """The mean of the diagonal, which the solver wants to be 1."""
    size = float(np.diag(kernel).mean())
    if size == 0:
        raise DataError("all training people have the same values in every voxel; look at the maps")
    return size


def _solve(
    machine: Machine, kernel: NDArray[np.float64], y: NDArray[np.int_], classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coefficients of people (classes, n) and intercepts (classes,); decisions: coefficients @ kernel + intercepts.

    Two classes share one machine, half of it each with opposite signs, so that the difference of their decisions is
    the machine's own.
    """
    if classes == 2:
        alpha, intercept = machine(kernel, y == 1)
        half = np.array([-0.5, 0.5])
        return half[:, None] * alpha, half * intercept
    machines = [machine(kernel, y == one) for one in range(classes)]
    return np.stack([alpha for alpha, _ in machines]), np.array([intercept for _, intercept in machines])


def _inner_folds(
    y: NDArray[np.int_], groups: Sequence[str] | range, classes: int, *, seed: int
) -> list[tuple[NDArray[np.int_], NDArray[np.int_]]]:
    """Stratified (train, test) rows with no group on both sides; none where a training side would lack a class."""
    names = np.asarray(groups)
    folds = min(INNER_FOLDS, *(len(np.unique(names[y == one])) for one in range(classes)))
    if folds < 2:
        return []
    if len(np.unique(names)) == len(names):
        splits = list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(y, y))
    else:
        splits = list(StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(y, y, names))
    return splits if all(len(np.unique(y[train])) == classes for train, _ in splits) else []


def _inner_decisions(
    machine: Machine,
    kernel: NDArray[np.float64],
    y: NDArray[np.int_],
    classes: int,
    splits: list[tuple[NDArray[np.int_], NDArray[np.int_]]],
) -> NDArray[np.float64]:
    """Decisions (n, classes) on every training person by machines that had not seen them; blocks of the one kernel,
    no voxel is read again.
    """
    decisions = np.empty((len(y), classes))
    for train, test in splits:
        alpha, intercept = _solve(machine, kernel[np.ix_(train, train)], y[train], classes)
        decisions[test] = kernel[np.ix_(test, train)] @ alpha.T + intercept
    return decisions
