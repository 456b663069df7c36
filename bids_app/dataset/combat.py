"""ComBat: removes the shift and scale of each site in every voxel; fitted on training samples only.

Johnson, Li & Rabinovic 2007, Biostatistics 8:118, parametric empirical Bayes; Fortin et al. 2018, NeuroImage 167:104.
Where the papers are silent (divisors, weights, convergence) it follows neuroCombat, Fortin's own package.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bids_app.dataset.adjust import CONSTANT_TOLERANCE
from bids_app.errors import DataError

MIN_SITE_PEOPLE = 2  # training samples that a site's variance takes
VALUES_AT_ONCE = 2**21  # of x in float64, 16 MiB
TOLERANCE = 1e-4  # relative change at convergence
MAX_ITER = 1000

Floats = NDArray[np.float64]


def fit(x: NDArray[np.float32], sites: NDArray[np.integer], keep: Floats) -> dict[str, NDArray[np.generic]]:
    """Estimate each site's shift and scale, shrunk towards those of all voxels, given the preserved covariates.

    x (samples, voxels), training samples only; sites (samples,), integer codes, the same for samples harmonised later;
    keep (samples, k), covariates whose effect is preserved, k may be 0: a category as k - 1 dummies, and never the
    label. Returns `sites` (n,), the codes of the harmonised sites; `shift` (n, voxels), in units of x, and `scale` (n,
    voxels); `grand` (voxels,), the mean over sites weighted by size at the mean covariates; `mean` (k,); `slope` (k,
    voxels). Sites with one training sample are left out; with fewer than two other sites, or two voxels that vary,
    nothing is harmonised. A voxel that is constant within sites has shift 0 and scale 1. Memory: (2 n + k, voxels) in
    float64; x is read in blocks of voxels.
    Raises DataError for a covariate that is not finite, for as many columns (sites and covariates) as samples, for
    covariates collinear with the sites or each other, or without convergence.
    """
    _check_finite(keep)
    codes, counts = np.unique(sites, return_counts=True)
    codes, counts = codes[counts >= MIN_SITE_PEOPLE], counts[counts >= MIN_SITE_PEOPLE]
    members = np.isin(sites, codes)
    if len(codes) < 2:
        return identity(x.shape[1], keep.shape[1])
    mean, spread = keep[members].mean(axis=0), keep[members].std(axis=0)
    varies = spread > CONSTANT_TOLERANCE * np.maximum(np.abs(mean), 1e-12)
    design = np.column_stack([sites[members, None] == codes, (keep[members] - mean)[:, varies] / spread[varies]])
    coefficients, squares = _least_squares(x, members, design, len(codes))
    slope = np.zeros((keep.shape[1], x.shape[1]))
    slope[varies] = coefficients[len(codes) :] / spread[varies, None]
    return shrink_sites(coefficients[: len(codes)], squares, codes=codes, counts=counts, mean=mean, slope=slope)


def shrink_sites(
    level: Floats,
    squares: Floats,
    *,
    codes: NDArray[np.integer],
    counts: NDArray[np.integer],
    mean: Floats,
    slope: Floats,
) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of `fit`, given each site's level and residual sum of squares (n, voxels) by least squares.

    codes, counts (n,): code and number of samples of each site; mean (k,), slope (k, voxels) of the covariates.
    Raises DataError without convergence.
    """
    grand = counts @ level / counts.sum()
    sd = np.sqrt(squares.sum(axis=0) / counts.sum())  # divided by the number of samples, as in neuroCombat
    used = sd > CONSTANT_TOLERANCE * np.abs(grand)
    if used.sum() < 2:
        return identity(level.shape[1], len(mean))
    shift, scale = np.zeros(level.shape, np.float32), np.ones(level.shape, np.float32)
    for site, count in enumerate(counts):
        gamma, delta = _posterior(
            (level[site, used] - grand[used]) / sd[used], squares[site, used] / sd[used] ** 2, int(count)
        )
        shift[site, used], scale[site, used] = gamma * sd[used], np.sqrt(delta)
    return {
        "sites": codes.astype(np.int64),
        "shift": shift,
        "scale": scale,
        "grand": grand.astype(np.float32),
        "mean": mean,
        "slope": slope.astype(np.float32),
    }


def transform(
    x: NDArray[np.float32], sites: NDArray[np.integer], keep: Floats, arrays: Mapping[str, NDArray[np.generic]]
) -> NDArray[np.float32]:
    """Return x (samples, voxels) with site effects removed; samples of sites that were not fitted are unchanged.

    sites (samples,), codes as in `fit`; keep (samples, k), its covariates.
    Raises DataError for a covariate that is not finite.
    """
    _check_finite(keep)
    grand, slope = np.asarray(arrays["grand"], float), np.asarray(arrays["slope"], float)
    away = keep - np.asarray(arrays["mean"], float)
    moved = np.array(x, dtype=np.float32)
    for sample, values in enumerate(x):
        # sample by sample, without a matrix product, whose rounding would depend on the other samples in x
        for row in np.flatnonzero(arrays["sites"] == sites[sample]):  # one or none
            rest = values - grand
            for column, distance in enumerate(away[sample]):
                rest -= distance * slope[column]
            # as a difference, so that shift 0 and scale 1 leave a value unchanged to the last bit
            moved[sample] += (rest - arrays["shift"][row]) / arrays["scale"][row] - rest
    return moved


def is_harmonised(sites: NDArray[np.integer], arrays: Mapping[str, NDArray[np.generic]]) -> NDArray[np.bool_]:
    """Return whether `transform` harmonises each sample, by site code (samples,); others stay unchanged."""
    return np.isin(sites, arrays["sites"])


def _check_finite(keep: Floats) -> None:
    if not np.isfinite(keep).all():
        raise DataError("a covariate of --combat-covariates has missing values; --exclude participants or drop it")


def identity(voxels: int, columns: int) -> dict[str, NDArray[np.generic]]:
    """Return arrays of `fit` with which `transform` changes nothing."""
    none = np.zeros((0, voxels), np.float32)
    return {
        "sites": np.zeros(0, np.int64),
        "shift": none,
        "scale": none,
        "grand": np.zeros(voxels, np.float32),
        "mean": np.zeros(columns),
        "slope": np.zeros((columns, voxels), np.float32),
    }


def _least_squares(
    x: NDArray[np.float32], members: NDArray[np.bool_], design: Floats, sites: int
) -> tuple[Floats, Floats]:
    """Return the coefficients (columns, voxels) of the members of x on design, and the residual squares per site."""
    samples, columns = design.shape
    if columns >= samples:
        raise DataError(f"{columns} sites and covariates are too many for ComBat on {samples} training participants")
    if np.linalg.matrix_rank(design) < columns:
        raise DataError("covariates of --combat-covariates are collinear with the sites or each other; keep fewer")
    solver = np.linalg.pinv(design)
    coefficients, squares = np.empty((columns, x.shape[1])), np.empty((sites, x.shape[1]))
    step = max(VALUES_AT_ONCE // samples, 1)
    for start in range(0, x.shape[1], step):
        block = slice(start, start + step)
        values = x[:, block][members].astype(float)
        coefficients[:, block] = solver @ values
        values -= design @ coefficients[:, block]
        squares[:, block] = design[:, :sites].T @ np.square(values, out=values)
    return coefficients, squares


def _posterior(mean: Floats, squares: Floats, people: int) -> tuple[Floats, Floats]:
    """Return the posterior means of one site's standardised shift and variance at every voxel: gamma and delta.

    mean and squares (voxels,): the mean of the site's samples and their sum of squares around it, in pooled SDs. The
    priors, normal and inverse gamma, have the moments over voxels.
    """
    variance = squares / (people - 1)
    variance[variance < CONSTANT_TOLERANCE**2] = 1.0  # constant in this site alone: as in neuroCombat
    centre, width = mean.mean(), mean.var(ddof=1)
    expected, spread = variance.mean(), variance.var(ddof=1)
    gamma, delta = mean, variance
    for _ in range(MAX_ITER):
        last = np.stack([gamma, delta])
        gamma = (people * width * mean + delta * centre) / (people * width + delta)
        errors = squares + people * (mean - gamma) ** 2
        # the parameters of the inverse gamma times the variance of variances, so that a variance of 0 divides nothing
        delta = (spread * (errors / 2 + expected) + expected**3) / (spread * (people / 2 + 1) + expected**2)
        if (np.abs(np.stack([gamma, delta]) - last) <= TOLERANCE * np.abs(last)).all():
            return gamma, delta
    raise DataError("ComBat did not converge; run without it, or look for participants whose maps are outliers")
