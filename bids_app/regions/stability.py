"""Agreement of the maps of several models on regions."""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

TOP_REGIONS = 10


def measure_agreement(means: NDArray[np.floating]) -> dict[str, float]:
    """Measure the agreement of region means (models, regions) of at least two models.

    icc: ICC(2,1), two-way random effects, absolute agreement of single models on regions (Shrout & Fleiss 1979,
    Psychological Bulletin 86:420-428); spearman: mean rank correlation of pairs of models; top_dice: mean Dice of pairs
    of their ten strongest regions (fewer with fewer than twenty regions). Models of cross-validation share most of
    their training data, so that all three are higher than between independent models.
    """
    strengths = np.abs(means)
    top = max(1, min(TOP_REGIONS, strengths.shape[1] // 2))
    strongest = [set(np.argsort(-strengths_of_model, kind="stable")[:top].tolist()) for strengths_of_model in strengths]
    pairs = list(combinations(range(len(means)), 2))
    return {
        "icc": _icc(np.asarray(means, np.float64)),
        "spearman": float(np.mean([rank_correlation(means[a], means[b]) for a, b in pairs])),
        "top_dice": float(np.mean([len(strongest[a] & strongest[b]) / top for a, b in pairs])),
    }


def _icc(means: NDArray[np.float64]) -> float:
    models, regions = means.shape
    grand = means.mean()
    of_regions = models * np.square(means.mean(axis=0) - grand).sum() / (regions - 1)
    of_models = regions * np.square(means.mean(axis=1) - grand).sum() / (models - 1)
    left = means - means.mean(axis=0) - means.mean(axis=1, keepdims=True) + grand
    error = np.square(left).sum() / ((models - 1) * (regions - 1))
    total = of_regions + (models - 1) * error + models * (of_models - error) / regions
    return float((of_regions - error) / total) if total > 0 else float("nan")


def rank_correlation(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Return Spearman's correlation, 0 where either is constant."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(spearmanr(first, second).statistic)
