"""Where a difference between classes lies: hypotheses, each weighed by its evidence (Bayesian model averaging).

Single(set): it lies in one of the set's cubes or regions, nobody knows in which. Dense(set): everywhere a little. A
hypothesis is a normal prior on weights, so that its evidence against 'no difference' and its expectation have a closed
form; the expectations are averaged, each weighed by prior times evidence. Labels enter linearly, so that a thousand of
them cost little more than one.

Before single places are looked at, what neighbours and the whole brain share is taken out of them: with people's
products G = U diag(w) U', mean w 1, a feature loses the share 1 - h / (h + w) of what it has along each of U. That is
a regularised inverse of the covariance between voxels, as in linear discriminant analysis, without which a place with
an effect is judged by noise that other places know.

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

from bids_app.classifiers._linear import GRAM, Floats, Inner, Solution

SHARED = 0.3  # h
RATIOS = np.array([0.1, 0.3, 1.0, 3.0])  # of the variance of dense effects to that of noise
FLOOR = 0.1  # of the 95th percentile: the least SD of a feature
AT_ONCE = 100  # labellings


@dataclass(frozen=True)
class Single:
    """One group of a set differs."""

    groups: str


@dataclass(frozen=True)
class Dense:
    """All groups of a set differ, or, of GRAM, all voxels."""

    groups: str


Hypothesis = Single | Dense


def average(inner: Inner, positive: NDArray[np.bool_], *, prior: Mapping[Hypothesis, float]) -> Solution:
    """One class (positive, (labellings, n)) against the rest. prior: of each hypothesis; one without groups is left
    out, and the others share what it had.
    """
    products = _Products(inner[GRAM])
    known = [_Known(one, mass, inner, products) for one, mass in prior.items() if one.groups in inner]
    parts = [_average(inner, rows, known) for rows in np.array_split(positive, -(-len(positive) // AT_ONCE))]
    return Solution(
        np.concatenate([part.people for part in parts]),
        np.concatenate([part.intercept for part in parts]),
        {name: np.concatenate([part.means[name] for part in parts]) for name in parts[0].means},
    )


def _average(inner: Inner, positive: NDArray[np.bool_], known: Sequence["_Known"]) -> Solution:
    share = positive.mean(axis=1, keepdims=True)
    target = np.where(positive, 1 - share, -share)  # sums to 0
    answers = [one.answer(target) for one in known]
    weight = softmax([np.log(one.mass) + evidence for one, (evidence, _) in zip(known, answers, strict=True)], axis=0)
    people = np.zeros(positive.shape)
    means = {name: np.zeros((len(positive), each.shape[1])) for name, each in inner.items() if name != GRAM}
    for one, own, (_, expected) in zip(known, weight[..., None], answers, strict=True):
        of_people, of_means = one.coefficients(own * expected)
        people += of_people
        if of_means is not None:
            means[one.groups] += of_means
    made = Solution(people, np.zeros(len(positive)), means)
    decisions = made.decisions(inner)
    middle = np.sum(decisions * positive, axis=1) / positive.sum(axis=1) / 2
    middle += np.sum(decisions * ~positive, axis=1) / (~positive).sum(axis=1) / 2
    return Solution(people, -middle, means)


class _Products:
    """The people's centred products as eigenvalues (rank,), in their mean, and eigenvectors (n, rank)."""

    def __init__(self, gram: Floats) -> None:
        centred = gram - gram.mean(axis=0) - gram.mean(axis=1, keepdims=True) + gram.mean()
        values, vectors = np.linalg.eigh((centred + centred.T) / 2)
        kept = values > 1e-9 * values[-1]
        self.values, self.vectors = values[kept], vectors[:, kept]
        self.lost = 1 - SHARED / (SHARED + self.values / self.values.mean())

    def without_shared(self, features: Floats) -> Floats:
        """Features (n, k) less what they share with the whole image."""
        own: Floats = features - (self.vectors * self.lost) @ (self.vectors.T @ features)
        return own

    def of_people(self, coefficients: Floats) -> Floats:
        """What people's coefficients (labellings, n) on features have to lose on products, so that somebody new loses
        the same.
        """
        people: Floats = -((coefficients @ self.vectors) * (self.lost / self.values)) @ self.vectors.T
        return people


class _Known:
    """A hypothesis, its prior `mass`, and all that can be known of it before labels are."""

    def __init__(self, hypothesis: Hypothesis, mass: float, inner: Inner, products: _Products) -> None:
        self.groups, self.mass, self.products = hypothesis.groups, mass, products
        self.single = isinstance(hypothesis, Single)
        self.values, self.vectors = products.values, products.vectors
        if hypothesis.groups == GRAM:
            return
        features = inner[hypothesis.groups] - inner[hypothesis.groups].mean(axis=0)
        self.sd = _floored(features.std(axis=0))
        self.features = features / self.sd
        self.unshared = products.without_shared(self.features)
        if not self.single:
            values, self.vectors = np.linalg.eigh(self.unshared @ self.unshared.T)
            self.values = values.clip(min=0)

    def answer(self, target: Floats) -> tuple[Floats, Floats]:
        """Log evidence (labellings,) and the expected coefficients: of features if single, else of people."""
        if self.single:
            return _single(self.unshared, target)
        return _dense(self.values, self.vectors, target)

    def coefficients(self, expected: Floats) -> tuple[Floats, Floats | None]:
        """The same as coefficients of products, and of the means over groups where these were looked at."""
        if self.groups == GRAM:
            return expected, None
        of_features = expected if self.single else expected @ self.unshared
        return self.products.of_people(of_features @ self.features.T), of_features / self.sd


def _single(features: Floats, target: Floats) -> tuple[Floats, Floats]:
    """Log evidence (labellings,) that the classes differ in one of the features (n, k), and expected weights
    (labellings, k).

    Under a g-prior on the weight of one feature, its evidence against none is (1 + g)^(-1/2) (1 - g / (1 + g)
    r^2)^(-(n - 1) / 2), g = n, r being its correlation with the labels (Liang et al. 2008, equation 6).
    """
    n = len(features)
    square = _floored(features.std(axis=0)) ** 2
    along = target @ features / n
    r2 = along**2 / square / (target**2).mean(axis=1, keepdims=True)
    shrink = n / (1 + n)
    log = -0.5 * np.log1p(n) - (n - 1) / 2 * np.log1p(-shrink * r2.clip(max=1))
    whole = logsumexp(log, axis=1, keepdims=True)
    return whole[:, 0] - np.log(features.shape[1]), np.exp(log - whole) * shrink * along / square


def _dense(values: Floats, vectors: Floats, target: Floats) -> tuple[Floats, Floats]:
    """The same of a normal prior on all weights, the products of people being vectors diag(values) vectors' (ridge
    regression), with coefficients of people (labellings, n); the ratios of variances are averaged over.
    """
    n, size = len(vectors), values.sum() / len(vectors)
    along, square = target @ vectors, (target**2).sum(axis=1)
    evidence, people = [], []
    for ratio in RATIOS / size:
        rest = 1 / (1 + ratio * values)
        left = square - (along**2) @ (1 - rest)
        evidence.append(0.5 * np.log(rest).sum() - (n - 1) / 2 * np.log(left / square))
        people.append(along * (ratio * rest))
    weight = softmax(evidence, axis=0)
    mean = np.sum(weight[..., None] * np.array(people), axis=0) @ vectors.T
    return logsumexp(evidence, axis=0) - np.log(len(RATIOS)), mean


def _floored(sd: Floats) -> Floats:
    return np.maximum(sd, FLOOR * np.percentile(sd, 95) or 1.0)
