"""ComBat: removes what a site shifts and stretches in every voxel; fitted on training people only.

Johnson, Li & Rabinovic 2007, Biostatistics 8:118, parametric empirical Bayes; Fortin et al. 2018, NeuroImage 167:104.
Where the papers are silent (divisors, weights, when to stop) it does as neuroCombat, Fortin's own package, does.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bids_app.dataset.adjust import CONSTANT_TOLERANCE
from bids_app.errors import DataError

MIN_SITE_PEOPLE = 2  # training people without whom a site's variance is unknown
VALUES_AT_ONCE = 2**21  # of x are in float64 at a time, 16 MiB
TOLERANCE = 1e-4  # relative change at which the estimates are taken
MAX_ITER = 1000

Floats = NDArray[np.float64]


def fit(x: NDArray[np.float32], sites: NDArray[np.integer], keep: Floats) -> dict[str, NDArray[np.generic]]:
    """Each site's shift and scale, shrunk towards those of all voxels, beside what the kept covariates explain.

    x (people, voxels), training people only; sites (people,), the caller's integer codes, the same for whoever is
    harmonised later; keep (people, k), covariates whose effect stays in x, k may be 0: a category as k - 1 dummies, and
    never the label. Returns `sites` (n,), the codes of the sites that are harmonised; `shift` (n, voxels), in units of
    x, and `scale` (n, voxels); `grand` (voxels,), the mean over sites by their size at the mean covariates; `mean`
    (k,); `slope` (k, voxels). A site of one training person takes no part; with fewer than two others, or than two
    voxels that vary, none is harmonised. A voxel that does not vary within the sites has shift 0 and scale 1. Memory:
    (2 n + k, voxels) in float64; x is read in blocks of voxels.
    Raises DataError for a covariate that is not finite, for as many columns (sites and covariates) as people, for
    covariates that cannot be told apart from the sites or from each other, or for estimates that do not settle.
    """
    _check_finite(keep)
    codes, counts = np.unique(sites, return_counts=True)
    codes, counts = codes[counts >= MIN_SITE_PEOPLE], counts[counts >= MIN_SITE_PEOPLE]
    members = np.isin(sites, codes)
    if len(codes) < 2:
        return _identity(x.shape[1], keep.shape[1])
    mean, spread = keep[members].mean(axis=0), keep[members].std(axis=0)
    varies = spread > CONSTANT_TOLERANCE * np.maximum(np.abs(mean), 1e-12)
    design = np.column_stack([sites[members, None] == codes, (keep[members] - mean)[:, varies] / spread[varies]])
    coefficients, squares = _least_squares(x, members, design, len(codes))

    level = coefficients[: len(codes)]
    grand = counts @ level / counts.sum()
    sd = np.sqrt(squares.sum(axis=0) / counts.sum())  # divided by all people, as neuroCombat does
    used = sd > CONSTANT_TOLERANCE * np.abs(grand)
    if used.sum() < 2:
        return _identity(x.shape[1], keep.shape[1])
    shift, scale = np.zeros(level.shape, np.float32), np.ones(level.shape, np.float32)
    for site, count in enumerate(counts):
        gamma, delta = _posterior(
            (level[site, used] - grand[used]) / sd[used], squares[site, used] / sd[used] ** 2, int(count)
        )
        shift[site, used], scale[site, used] = gamma * sd[used], np.sqrt(delta)
    slope = np.zeros((keep.shape[1], x.shape[1]), np.float32)
    slope[varies] = coefficients[len(codes) :] / spread[varies, None]
    return {
        "sites": codes.astype(np.int64),
        "shift": shift,
        "scale": scale,
        "grand": grand.astype(np.float32),
        "mean": mean,
        "slope": slope,
    }


def transform(
    x: NDArray[np.float32], sites: NDArray[np.integer], keep: Floats, arrays: Mapping[str, NDArray[np.generic]]
) -> NDArray[np.float32]:
    """x (people, voxels) with each person's site taken out; at a site that was not harmonised it stays as it is.

    sites (people,), in the codes of the fit; keep (people, k), its covariates.
    Raises DataError for a covariate that is not finite.
    """
    _check_finite(keep)
    grand, slope = np.asarray(arrays["grand"], float), np.asarray(arrays["slope"], float)
    away = keep - np.asarray(arrays["mean"], float)
    moved = np.array(x, dtype=np.float32)
    for person, values in enumerate(x):
        # person by person, without a matrix product: a person's numbers must not depend on who else is in x
        for row in np.flatnonzero(arrays["sites"] == sites[person]):  # one or none
            rest = values - grand
            for column, distance in enumerate(away[person]):
                rest -= distance * slope[column]
            # as a difference, so that shift 0 and scale 1 leave a value as it is to the last bit
            moved[person] += (rest - arrays["shift"][row]) / arrays["scale"][row] - rest
    return moved


def is_harmonised(sites: NDArray[np.integer], arrays: Mapping[str, NDArray[np.generic]]) -> NDArray[np.bool_]:
    """Whether `transform` harmonises each person, by site code (people,); the others' values it leaves as they are."""
    return np.isin(sites, arrays["sites"])


def _check_finite(keep: Floats) -> None:
    if not np.isfinite(keep).all():
        raise DataError("a column to be kept by ComBat has missing values; --exclude those people or do not keep it")


def _identity(voxels: int, columns: int) -> dict[str, NDArray[np.generic]]:
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
    """The coefficients (columns, voxels) of the members of x on design, and each site's squared residuals, summed."""
    people, columns = design.shape
    if columns >= people:
        raise DataError(f"{columns} sites and columns to be kept are too many for ComBat on {people} training people")
    if np.linalg.matrix_rank(design) < columns:
        raise DataError("columns to be kept by ComBat cannot be told apart from the sites or each other; keep fewer")
    solver = np.linalg.pinv(design)
    coefficients, squares = np.empty((columns, x.shape[1])), np.empty((sites, x.shape[1]))
    step = max(VALUES_AT_ONCE // people, 1)
    for start in range(0, x.shape[1], step):
        block = slice(start, start + step)
        values = x[:, block][members].astype(float)
        coefficients[:, block] = solver @ values
        values -= design @ coefficients[:, block]
        squares[:, block] = design[:, :sites].T @ np.square(values, out=values)
    return coefficients, squares


def _posterior(mean: Floats, squares: Floats, people: int) -> tuple[Floats, Floats]:
    """The posterior means of one site's shift and variance, standardised, at every voxel: gamma and delta.

    mean and squares (voxels,): of the site's people, in pooled SDs, the mean and the squared distances from it, summed.
    The priors, normal and inverse gamma, have the moments of all voxels.
    """
    variance = squares / (people - 1)
    variance[variance < CONSTANT_TOLERANCE**2] = 1.0  # where the site alone is constant: neuroCombat's way out
    centre, width = mean.mean(), mean.var(ddof=1)
    expected, spread = variance.mean(), variance.var(ddof=1)
    gamma, delta = mean, variance
    for _ in range(MAX_ITER):
        last = np.stack([gamma, delta])
        gamma = (people * width * mean + delta * centre) / (people * width + delta)
        errors = squares + people * (mean - gamma) ** 2
        # the inverse gamma's parameters times the variances' spread, so that a spread of 0 divides nothing
        delta = (spread * (errors / 2 + expected) + expected**3) / (spread * (people / 2 + 1) + expected**2)
        if (np.abs(np.stack([gamma, delta]) - last) <= TOLERANCE * np.abs(last)).all():
            return gamma, delta
    raise DataError(
        "ComBat did not settle; harmonise without it, or look for people whose maps are far from all others"
    )
