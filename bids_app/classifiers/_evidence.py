"""Localising hypotheses of a class difference, each weighted by its evidence (Bayesian model averaging).

Single(set): the difference lies in one of the set's cubes or regions, a priori equally likely in each. Dense(set): all
of them differ a little. A hypothesis is a normal prior on weights, so that its evidence against no difference and its
expectation have a closed form; the expectations are averaged, weighted by prior times evidence. Labels enter linearly,
so that a thousand labellings cost little more than one.

Before single groups are tested, variance shared with neighbours and the whole brain is regressed out of them: with the
samples' Gram matrix G = U diag(w) U', mean w 1, a feature loses the share 1 - h / (h + w) of its component along each
column of U. That is a regularised inverse of the covariance between voxels, as in linear discriminant analysis; without
it, noise that other locations share would mask a local effect.

Hoeting et al. 1999, Statistical Science 14:382-401 (averaging); Servin & Stephens 2007, PLoS Genetics 3:e114, and Wang
et al. 2020, J R Stat Soc B 82:1273-1300 (single effects); Liang et al. 2008, J Am Stat Assoc 103:410-423 (the evidence
under a prior of variance g); Friedman 1989, J Am Stat Assoc 84:165-175, and Zuber & Strimmer 2009, Bioinformatics
25:2700-2707 (taking out correlation).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax

from bids_app.classifiers._linear import GRAM, Floats, SampleStatistics, Solution

SHARED = 0.3  # h
RATIOS = np.array([0.1, 0.3, 1.0, 3.0])  # variance of dense effects over that of noise
MIN_SD = 0.1  # lower bound of a feature's SD, as a share of the 95th percentile of SDs
LABELLINGS_AT_ONCE = 100


@dataclass(frozen=True)
class Single:
    """One group of a set differs."""

    groups: str


@dataclass(frozen=True)
class Dense:
    """All groups of a set differ, or all voxels for GRAM."""

    groups: str


Hypothesis = Single | Dense


def average_hypotheses(
    statistics: SampleStatistics, positive: NDArray[np.bool_], *, prior: Mapping[Hypothesis, float]
) -> Solution:
    """One class (positive, (labellings, n)) against the rest.

    `prior`: prior probability of each hypothesis; those whose groups are missing are left out, and the others rescaled.
    """
    share = positive.mean(axis=1, keepdims=True)
    solution = solve_targets(statistics, np.where(positive, 1 - share, -share), prior=prior)
    decisions = solution.decisions(statistics)
    middle = np.sum(decisions * positive, axis=1) / positive.sum(axis=1) / 2
    middle += np.sum(decisions * ~positive, axis=1) / (~positive).sum(axis=1) / 2
    return Solution(solution.coefficients, -middle, solution.means)


def solve_targets(statistics: SampleStatistics, targets: Floats, *, prior: Mapping[Hypothesis, float]) -> Solution:
    """The averaged solution, with intercept 0, for targets (labellings, n) that sum to 0.

    Rotations of the samples that keep their sum rotate its coefficients, and change nothing else.
    """
    shared = _SharedVariance(statistics[GRAM])
    hypotheses = [
        _FittedHypothesis(hypothesis, mass, statistics, shared)
        for hypothesis, mass in prior.items()
        if hypothesis.groups in statistics
    ]
    chunks = np.array_split(targets, -(-len(targets) // LABELLINGS_AT_ONCE))
    parts = [_average_labellings(statistics, rows, hypotheses) for rows in chunks]
    return Solution(
        np.concatenate([part.coefficients for part in parts]),
        np.zeros(len(targets)),
        {name: np.concatenate([part.means[name] for part in parts]) for name in parts[0].means},
    )


def _average_labellings(
    statistics: SampleStatistics, target: Floats, hypotheses: Sequence["_FittedHypothesis"]
) -> Solution:
    posteriors = [hypothesis.posterior(target) for hypothesis in hypotheses]
    masses = [np.log(hypothesis.mass) for hypothesis in hypotheses]
    weights = softmax([mass + evidence for mass, (evidence, _) in zip(masses, posteriors, strict=True)], axis=0)
    coefficients = np.zeros(target.shape)
    means = {name: np.zeros((len(target), array.shape[1])) for name, array in statistics.items() if name != GRAM}
    for hypothesis, weight, (_, expected) in zip(hypotheses, weights[..., None], posteriors, strict=True):
        of_samples, of_means = hypothesis.coefficients(weight * expected)
        coefficients += of_samples
        if of_means is not None:
            means[hypothesis.groups] += of_means
    return Solution(coefficients, np.zeros(len(target)), means)


class _SharedVariance:
    """Eigenvalues (rank,), divided by their mean, and eigenvectors (n, rank) of the samples' centred Gram matrix."""

    def __init__(self, gram: Floats) -> None:
        centred = gram - gram.mean(axis=0) - gram.mean(axis=1, keepdims=True) + gram.mean()
        values, vectors = np.linalg.eigh((centred + centred.T) / 2)
        nonzero = values > 1e-9 * values[-1]
        self.values, self.vectors = values[nonzero], vectors[:, nonzero]
        self.lost = 1 - SHARED / (SHARED + self.values / self.values.mean())

    def regress_out(self, features: Floats) -> Floats:
        """Features (n, k) without the variance that they share with the whole image."""
        unshared: Floats = features - (self.vectors * self.lost) @ (self.vectors.T @ features)
        return unshared

    def sample_coefficients(self, coefficients: Floats) -> Floats:
        """The coefficients of the Gram matrix that regress the same out of a new sample, for coefficients
        (labellings, n) of training samples on features.
        """
        samples: Floats = -((coefficients @ self.vectors) * (self.lost / self.values)) @ self.vectors.T
        return samples


class _FittedHypothesis:
    """A hypothesis, its prior `mass`, and all of its quantities that do not depend on labels."""

    def __init__(
        self, hypothesis: Hypothesis, mass: float, statistics: SampleStatistics, shared: _SharedVariance
    ) -> None:
        self.groups, self.mass, self.shared = hypothesis.groups, mass, shared
        self.single = isinstance(hypothesis, Single)
        self.values, self.vectors = shared.values, shared.vectors
        if hypothesis.groups == GRAM:
            return
        features = statistics[hypothesis.groups] - statistics[hypothesis.groups].mean(axis=0)
        self.sd = _floor_sd(features.std(axis=0))
        self.features = features / self.sd
        self.unshared = shared.regress_out(self.features)
        if not self.single:
            values, self.vectors = np.linalg.eigh(self.unshared @ self.unshared.T)
            self.values = values.clip(min=0)

    def posterior(self, target: Floats) -> tuple[Floats, Floats]:
        """Log evidence (labellings,) and expected coefficients: of features if single, else of samples."""
        if self.single:
            return _single(self.unshared, target)
        return _dense(self.values, self.vectors, target)

    def coefficients(self, expected: Floats) -> tuple[Floats, Floats | None]:
        """Expected coefficients as coefficients of the Gram matrix and, unless all voxels are dense, of group means."""
        if self.groups == GRAM:
            return expected, None
        of_features = expected if self.single else expected @ self.unshared
        return self.shared.sample_coefficients(of_features @ self.features.T), of_features / self.sd


def _single(features: Floats, target: Floats) -> tuple[Floats, Floats]:
    """Log evidence (labellings,) that the classes differ in one of the features (n, k), and expected weights
    (labellings, k).

    Under a g-prior on the weight of one feature, its evidence against none is (1 + g)^(-1/2) (1 - g / (1 + g)
    r^2)^(-(n - 1) / 2), g = n, r being its correlation with the labels (Liang et al. 2008, equation 6).
    """
    n = len(features)
    square = _floor_sd(features.std(axis=0)) ** 2
    along = target @ features / n
    r2 = along**2 / square / (target**2).mean(axis=1, keepdims=True)
    shrink = n / (1 + n)
    log = -0.5 * np.log1p(n) - (n - 1) / 2 * np.log1p(-shrink * r2.clip(max=1))
    whole = logsumexp(log, axis=1, keepdims=True)
    return whole[:, 0] - np.log(features.shape[1]), np.exp(log - whole) * shrink * along / square


def _dense(values: Floats, vectors: Floats, target: Floats) -> tuple[Floats, Floats]:
    """Log evidence (labellings,) and expected coefficients of samples (labellings, n) under a normal prior on all
    weights (ridge regression), averaged over the variance ratios; the Gram matrix is vectors diag(values) vectors'.
    """
    n, size = len(vectors), values.sum() / len(vectors)
    along, square = target @ vectors, (target**2).sum(axis=1)
    evidence, coefficients = [], []
    for ratio in RATIOS / size:
        residual = 1 / (1 + ratio * values)
        left = square - (along**2) @ (1 - residual)
        evidence.append(0.5 * np.log(residual).sum() - (n - 1) / 2 * np.log(left / square))
        coefficients.append(along * (ratio * residual))
    weight = softmax(evidence, axis=0)
    mean = np.sum(weight[..., None] * np.array(coefficients), axis=0) @ vectors.T
    return logsumexp(evidence, axis=0) - np.log(len(RATIOS)), mean


def _floor_sd(sd: Floats) -> Floats:
    return np.maximum(sd, MIN_SD * np.percentile(sd, 95) or 1.0)
