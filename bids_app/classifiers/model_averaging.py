"""Adaptive: sparse, regional and dense evidence, averaged within the fold by what the training people say of each.

Four hypotheses: the classes differ in one 6 mm cube (prior 1/2), in one region of Neuromorphometrics, in all regions a
little, or in all voxels a little (1/6 each). Each has an expected difference and an evidence in closed form; the
classifier is their average, weighed by prior times evidence (Bayesian model averaging), and stays linear.

Hoeting et al. 1999, Statistical Science 14:382-401; Wang et al. 2020, J R Stat Soc B 82:1273-1300 (single effects);
Hoerl & Kennard 1970, Technometrics 12:55-67 (dense ones); Liang et al. 2008, J Am Stat Assoc 103:410-423 (the
evidence).
"""

from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_app.classifiers import _evidence, _linear
from bids_app.classifiers._places import CUBES, REGIONS, Places

TAKES = "vectors"
ATLAS = "neuromorphometrics"  # whose regions; tables rank those of other atlases
PRIOR: dict[_evidence.Hypothesis, float] = {
    _evidence.Single(CUBES): 1 / 2,
    _evidence.Single(REGIONS): 1 / 6,
    _evidence.Dense(REGIONS): 1 / 6,
    _evidence.Dense(_linear.GRAM): 1 / 6,
}
SETS = (CUBES, REGIONS)
machine = partial(_evidence.average, prior=PRIOR)


def build(
    channels: int, classes: int, shape: tuple[int, ...], *, voxel_mm: tuple[float, float, float], seed: int
) -> _linear.Linear:
    """A machine for vectors of channels * voxels values, `shape` being (voxels,); it has no random start."""
    del voxel_mm, seed
    return _linear.Linear(channels * prod(shape), classes, machine, sets=SETS)


def products(
    training: NDArray[Any], held_out: NDArray[Any], *, places: Places | None = None
) -> dict[str, NDArray[np.float64]]:
    """As `_linear.products`."""
    return _linear.products(training, held_out, places=places, sets=SETS)


def decide(inner: _linear.Inner, labellings: NDArray[np.int_]) -> NDArray[np.float64]:
    """As `_linear.decide`."""
    return _linear.decide(machine, inner, labellings)
