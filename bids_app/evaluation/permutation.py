"""Permutation tests of classifiers: labels are shuffled within folds.

Labels are shuffled among the participants whom one fold holds out (within a site, where there are several). Folds that
were stratified on the true labels remain stratified on the shuffled ones, and what was fitted without labels stays
valid. Given the folds and their class counts, every such labelling is as likely as the true one under the null
hypothesis, so that the test is exact: docs/decisions/0008.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MIN_PERMUTATIONS = 19  # the smallest p of m permutations is 1 / (m + 1): 0.05
LINEAR_PERMUTATIONS = 1000
ALPHA = 0.05
TOLERANCE = 1e-9  # scores that differ by less are equal

Codes = NDArray[np.int16]
GramMatrices = Mapping[str, NDArray[np.float64]]
Decide = Callable[[GramMatrices, NDArray[np.int64]], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class FoldKernel:
    """The `gram_matrices` of a linear classifier in one fold, training rows first, and the rows of both sides."""

    gram_matrices: GramMatrices
    train: NDArray[np.int64]
    test: NDArray[np.int64]


def shuffle_labels(
    y: NDArray[np.int64], folds: Sequence[int], units: Sequence[str], sites: Sequence[str], *, count: int, seed: int
) -> Codes:
    """Return labellings (count, rows): y (rows,) with the labels of whole units exchanged.

    folds: the fold that holds each row out; units: the participant, or the --groups value, of each row; sites: its
    site, a single name where sites are ignored. Two units are exchangeable if the same fold holds both out and their
    rows have the same sites.
    """
    random = np.random.default_rng(seed)
    labellings = np.tile(y.astype(np.int16), (count, 1))
    exchangeable = _exchangeable_units(folds, units, sites)
    for labelling in labellings:
        for rows in exchangeable:
            labelling[rows] = y[rows[random.permutation(len(rows))]]
    return labellings


def count_labellings(y: NDArray[np.int64], folds: Sequence[int], units: Sequence[str], sites: Sequence[str]) -> int:
    """Count the distinct labellings that `shuffle_labels` can return, including the true one."""
    total = 1
    for rows in _exchangeable_units(folds, units, sites):
        same = Counter(map(tuple, y[rows].tolist()))
        total *= math.factorial(len(rows)) // math.prod(math.factorial(number) for number in same.values())
    return total


def score_labellings(
    kernels: Sequence[FoldKernel],
    labellings: NDArray[np.integer],
    people: Sequence[str],
    classes: int,
    *,
    decide: Decide,
) -> NDArray[np.float64]:
    """Return the out-of-fold balanced accuracy (labellings,) of a linear model under each labelling (labellings, rows).

    people: the participant of each row, over whose rows decisions are averaged. `decide` takes the Gram matrices of a
    fold and labellings of its training rows (labellings, train), and returns decisions (labellings, test, classes).
    """
    names, participant = np.unique(np.asarray(people), return_inverse=True)
    decisions = np.zeros((len(labellings), len(names), classes))
    true = np.full((len(labellings), len(names)), -1)
    for kernel in kernels:
        decided = decide(kernel.gram_matrices, labellings[:, kernel.train].astype(np.int64))
        np.add.at(decisions.swapaxes(0, 1), participant[kernel.test], decided.swapaxes(0, 1))
        true[:, participant[kernel.test]] = labellings[:, kernel.test]
    predicted = decisions.argmax(axis=2)
    pairs = zip(true, predicted, strict=True)
    return np.array([balanced_accuracy(labels, called, classes) for labels, called in pairs])


def balanced_accuracy(true: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> float:
    """Return the mean of the per-class recalls; `true` is -1 for participants who are not scored."""
    return float(np.mean([(predicted[true == label] == label).mean() for label in range(classes)]))


def tabulate_p_values(
    observed: Mapping[str, float], null: Mapping[str, NDArray[np.float64]], linear: Sequence[str]
) -> pd.DataFrame:
    """Return a row per cell: permutations, `p`, `p_max`, `p_family`, `critical_score` and `p_corrected`.

    observed: the score by cell; null: the scores under the same labellings, in the same order, as many as the cell has.
    `p` = (b + 1) / (m + 1), where b of m permuted scores reach the observed one (Phipson & Smyth 2010). `p_max`:
    against the maximum over all permuted cells, of the labellings they share. `p_family`: of linear cells, corrected
    by the step-down maximum (`step_down_p`). `critical_score`: the smallest score with p <= 0.05. `p_corrected`: the p
    that the verdict uses, `p_family` of linear cells, else `p_max`. With fewer than 19 permutations all are NaN.
    """
    enough = {cell: values for cell, values in null.items() if len(values) >= MIN_PERMUTATIONS}
    common = min((len(values) for values in enough.values()), default=0)
    highest = np.max([values[:common] for values in enough.values()], axis=0) if enough else np.empty(0)
    family = step_down_p(observed, {cell: enough[cell] for cell in linear if cell in enough})
    rows = []
    for cell, score in observed.items():
        cell_null = enough.get(cell, np.empty(0))
        row = {"cell": cell, "permutations": len(null.get(cell, ())), "p": _p_value(score, cell_null)}
        row |= {
            "p_max": _p_value(score, highest) if len(cell_null) else math.nan,
            "p_family": family.get(cell, math.nan),
        }
        rows.append(row | {"critical_score": critical_score(cell_null)})
    table = pd.DataFrame(rows)
    return table.assign(p_corrected=table["p_family"].fillna(table["p_max"]))


def step_down_p(observed: Mapping[str, float], null: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    """Return the p of each cell of `null`, corrected over these cells by the step-down maximum under the same
    labellings (Westfall & Young 1993, procedure 2.8); cells with equal scores share one p.
    """
    common = min((len(values) for values in null.values()), default=0)
    corrected: dict[str, float] = {}
    least = 0.0
    for score in sorted({observed[cell] for cell in null}, reverse=True):
        rest = [values[:common] for cell, values in null.items() if observed[cell] <= score]
        least = max(least, _p_value(score, np.max(rest, axis=0)))
        corrected |= {cell: least for cell in null if observed[cell] == score}
    return corrected


def _exchangeable_units(folds: Sequence[int], units: Sequence[str], sites: Sequence[str]) -> list[NDArray[np.int64]]:
    """Return sets of two or more units with exchangeable labels, as their rows (units, rows of each)."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, unit in enumerate(units):
        rows[unit].append(row)
    alike: dict[tuple[object, ...], list[list[int]]] = defaultdict(list)
    for unit_rows in rows.values():
        ordered = sorted(unit_rows, key=lambda row: (folds[row], sites[row], row))
        alike[tuple((folds[row], sites[row]) for row in ordered)].append(ordered)
    return [np.array(unit_rows) for unit_rows in alike.values() if len(unit_rows) > 1]


def _p_value(score: float, null: NDArray[np.float64]) -> float:
    """Return (b + 1) / (m + 1); scores that differ by rounding alone are equal."""
    return float((null >= score - TOLERANCE).sum() + 1) / (len(null) + 1) if len(null) else math.nan


def critical_score(null: NDArray[np.float64]) -> float:
    """Return the smallest score in the null distribution with p <= 0.05, or a value just above all of them."""
    if not len(null):
        return math.nan
    for score in np.unique(null):
        if _p_value(float(score), null) <= ALPHA:
            return float(score)
    return float(null.max()) + 10 * TOLERANCE


def holm_correction(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p (n,) corrected after Holm (1979); NaN is ignored and stays NaN."""
    corrected = np.full(len(p), math.nan)
    order = [index for index in np.argsort(p) if not math.isnan(p[index])]
    least = 0.0
    for rank, index in enumerate(order):
        least = max(least, min(1.0, p[index] * (len(order) - rank)))
        corrected[index] = least
    return corrected
