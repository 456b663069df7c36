"""Statistical power by simulation: the share of simulated differences detected, by size, and the size at 80 % power."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from bids_app.dataset.effect_patterns import PATTERNS
from bids_app.evaluation import permutation

POWER = 0.8
MIN_STUDIES = 20  # simulated studies
EXPECTED_T = (0.0, 1.5, 3.0, 4.0, 5.0, 6.0, 8.0)  # of the mean of the affected voxels, in the whole study
DIFFUSE_FACTOR = 0.5  # of these for differences in many regions
RESAMPLES = 300

Floats = NDArray[np.float64]


def effect_sizes(counts: Sequence[int]) -> dict[str, list[float]]:
    """Return the effect sizes (Cohen's d) to simulate, by pattern, for the participants in each of two classes."""
    per_t = float(np.sqrt(1 / counts[0] + 1 / counts[1]))
    whole = {name: DIFFUSE_FACTOR if name == "diffuse" else 1.0 for name in PATTERNS}
    return {name: [round(factor * t * per_t, 3) for t in EXPECTED_T] for name, factor in whole.items()}


def critical_accuracy(null: Sequence[Floats]) -> float:
    """Return the smallest balanced accuracy with p <= 0.05 over all linear cells; null: of each cell, by labelling."""
    common = min(len(scores) for scores in null)
    return permutation.critical_score(np.max([scores[:common] for scores in null], axis=0))


def detectable_size(d: Sequence[float], hits: NDArray[np.bool_], share: float = POWER) -> float:
    """Return the size at which `share` of the studies (studies, sizes) detect the difference; NaN if none does.

    The share is an isotonic regression on size, interpolated linearly.
    """
    rising = IsotonicRegression().fit_transform(np.asarray(d), hits.mean(axis=0))
    above = np.flatnonzero(rising >= share)
    if not len(above):
        return float("nan")
    if above[0] == 0:
        return float(d[0])
    low, high = above[0] - 1, above[0]
    part = (share - rising[low]) / (rising[high] - rising[low])
    return float(d[low] + part * (d[high] - d[low]))


def detectable_size_interval(d: Sequence[float], hits: NDArray[np.bool_], *, seed: int) -> tuple[float, float]:
    """The 95 % bootstrap interval (over studies) of `detectable_size`; a bound that no study reaches is NaN."""
    random = np.random.default_rng(seed)
    rows = random.integers(len(hits), size=(RESAMPLES, len(hits)))
    each = np.array([detectable_size(d, hits[row]) for row in rows])
    low, high = np.percentile(np.where(np.isnan(each), np.inf, each), [2.5, 97.5], method="nearest").tolist()
    return low if np.isfinite(low) else float("nan"), high if np.isfinite(high) else float("nan")


def tabulate_power(
    name: str,
    cells: Sequence[str],
    scores: Floats,
    percent: Floats,
    planted: Mapping[str, Sequence[float]],
    least: float,
    *,
    seed: int,
) -> pd.DataFrame:
    """Return a row per pattern, cell and size of one map: the `share` of `studies` that reach the critical score.

    scores (studies, patterns, sizes, cells); percent (studies, patterns): the size of d = 1 in % of the map's mean
    there. The cell `any`: at least one cell of the map. `size_80` with `_low` and `_high`, and `percent_80`, are the
    same in every row of a pattern and cell.
    """
    rows = []
    for at, (pattern, d) in enumerate(planted.items()):
        hit = np.asarray(scores[:, at] >= least - permutation.TOLERANCE)
        for cell, hits in [("any", hit.max(axis=2)), *((cell, hit[..., i]) for i, cell in enumerate(cells))]:
            size, (low, high) = detectable_size(d, hits), detectable_size_interval(d, hits, seed=seed)
            common = {"map": name, "pattern": pattern, "cell": cell, "studies": len(hits), "critical_score": least}
            ends = {"size_80": size, "size_80_low": low, "size_80_high": high}
            ends["percent_80"] = size * float(np.median(percent[:, at]))
            rows += [
                {**common, "d": size_d, "share": float(share), **ends}
                for size_d, share in zip(d, hits.mean(axis=0), strict=True)
            ]
    return pd.DataFrame(rows)
