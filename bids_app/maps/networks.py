"""Network maps by dual regression: each voxel's coefficient of each network's time course, as beta and as Z.

Stage 1: all network maps, demeaned, are regressed on each volume, which gives one time course per network. Stage 2: the
time courses, demeaned and of variance 1, are regressed on each voxel's series (Beckmann et al. 2009; Nickerson et al.
2017).
"""

import numpy as np
from numpy.typing import NDArray
from scipy import special

from bids_app.errors import DataError
from bids_app.maps._series import check_series

INPUT = "filtered"
UNIT = "beta: unit of the BOLD signal per SD of the network's time course; z: Z"
ENTITIES = {"stat": "{stat}", "desc": "{name}"}
SUFFIX = "boldmap"
REGISTRATION = "nonlinear"
ANALYSIS_MASK = "brain"
SCALING = "raw"
SMOOTHING_MM = 6.0
ADJUST_FOR = ()
ATLASES = ("aal", "harvard_oxford")
CONDITION = 1e5  # of the standardised maps: above it their time courses are rounding errors
EXACT_BELOW = 50  # degrees of freedom above which Hill's approximation has an error below 1e-5
CHUNK = 1024

Array = NDArray[np.float32]


def compute(series: Array, *, network_maps: Array, network_names: tuple[str, ...]) -> dict[str, Array]:
    """Betas and Z of stage 2, `beta_NAME` and `z_NAME`, each (voxels,); 0 where the series is constant.

    `series` (voxels, time): band-passed, without censored volumes. `network_maps` (voxels, k) on the same voxels, in
    any unit, with k `network_names`. Z has the p-value of Student's t with N - k - 1 degrees of freedom. Raises
    DataError for maps of another size, flat or collinear ones (named), too few volumes for k networks, or no voxels.
    Beckmann et al. 2009, NeuroImage 47:S148; Nickerson et al. 2017, Front Neurosci 11:115.
    """
    check_series(series)
    if network_maps.shape != (len(series), len(network_names)):
        raise DataError(
            f"network maps have {network_maps.shape} voxels and networks, for {len(series)} voxels and "
            f"{len(network_names)} names: --network-templates is not on the grid of the BOLD image"
        )
    freedom = series.shape[1] - len(network_names) - 1
    if freedom < 1:
        raise DataError(
            f"{series.shape[1]} volumes are too few for {len(network_names)} networks: {len(network_names) + 2} "
            "are required; use fewer maps in --network-templates or raise --fd-threshold"
        )
    courses = _courses(series, *_orthogonal(network_maps, network_names))
    betas, z = _regressed(series, courses, freedom)
    named = [(f"beta_{name}", values) for name, values in zip(network_names, betas, strict=True)]
    return dict(named + [(f"z_{name}", values) for name, values in zip(network_names, z, strict=True)])


def _orthogonal(maps: Array, names: tuple[str, ...]) -> tuple[Array, NDArray[np.float64]]:
    """Orthonormal columns that span the demeaned maps (voxels, k), and their coefficients on the maps (k, k)."""
    centred = maps - maps.mean(axis=0, dtype=np.float64)
    products = centred.T @ centred
    lengths = np.sqrt(np.diag(products))
    flat = [name for name, length in zip(names, lengths, strict=True) if not length > 0]
    if flat:
        raise DataError(f"--network-templates: {', '.join(flat)} is constant or not a number in the brain; remove it")
    correlations = products / np.outer(lengths, lengths)
    values, vectors = np.linalg.eigh(correlations)
    if values[-1] > CONDITION**2 * values[0]:
        first, second = np.unravel_index(np.abs(np.triu(correlations, 1)).argmax(), correlations.shape)
        raise DataError(
            f"--network-templates are collinear: the most similar are {names[first]} and {names[second]} (r = "
            f"{correlations[first, second]:.6f}); remove one of them"
        )
    back = vectors / np.sqrt(values) / lengths[:, None]
    return (centred @ back).astype(np.float32), back


def _courses(series: Array, columns: Array, back: NDArray[np.float64]) -> NDArray[np.float64]:
    """Stage 1: the networks' time courses (time, k), mean 0 and variance 1; one that does not vary stays at 0."""
    weights = np.zeros((columns.shape[1], series.shape[1]))
    for start in range(0, len(series), CHUNK):
        part = series[start : start + CHUNK]
        # a constant per voxel shifts the time courses by a constant: subtracted, as large means would cost precision
        weights += columns[start : start + CHUNK].T @ (part - part[:, :1])
    courses = (back @ weights).T
    courses -= courses.mean(axis=0)
    spread = courses.std(axis=0, ddof=1)
    standard: NDArray[np.float64] = np.divide(courses, spread, out=np.zeros_like(courses), where=spread > 0)
    return standard


def _regressed(series: Array, courses: NDArray[np.float64], freedom: int) -> tuple[Array, Array]:
    """Stage 2: betas and Z, both (k, voxels), of an ordinary least-squares fit with an intercept."""
    left, sizes, right = np.linalg.svd(courses, full_matrices=False)
    inverse = np.divide(1, sizes, out=np.zeros_like(sizes), where=sizes > 1e-6 * sizes[0])
    unmix = (inverse[:, None] * right).astype(np.float32)
    spread = np.sqrt(((inverse[:, None] * right) ** 2).sum(axis=0) / freedom).astype(np.float32)
    intercept = np.full((len(courses), 1), len(courses) ** -0.5)
    basis = np.hstack([left * (inverse > 0), intercept]).astype(np.float32)
    betas, z = (np.empty((courses.shape[1], len(series)), np.float32) for _ in range(2))
    for start in range(0, len(series), CHUNK):
        part = slice(start, start + CHUNK)
        residual = series[part] - series[part, :1]
        weights = residual @ basis
        residual -= weights @ basis.T
        error = np.sqrt(np.einsum("vt,vt->v", residual, residual))[:, None] * spread
        coefficients = weights[:, :-1] @ unmix
        betas[:, part] = coefficients.T
        z[:, part] = t_to_z(np.divide(coefficients, error, out=np.zeros_like(coefficients), where=error > 0), freedom).T
    return betas, z


def t_to_z(t: Array, freedom: int) -> Array:
    """The normal deviate with the tail probability of Student's t; for small tails Hill 1970, Commun ACM 13:617."""
    a, b = freedom - 0.5, 48 * (freedom - 0.5) ** 2
    y = a * np.log1p(np.square(t) / freedom)
    more = y + 3 + (((-0.4 * y - 3.3) * y - 24) * y - 85.5) / ((0.8 * y + 100) * y + b)
    z = np.copysign(np.sqrt(y) * (1 + more / b), t)
    if freedom < EXACT_BELOW:
        tail = special.stdtr(freedom, -np.abs(t.astype(np.float64)))
        known = tail > 1e-300
        z[known] = np.copysign(special.ndtri(tail[known]), t[known])
    return z.astype(np.float32)
