"""Sparse: single-effect regression on means over 6 mm cubes, each weighed by the evidence of a difference there.

What a cube shares with the rest of the brain is taken out first; its weight is its Bayes factor against no difference
times its expected slope, so that few cubes count where the evidence is strong and many where it is weak. Cubes are
weighed anew wherever people change, in inner folds too.

Servin & Stephens 2007, PLoS Genetics 3:e114; Wang et al. 2020, J R Stat Soc B 82:1273-1300; Liang et al. 2008, J Am
Stat Assoc 103:410-423 (the evidence).
"""

from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_app.classifiers import _evidence, _linear
from bids_app.classifiers._places import CUBES, Places

TAKES = "vectors"
PRIOR: dict[_evidence.Hypothesis, float] = {_evidence.Single(CUBES): 1.0}
SETS = (CUBES,)
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
