"""Regional: the means of the regions of Neuromorphometrics, one of which differs, or all a little, weighed by evidence.

Single-effect regression and ridge regression on the means, averaged by prior (half each) and evidence. What a region
shares with the rest of the brain is taken out first.

Servin & Stephens 2007, PLoS Genetics 3:e114; Hoerl & Kennard 1970, Technometrics 12:55-67; Hoeting et al. 1999,
Statistical Science 14:382-401; Liang et al. 2008, J Am Stat Assoc 103:410-423 (the evidence).
"""

from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_app.classifiers import _evidence, _linear
from bids_app.classifiers._places import REGIONS, Places

TAKES = "vectors"
ATLAS = "neuromorphometrics"  # whose regions; tables rank those of other atlases
PRIOR: dict[_evidence.Hypothesis, float] = {_evidence.Single(REGIONS): 0.5, _evidence.Dense(REGIONS): 0.5}
SETS = (REGIONS,)
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
