"""Linear models of many voxels and few people: one class against the rest, solved on products and means of people.

With few people and many voxels the optimum of what is penalised by the length of the weights lies in the span of the
people, so the matrix (n, n) of their inner products is all that such a solver needs; a solver that looks for places is
given the people's means over cubes or regions as well. The weights of the voxels are summed up afterwards.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from bids_app.classifiers import _people, _places, _slope
from bids_app.classifiers._gram import combine, gram
from bids_app.classifiers._places import Places
from bids_app.errors import DataError

INNER_FOLDS = 5
GRAM = "gram"
Floats = NDArray[np.float64]
# What a model knows of n people who train, and after them of m who are held out: their inner products GRAM (n + m, n),
# and by the name of a set of groups the means over these (n + m, groups).
Inner = Mapping[str, Floats]


@dataclass(frozen=True, eq=False)
class Solution:
    """Decisions of several labellings are people @ gram.T + means @ groups.T + intercept.

    people (labellings, n), means by set (labellings, groups), intercept (labellings,).
    """

    people: Floats
    intercept: Floats
    means: Mapping[str, Floats]

    def times(self, factor: float) -> "Solution":
        """The same with all decisions multiplied."""
        means = {name: factor * each for name, each in self.means.items()}
        return Solution(factor * self.people, factor * self.intercept, means)

    def decisions(self, inner: Inner) -> Floats:
        """Decisions (labellings, rows) on the rows of `inner`."""
        total: Floats = self.people @ inner[GRAM].T + self.intercept[:, None]
        return total + sum(each @ inner[name].T for name, each in self.means.items())


# what n people are, mean diagonal of GRAM 1, and who is of the class (labellings, n) -> one solution a labelling
Machine = Callable[[Inner, NDArray[np.bool_]], Solution]


class Linear(torch.nn.Module):
    """Logits (batch, classes) = linear(x - centre) of x (batch, voxels); `linear` holds the slope already.

    For two classes the logits are (-a f / 2, a f / 2), where f is the decision value and a the slope, so f = (logit 1
    - logit 0) / slope. `sets`: the groups of voxels whose means the machine is given.
    """

    takes = "vectors"
    centre: torch.Tensor
    slope: torch.Tensor

    def __init__(self, voxels: int, classes: int, machine: Machine, *, sets: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.machine, self.sets = machine, sets
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
        places: Places | None = None,
    ) -> None:
        """Learn from people x (n, voxels) of classes y (n,), 0 to classes - 1. Raises DataError for an empty class.

        The slope is from inner folds of these people, which keep `groups` (n,) together (default: every row its own);
        it stays 1 where there are no such folds with all classes in training.
        """
        classes = self.linear.out_features
        _people.check(y, classes)
        centre = x.mean(axis=0, dtype=np.float64)
        labels = _labels(self.sets, places, x.shape[1])
        raw = _inner(x, x[:0], centre, labels)
        size = _size(raw[GRAM])
        inner = {**raw, GRAM: raw[GRAM] / size}
        solutions = _solve(self.machine, inner, y[None], classes)
        splits = _inner_folds(y, range(len(y)) if groups is None else groups, classes, seed=seed)
        slope = _slope.fit(_inner_decisions(self.machine, inner, y, classes, splits), y) if splits else 1.0
        people = np.concatenate([one.people for one in solutions])
        weight = combine(slope * people / size, x, centre)
        for name, own in labels.items():
            weight += _places.spread(slope * np.concatenate([one.means[name] for one in solutions]), own)
        with torch.no_grad():
            self.linear.weight.copy_(torch.from_numpy(weight))
            self.linear.bias.copy_(torch.from_numpy(slope * np.concatenate([one.intercept for one in solutions])))
            self.centre.copy_(torch.from_numpy(centre))
            self.slope.fill_(slope)


def products(
    training: NDArray[Any],
    held_out: NDArray[Any],
    *,
    places: Places | None,
    sets: tuple[str, ...] = (),
) -> dict[str, Floats]:
    """All that `decide` needs of people (n, voxels) who train and (m, voxels) who are held out."""
    centre = training.mean(axis=0, dtype=np.float64)
    return _inner(training, held_out, centre, _labels(sets, places, training.shape[1]))


def decide(machine: Machine, inner: Inner, labellings: NDArray[np.int_]) -> Floats:
    """Decisions (labellings, m, classes) on people held out, up to the slope, had the training people the classes of
    each of labellings (labellings, n).

    `inner` is of `products`: what is true of the voxels whatever the classes. Raises DataError where all people are the
    same.
    """
    n = labellings.shape[1]
    scaled = {**inner, GRAM: inner[GRAM] / _size(inner[GRAM][:n])}
    training, held_out = ({name: each[rows] for name, each in scaled.items()} for rows in (slice(n), slice(n, None)))
    solutions = _solve(machine, training, labellings, int(labellings.max()) + 1)
    return np.stack([one.decisions(held_out) for one in solutions], axis=-1)


def one_by_one(solve: Callable[[Floats, NDArray[np.bool_]], tuple[Floats, float]]) -> Machine:
    """A machine of a solver that takes products of people (n, n) and one labelling (n,) and returns coefficients (n,)
    and an intercept.
    """
    return partial(_one_by_one, solve)


def _one_by_one(
    solve: Callable[[Floats, NDArray[np.bool_]], tuple[Floats, float]], inner: Inner, positive: NDArray[np.bool_]
) -> Solution:
    solved = [solve(inner[GRAM], one) for one in positive]
    return Solution(np.stack([people for people, _ in solved]), np.array([intercept for _, intercept in solved]), {})


def _labels(sets: tuple[str, ...], places: Places | None, values: int) -> dict[str, NDArray[np.int_]]:
    """The group of each value, by set; a set without any group is left out. Raises DataError where none is left."""
    if not sets:
        return {}
    if places is None:
        raise DataError("this classifier has to know where the voxels lie")
    labels = {name: places.labels(name, values) for name in sets}
    kept = {name: each for name, each in labels.items() if each.max(initial=-1) > 0}
    if not kept:
        raise DataError("the parcellation has no two regions within the mask of the maps; choose another classifier")
    return kept


def _inner(
    training: NDArray[Any], held_out: NDArray[Any], centre: Floats, labels: Mapping[str, NDArray[np.int_]]
) -> dict[str, Floats]:
    both = (training, held_out)
    own = gram(training, centre)
    inner = {GRAM: np.concatenate([own, gram(training, centre, others=held_out)]) if len(held_out) else own}
    for name, each in labels.items():
        inner[name] = np.concatenate([_places.means(x, each, centre) for x in both])
    return inner


def _size(kernel: Floats) -> float:
    """The mean of the diagonal, which the solver wants to be 1."""
    size = float(np.diag(kernel).mean())
    if size == 0:
        raise DataError("all training people have the same values in every voxel; look at the maps")
    return size


def _solve(machine: Machine, inner: Inner, labellings: NDArray[np.int_], classes: int) -> list[Solution]:
    """The solutions of each class against the rest.

    Two classes share one machine, half of it each with opposite signs, so that the difference of their decisions is
    the machine's own.
    """
    if classes == 2:
        whole = machine(inner, labellings == 1)
        return [whole.times(half) for half in (-0.5, 0.5)]
    return [machine(inner, labellings == one) for one in range(classes)]


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
    inner: Inner,
    y: NDArray[np.int_],
    classes: int,
    splits: list[tuple[NDArray[np.int_], NDArray[np.int_]]],
) -> Floats:
    """Decisions (n, classes) on every training person by machines that had not seen them; parts of the one set of
    products, no voxel is read again.
    """
    decisions = np.empty((len(y), classes))
    for train, test in splits:
        fitted, held_out = ({**inner, GRAM: inner[GRAM][:, train]} for _ in range(2))
        fitted = {name: each[train] for name, each in fitted.items()}
        held_out = {name: each[test] for name, each in held_out.items()}
        solutions = _solve(machine, fitted, y[train][None], classes)
        decisions[test] = np.stack([one.decisions(held_out)[0] for one in solutions], axis=-1)
    return decisions
