"""Linear models of many voxels and few samples: one class against the rest, solved on Gram matrix and group means.

With fewer samples than voxels, the optimum under a penalty on the norm of the weights lies in the span of the samples,
so the Gram matrix (n, n) is all that such a solver needs. A solver that localises effects also gets each sample's means
over cubes or regions. Voxel weights are recovered afterwards.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from bids_app.classifiers._class_check import check_classes
from bids_app.classifiers._gram import combine_samples, inner_products
from bids_app.classifiers._slope import fit_slope
from bids_app.classifiers._voxel_grid import VoxelGrid, group_means, spread_over_voxels
from bids_app.errors import DataError

INNER_FOLDS = 5
GRAM = "gram"
Floats = NDArray[np.float64]
# All that a solver sees of n training samples followed by m held-out ones: the Gram matrix GRAM (n + m, n) and, by the
# name of a set of voxel groups, the means over these groups (n + m, groups).
SampleStatistics = Mapping[str, Floats]


@dataclass(frozen=True, eq=False)
class Solution:
    """Decisions of several labellings are coefficients @ gram.T + means @ groups.T + intercept.

    coefficients (labellings, n), means by set (labellings, groups), intercept (labellings,).
    """

    coefficients: Floats
    intercept: Floats
    means: Mapping[str, Floats]

    def times(self, factor: float) -> "Solution":
        """The solution with all decisions multiplied by `factor`."""
        means = {name: factor * mean for name, mean in self.means.items()}
        return Solution(factor * self.coefficients, factor * self.intercept, means)

    def decisions(self, statistics: SampleStatistics) -> Floats:
        """Decisions (labellings, rows) on the rows of `statistics`."""
        total: Floats = self.coefficients @ statistics[GRAM].T + self.intercept[:, None]
        return total + sum(mean @ statistics[name].T for name, mean in self.means.items())


# statistics of n samples, mean diagonal of GRAM 1, and class membership (labellings, n) -> a solution per labelling
Solver = Callable[[SampleStatistics, NDArray[np.bool_]], Solution]


class Linear(torch.nn.Module):
    """Logits (batch, classes) = linear(x - centre) of x (batch, voxels); `linear` holds the slope already.

    For two classes the logits are (-a f / 2, a f / 2) with decision value f and slope a, so f = (logit 1 - logit 0) /
    slope. `sets`: the sets of voxel groups whose means the solver gets.
    """

    input_format = "vectors"
    centre: torch.Tensor
    slope: torch.Tensor

    def __init__(self, voxels: int, classes: int, solver: Solver, *, sets: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.solver, self.sets = solver, sets
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

    def fit(
        self,
        x: NDArray[Any],
        y: NDArray[np.int_],
        *,
        seed: int,
        groups: Sequence[str] | None = None,
        voxel_grid: VoxelGrid | None = None,
    ) -> None:
        """Fit to samples x (n, voxels) of classes y (n,), 0 to classes - 1. Raises DataError for an empty class.

        The slope is estimated in inner folds of these samples that keep `groups` (n,) together (default: every row is
        its own group); it stays 1 if there are no inner folds with all classes in training.
        """
        classes = self.linear.out_features
        check_classes(y, classes)
        centre = x.mean(axis=0, dtype=np.float64)
        labels = _group_labels(self.sets, voxel_grid, x.shape[1])
        unscaled = _statistics(x, x[:0], centre, labels)
        size = _mean_diagonal(unscaled[GRAM])
        statistics = {**unscaled, GRAM: unscaled[GRAM] / size}
        solutions = _solve_classes(self.solver, statistics, y[None], classes)
        splits = _inner_folds(y, range(len(y)) if groups is None else groups, classes, seed=seed)
        slope = fit_slope(_inner_decisions(self.solver, statistics, y, classes, splits), y) if splits else 1.0
        coefficients = np.concatenate([solution.coefficients for solution in solutions])
        weight = combine_samples(slope * coefficients / size, x, centre)
        for name, groups_of_voxels in labels.items():
            means = np.concatenate([solution.means[name] for solution in solutions])
            weight += spread_over_voxels(slope * means, groups_of_voxels)
        intercept = np.concatenate([solution.intercept for solution in solutions])
        with torch.no_grad():
            self.linear.weight.copy_(torch.from_numpy(weight))
            self.linear.bias.copy_(torch.from_numpy(slope * intercept))
            self.centre.copy_(torch.from_numpy(centre))
            self.slope.fill_(slope)


class Build(Protocol):
    """`build` of a linear classifier."""

    def __call__(
        self, channels: int, classes: int, shape: tuple[int, ...], *, voxel_mm: tuple[float, float, float], seed: int
    ) -> Linear:
        """A module for vectors of channels * voxels values, `shape` being (voxels,); it has no random start."""
        ...


class GramMatrix(Protocol):
    """`gram_matrix` of a linear classifier."""

    def __call__(
        self, training: NDArray[Any], held_out: NDArray[Any], *, voxel_grid: VoxelGrid | None = None
    ) -> dict[str, Floats]:
        """All that `decision_function` needs of samples (n, voxels) in training and (m, voxels) held out."""
        ...


DecisionFunction = Callable[[SampleStatistics, NDArray[np.int_]], Floats]


def linear_contract(solver: Solver, *, sets: tuple[str, ...] = ()) -> tuple[Build, GramMatrix, DecisionFunction]:
    """The functions `build`, `gram_matrix` and `decision_function` of a linear classifier's file.

    `sets`: the sets of voxel groups whose means the solver gets.
    """

    def build(
        channels: int, classes: int, shape: tuple[int, ...], *, voxel_mm: tuple[float, float, float], seed: int
    ) -> Linear:
        del voxel_mm, seed
        return Linear(channels * prod(shape), classes, solver, sets=sets)

    return build, partial(gram_matrix, sets=sets), partial(decision_function, solver)


def gram_matrix(
    training: NDArray[Any],
    held_out: NDArray[Any],
    *,
    voxel_grid: VoxelGrid | None = None,
    sets: tuple[str, ...] = (),
) -> dict[str, Floats]:
    """All that `decision_function` needs of samples (n, voxels) in training and (m, voxels) held out."""
    centre = training.mean(axis=0, dtype=np.float64)
    return _statistics(training, held_out, centre, _group_labels(sets, voxel_grid, training.shape[1]))


def decision_function(solver: Solver, statistics: SampleStatistics, labellings: NDArray[np.int_]) -> Floats:
    """Decisions (labellings, m, classes) on held-out samples, up to the slope, under each of labellings (labellings, n)
    of the training samples.

    `statistics` is the output of `gram_matrix`, which depends on no labels. Raises DataError if all samples are equal.
    """
    n = labellings.shape[1]
    scaled = {**statistics, GRAM: statistics[GRAM] / _mean_diagonal(statistics[GRAM][:n])}
    training, held_out = (_rows(scaled, rows) for rows in (slice(n), slice(n, None)))
    solutions = _solve_classes(solver, training, labellings, int(labellings.max()) + 1)
    return np.stack([solution.decisions(held_out) for solution in solutions], axis=-1)


def solver_per_labelling(solve: Callable[[Floats, NDArray[np.bool_]], tuple[Floats, float]]) -> Solver:
    """A solver made of one that takes a Gram matrix (n, n) and one labelling (n,) and returns coefficients (n,) and an
    intercept.
    """
    return partial(_solve_per_labelling, solve)


def _solve_per_labelling(
    solve: Callable[[Floats, NDArray[np.bool_]], tuple[Floats, float]],
    statistics: SampleStatistics,
    positive: NDArray[np.bool_],
) -> Solution:
    solutions = [solve(statistics[GRAM], labelling) for labelling in positive]
    intercepts = np.array([intercept for _, intercept in solutions])
    return Solution(np.stack([coefficients for coefficients, _ in solutions]), intercepts, {})


def _rows(statistics: SampleStatistics, rows: slice | NDArray[np.int_]) -> dict[str, Floats]:
    return {name: array[rows] for name, array in statistics.items()}


def _group_labels(sets: tuple[str, ...], voxel_grid: VoxelGrid | None, values: int) -> dict[str, NDArray[np.int_]]:
    """The group of each value, by set; sets without groups are left out. Raises DataError if no set remains."""
    if not sets:
        return {}
    if voxel_grid is None:
        raise DataError("this classifier requires the positions of the voxels")
    labels = {name: voxel_grid.labels(name, values) for name in sets}
    several = {name: groups for name, groups in labels.items() if groups.max(initial=-1) > 0}
    if not several:
        raise DataError(
            "fewer than two regions of the parcellation are within the mask of the maps; choose another classifier"
        )
    return several


def _statistics(
    training: NDArray[Any], held_out: NDArray[Any], centre: Floats, labels: Mapping[str, NDArray[np.int_]]
) -> dict[str, Floats]:
    gram = inner_products(training, centre)
    if len(held_out):
        gram = np.concatenate([gram, inner_products(training, centre, others=held_out)])
    statistics = {GRAM: gram}
    for name, groups in labels.items():
        statistics[name] = np.concatenate([group_means(x, groups, centre) for x in (training, held_out)])
    return statistics


def _mean_diagonal(kernel: Floats) -> float:
    """The mean of the diagonal, which solvers expect to be 1."""
    size = float(np.diag(kernel).mean())
    if size == 0:
        raise DataError("all training participants have the same values in every voxel; check the maps")
    return size


def _solve_classes(
    solver: Solver, statistics: SampleStatistics, labellings: NDArray[np.int_], classes: int
) -> list[Solution]:
    """The solutions of each class against the rest.

    Two classes share one solution, half of it each with opposite signs, so that the difference of their decisions is
    that solution's decision.
    """
    if classes == 2:
        whole = solver(statistics, labellings == 1)
        return [whole.times(half) for half in (-0.5, 0.5)]
    return [solver(statistics, labellings == label) for label in range(classes)]


def _inner_folds(
    y: NDArray[np.int_], groups: Sequence[str] | range, classes: int, *, seed: int
) -> list[tuple[NDArray[np.int_], NDArray[np.int_]]]:
    """Stratified (train, test) rows with no group on both sides; none if a training side would lack a class."""
    names = np.asarray(groups)
    folds = min(INNER_FOLDS, *(len(np.unique(names[y == label])) for label in range(classes)))
    if folds < 2:
        return []
    if len(np.unique(names)) == len(names):
        splits = list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(y, y))
    else:
        splits = list(StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(y, y, names))
    return splits if all(len(np.unique(y[train])) == classes for train, _ in splits) else []


def _inner_decisions(
    solver: Solver,
    statistics: SampleStatistics,
    y: NDArray[np.int_],
    classes: int,
    splits: list[tuple[NDArray[np.int_], NDArray[np.int_]]],
) -> Floats:
    """Decisions (n, classes) on every training sample by solutions fitted without it, from parts of the same
    statistics: no voxel is read again.
    """
    decisions = np.empty((len(y), classes))
    for train, test in splits:
        columns = {**statistics, GRAM: statistics[GRAM][:, train]}
        solutions = _solve_classes(solver, _rows(columns, train), y[train][None], classes)
        held_out = _rows(columns, test)
        decisions[test] = np.stack([solution.decisions(held_out)[0] for solution in solutions], axis=-1)
    return decisions
