"""Removes what covariates such as brain size explain of every voxel; fitted on training people only."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bids_app.errors import DataError

CONSTANT_TOLERANCE = 1e-9  # a covariate whose SD is this part of its mean, or less, does not vary


def fit(x: NDArray[np.float32], covariates: NDArray[np.float64]) -> dict[str, NDArray[np.generic]]:
    """Least squares of each voxel on an intercept and the covariates.

    x (people, voxels), training people only; covariates (people, k). Returns `mean` (k,), `kept` (k,) and `slope` (k,
    voxels), in units of x per unit of the covariate; a constant covariate is dropped: its `kept` is false, its slope
    zero. Memory: (k, voxels) in float64; x is read a person at a time.
    Raises DataError for a value that is not finite, or for as many covariates as people.
    """
    if not np.isfinite(covariates).all():
        raise DataError(
            "a column to be adjusted for has missing values; --exclude those people or do not adjust for it"
        )
    mean, spread = covariates.mean(axis=0), covariates.std(axis=0)
    varies = spread > CONSTANT_TOLERANCE * np.maximum(np.abs(mean), 1e-12)
    if varies.sum() + 2 > len(covariates):
        raise DataError(f"{varies.sum()} columns to be adjusted for are too many for {len(covariates)} training people")
    solver = np.zeros((len(mean), len(covariates)))
    if varies.any():
        standard = (covariates[:, varies] - mean[varies]) / spread[varies]
        # centred columns are orthogonal to the intercept, so x need not be centred
        solver[varies] = np.linalg.pinv(standard) / spread[varies, None]
    slope = np.zeros((len(mean), x.shape[1]))
    for person, values in enumerate(x):
        slope += solver[:, person, None] * values
    return {"mean": mean, "kept": varies, "slope": slope.astype(np.float32)}


def transform(
    x: NDArray[np.float32], covariates: NDArray[np.float64], arrays: Mapping[str, NDArray[np.generic]]
) -> NDArray[np.float32]:
    """x (people, voxels) as it would be at the training people's mean covariates.

    Raises DataError for a covariate that is not finite.
    """
    away = (covariates - np.asarray(arrays["mean"], float)).astype(np.float32)
    if not np.isfinite(away[:, arrays["kept"].astype(bool)]).all():
        raise DataError("a person lacks the value of a column that is adjusted for")
    adjusted = np.array(x, dtype=np.float32)
    for column in np.flatnonzero(arrays["kept"]):
        # column by column, without a matrix product: a person's numbers must not depend on who else is in x
        adjusted -= away[:, column, None] * arrays["slope"][column]
    return adjusted
