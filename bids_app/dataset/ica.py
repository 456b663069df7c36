"""Group ICA of the training samples' series, matching of components to networks, and dual regression."""

import warnings
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.exceptions import ConvergenceWarning

from bids_app.dataset.grid import Grid
from bids_app.errors import DataError
from bids_app.maps import ica

FWHM_MM = 6.0  # of the series, for the fit alone
N_INIT = 10
MIN_R = 0.3  # below it a component does not count as its network

Series = NDArray[np.float32]
Arrays = Mapping[str, NDArray[np.generic]]


class _LazyImages(Sequence[object]):
    """Series (voxels, time) as images, each made on access, so that one is in memory at a time."""

    def __init__(self, series: Sequence[Series], grid: Grid) -> None:
        self.series, self.grid = series, grid

    def __len__(self) -> int:
        return len(self.series)

    def __getitem__(self, index: int) -> object:  # type: ignore[override] # slices are not used
        from nibabel.nifti1 import Nifti1Image

        values = self.series[index]
        volumes = np.zeros((*self.grid.mask.shape, values.shape[1]), np.float32)
        volumes[self.grid.mask] = values
        return Nifti1Image(volumes, self.grid.affine)

    def __iter__(self) -> Iterator[object]:
        return (self[index] for index in range(len(self)))


def fit(
    series: Sequence[Series], references: NDArray[np.float32], grid: Grid, *, components: int, seed: int
) -> dict[str, NDArray[np.generic]]:
    """Fit CanICA to the training samples' series, and match a component to each reference network.

    `series`: (voxels, time) of each run, in the mask of `grid`; they are smoothed and standardised by voxel.
    `references` (voxels, n). Returns `components` (k, voxels), not thresholded, with the sign of their network; for
    each network, (n,): its `component`, from 0, their correlation `r`, above 0, and the `sign` that the component was
    multiplied by; and `unconverged`: how many of ten initialisations did not converge (CanICA takes the sparsest).
    Raises as `match_networks`. Varoquaux et al. 2010, NeuroImage 51:288.
    """
    from nibabel.nifti1 import Nifti1Image
    from nilearn.decomposition import CanICA

    model = CanICA(
        n_components=components,
        mask=Nifti1Image(grid.mask.astype(np.uint8), grid.affine),
        smoothing_fwhm=FWHM_MM,
        threshold=None,
        n_init=N_INIT,
        standardize="zscore_sample",
        random_state=seed,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(_LazyImages(series, grid))
    for warning in caught:
        if not issubclass(warning.category, ConvergenceWarning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    maps = np.asarray(model.components_, np.float32)
    component, r = match_networks(maps, references)
    sign = np.where(r < 0, -1, 1).astype(np.int8)
    maps[component] *= sign[:, None]
    unconverged = sum(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    return {
        "components": maps,
        "component": component,
        "r": np.abs(r),
        "sign": sign,
        "unconverged": np.array(unconverged),
    }


def match_networks(
    components: NDArray[np.float32], references: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the component (n,) of each network, all different, maximising the sum of |r|; and the signed r (n,).

    `components` (k, voxels), `references` (voxels, n); r is Pearson's, over voxels. Raises DataError for more networks
    than components, or for a map that is flat.
    """
    k, n = len(components), references.shape[1]
    if n > k:
        raise DataError(
            f"--network-templates has {n} networks and --ica-components is {k}: use more components or fewer networks"
        )
    standard = [x - x.mean(axis=1, keepdims=True) for x in (components.astype(float), references.T.astype(float))]
    sizes = [np.linalg.norm(x, axis=1, keepdims=True) for x in standard]
    if not all((size > 0).all() for size in sizes):
        raise DataError("--network-templates has a map that is constant or not a number in the brain; remove it")
    r = (standard[1] / sizes[1]) @ (standard[0] / sizes[0]).T
    _, component = linear_sum_assignment(-np.abs(r))
    return component.astype(np.int64), r[np.arange(n), component]


def transform(series: Series, arrays: Arrays) -> NDArray[np.float32]:
    """Return the networks' maps (n, voxels) of one run: dual regression on all k components, of which n are networks.

    `series` (voxels, time) on the voxels of the components; `arrays`: those of `fit`. Raises DataError as
    `networks.compute`.
    """
    names = tuple(f"C{number:03d}" for number in range(len(arrays["components"])))
    maps = np.ascontiguousarray(np.asarray(arrays["components"], np.float32).T)
    betas = ica.compute(series, network_maps=maps, network_names=names)
    return np.stack([betas[f"beta_{names[int(index)]}"] for index in np.atleast_1d(arrays["component"])])


def select_network(arrays: Arrays, number: int) -> dict[str, NDArray[np.generic]]:
    """Return what a model of one network needs of `fit`'s arrays: all components, and its `component`, `r`, `sign`."""
    network = {name: np.asarray(arrays[name])[[number]] for name in ("component", "r", "sign")}
    return {"components": np.asarray(arrays["components"]), **network}
