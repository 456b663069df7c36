"""Regresses covariates such as brain size out of every voxel; fitted on training samples only."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bids_app.errors import DataError

CONSTANT_TOLERANCE = 1e-9  # a covariate whose SD is this part of its mean, or less, does not vary


def fit(x: NDArray[np.float32], covariates: NDArray[np.float64]) -> dict[str, NDArray[np.generic]]:
    """Fit each voxel by least squares on an intercept and the covariates.

    x (samples, voxels), training samples only; covariates (samples, k). Returns `mean` (k,), `kept` (k,) and `slope`
    (k, voxels), in units of x per unit of the covariate; a constant covariate has `kept` false and slope zero. Memory:
    (k, voxels) in float64; x is read one sample at a time.
    Raises DataError for a value that is not finite, or for as many covariates as samples.
    """
    if not np.isfinite(covariates).all():
        raise DataError("a covariate has missing values; --exclude those participants or do not adjust for it")
    mean, spread = covariates.mean(axis=0), covariates.std(axis=0)
    varies = spread > CONSTANT_TOLERANCE * np.maximum(np.abs(mean), 1e-12)
    if varies.sum() + 2 > len(covariates):
        raise DataError(f"{varies.sum()} covariates are too many for {len(covariates)} training participants")
    solver = np.zeros((len(mean), len(covariates)))
    if varies.any():
        standard = (covariates[:, varies] - mean[varies]) / spread[varies]
        # centred columns are orthogonal to the intercept, so x need not be centred
        solver[varies] = np.linalg.pinv(standard) / spread[varies, None]
    slope = np.zeros((len(mean), x.shape[1]))
    for sample, values in enumerate(x):
        slope += solver[:, sample, None] * values
    return {"mean": mean, "kept": varies, "slope": slope.astype(np.float32)}


def transform(
    x: NDArray[np.float32], covariates: NDArray[np.float64], arrays: Mapping[str, NDArray[np.generic]]
) -> NDArray[np.float32]:
    """Return x (samples, voxels) adjusted to the mean covariates of the training samples.

    Raises DataError for a covariate that is not finite.
    """
    away = (covariates - np.asarray(arrays["mean"], float)).astype(np.float32)
    if not np.isfinite(away[:, arrays["kept"].astype(bool)]).all():
        raise DataError("a participant has no value of a covariate")
    adjusted = np.array(x, dtype=np.float32)
    for column in np.flatnonzero(arrays["kept"]):
        # column by column, without a matrix product, whose rounding would depend on the other samples in x
        adjusted -= away[:, column, None] * arrays["slope"][column]
    return adjusted
