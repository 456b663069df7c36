"""Simulated group differences of known size in the maps of a fold, and the linear classifiers' scores on them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bids_app import catalogue
from bids_app.classifiers import _linear
from bids_app.classifiers._linear import GRAM
from bids_app.dataset import adjust, arrays, scale
from bids_app.dataset.folds import Split
from bids_app.dataset.grid import Grid
from bids_app.training import models
from bids_app.training.feature_pipeline import Samples, fit_pipeline

Floats = NDArray[np.float64]
MIN_RELATIVE_SHIFT = 0.005  # of the largest shift: less is none


class SimulatedFold:
    """One map of a fold's samples, from which Gram matrices with a simulated difference follow.

    A difference shifts some voxels of some samples before covariates are regressed out and voxels are scaled; both are
    refitted with it. ComBat and the minimum SD of voxels are fitted without it.
    """

    def __init__(
        self,
        everyone: Samples,
        split: Split,
        name: str,
        *,
        columns: Sequence[str],
        keep: tuple[str, ...] | None,
        grid: Grid,
        sets: tuple[str, ...],
    ) -> None:
        self.train, self.test = np.array(split.train), np.array(split.test)
        training, held_out = everyone.select(split.train), everyone.select(split.test)
        fitted = fit_pipeline(training, maps=(name,), columns={name: tuple(columns)}, grid=grid, keep=keep)
        self.values = np.concatenate([fitted.adjust_map(samples, name) for samples in (training, held_out)])
        self.designs = [samples.design(columns) for samples in (training, held_out)] if columns else None
        n = len(self.train)
        self.scale, self.floor = fitted.step_arrays("scale", name), scale.floor(self.values[:n].std(axis=0, ddof=1))
        places = models.places(grid)
        scaled = scale.transform(self.values, self.scale)
        self.base = _linear.gram_matrix(scaled[:n], scaled[n:], voxel_grid=places, sets=sets)
        self.labels = {group_set: places.labels(group_set, grid.voxels) for group_set in self.base if group_set != GRAM}

    def planted(self, shifted: NDArray[np.bool_], shift: NDArray[np.float32]) -> "PlantedEffect":
        """Return the effect of shifting the samples `shifted` by any size times `shift` (voxels,)."""
        return PlantedEffect(self, self._unexplained(shifted), shift)

    def _unexplained(self, shifted: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return the indicator of the shifted samples after regressing out covariates, (train + test,)."""
        indicators = [shifted[rows].astype(np.float32)[:, None] for rows in (self.train, self.test)]
        if self.designs is not None:
            fitted = adjust.fit(indicators[0], self.designs[0])
            indicators = [
                adjust.transform(indicator, design, fitted)
                for indicator, design in zip(indicators, self.designs, strict=True)
            ]
        whole: NDArray[np.float32] = np.concatenate(indicators)[:, 0]
        return whole


class PlantedEffect:
    """A simulated difference in a fold: the Gram matrices as a function of its size."""

    def __init__(self, fold: SimulatedFold, people: NDArray[np.float32], shift: NDArray[np.float32]) -> None:
        self.fold, self.people = fold, people
        self.where = np.flatnonzero(np.abs(shift) > MIN_RELATIVE_SHIFT * np.abs(shift).max())
        self.shift, self.values = shift[self.where], fold.values[:, self.where]
        self.before = (self.values - fold.scale["mean"][self.where]) / fold.scale["sd"][self.where]
        self.others = fold.base[GRAM] - self.before @ self.before[: len(fold.train)].T
        self.shares = {name: self._shares(labels) for name, labels in fold.labels.items()}

    def products(self, size: float) -> dict[str, Floats]:
        """Return the matrices of `_linear.gram_matrix` at a size."""
        n = len(self.fold.train)
        changed = self.values + self.people[:, None] * (np.float32(size) * self.shift)
        sd = np.maximum(changed[:n].std(axis=0, ddof=1), np.float32(self.fold.floor))
        after = (changed - changed[:n].mean(axis=0)) / sd
        more = (after - self.before).T
        means = {name: self.fold.base[name] + np.asarray(share @ more).T for name, share in self.shares.items()}
        return {GRAM: self.others + after @ after[:n].T, **means}

    def _shares(self, labels: NDArray[np.int_]) -> sparse.csr_array:
        """Return the weight of each shifted voxel in the mean of its group: (groups, shifted voxels)."""
        groups, size = labels[self.where], np.bincount(labels[labels >= 0])
        inside = np.flatnonzero(groups >= 0)
        share = (1 / size[groups[inside]]).astype(np.float32)
        return sparse.csr_array((share, (groups[inside], inside)), shape=(len(size), len(groups)))


def unit_shift(
    everyone: Samples,
    name: str,
    volume: NDArray[np.bool_],
    grid: Grid,
    columns: Sequence[str],
    smoothing_mm: float,
) -> tuple[NDArray[np.float32], float]:
    """Return the shift of each voxel (voxels,) that lowers the mean over a volume (X, Y, Z) by 1 SD, smoothed as the
    map is, and its size in % of the map's mean there (NaN for maps with negative values).

    The SD is over all samples after regressing out `columns`.
    """
    inside = grid.vector(volume)
    blurred = arrays.scale_and_smooth(volume.astype(np.float32), grid, smoothing_mm, "raw", name)
    means = everyone.values[name][:, inside].mean(axis=1, dtype=np.float64)
    whole = np.column_stack([np.ones(len(means)), everyone.design(columns)])
    rest = means - whole @ np.linalg.lstsq(whole, means, rcond=None)[0]
    sd = np.sqrt(np.square(rest).sum() / (len(means) - np.linalg.matrix_rank(whole)))
    signed = bool((everyone.values[name][0] < 0).any())
    return -sd / blurred[inside].mean() * blurred, float("nan") if signed else 100 * sd / means.mean()


def score_simulated_studies(
    everyone: Samples,
    name: str,
    splits: Sequence[Mapping[str, Any]],
    classifiers: Sequence[str],
    labellings: NDArray[np.bool_],
    shifts: Sequence[Sequence[NDArray[np.float32]]],
    sizes: Sequence[Sequence[float]],
    *,
    people: Sequence[str],
    columns: Sequence[str],
    keep: tuple[str, ...] | None,
    grid: Grid,
) -> Floats:
    """Return the out-of-fold balanced accuracy (studies, patterns, sizes, classifiers) of linear classifiers.

    labellings (studies, rows): which samples are shifted, by `sizes` (patterns, sizes) times `shifts` (studies,
    patterns), each (voxels,). people: the participant of each row, over whose rows decisions are averaged.
    """
    parts = [catalogue.load("classifiers", classifier) for classifier in classifiers]
    sets = tuple(dict.fromkeys(group_set for part in parts for group_set in getattr(part, "SETS", ())))
    names, participant = np.unique(np.asarray(people), return_inverse=True)
    decided = np.zeros((len(labellings), len(sizes), len(sizes[0]), len(parts), len(names)))
    true = np.full((len(labellings), len(names)), -1)
    for split in splits:
        fold = SimulatedFold(everyone, Split(**split), name, columns=columns, keep=keep, grid=grid, sets=sets)
        for study, labels in enumerate(labellings):
            true[study, participant[fold.test]] = labels[fold.test]
            for pattern, shift in enumerate(shifts[study]):
                difference = fold.planted(labels, shift)
                for size, d in enumerate(sizes[pattern]):
                    products = difference.products(d)
                    for at, part in enumerate(parts):
                        decisions = part.decision_function(products, labels[fold.train].astype(int)[None])[0]
                        np.add.at(
                            decided[study, pattern, size, at], participant[fold.test], decisions[:, 1] - decisions[:, 0]
                        )
    right = (decided > 0) == (true == 1)[:, None, None, None]
    shares = [np.where((true == label)[:, None, None, None], right, np.nan) for label in (0, 1)]
    accuracy: Floats = np.mean([np.nanmean(share, axis=-1) for share in shares], axis=0)
    return accuracy
