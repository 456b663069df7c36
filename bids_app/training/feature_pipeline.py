"""From in-mask values to a classifier's features: harmonised, adjusted for covariates, scaled; one channel per map."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bids_app.dataset import adjust, combat, scale
from bids_app.dataset.grid import Grid
from bids_app.errors import DataError

SITE_COLUMN = "site_number"
FITTED_STEP = "fitted"  # a step before these: the arrays that a map is computed with, stored for new participants


@dataclass(frozen=True, eq=False)
class Samples:
    """Values in the mask (samples, voxels) by map, and covariates (samples,) by name.

    `fitted`: by map, the arrays it was computed with, where these were fitted on the training samples of the fold.
    """

    values: Mapping[str, NDArray[np.float32]]
    covariates: Mapping[str, NDArray[np.float64]]
    fitted: Mapping[str, Mapping[str, NDArray[np.generic]]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.values.values())))

    def select(self, rows: Sequence[int] | slice) -> "Samples":
        """Return some of the samples; a list of rows makes a copy in memory."""
        index = rows if isinstance(rows, slice) else list(rows)
        return Samples(
            {map_name: np.asarray(x[index]) for map_name, x in self.values.items()},
            {name: column[index] for name, column in self.covariates.items()},
            self.fitted,
        )

    def design(self, columns: Sequence[str]) -> NDArray[np.float64]:
        """Return the covariates (samples, k)."""
        return np.array([self.covariates[name] for name in columns], float).reshape(len(columns), len(self)).T

    @property
    def sites(self) -> NDArray[np.int64]:
        """The site number of each sample, (samples,)."""
        return self.covariates[SITE_COLUMN].astype(np.int64)


@dataclass(frozen=True, eq=False)
class FeaturePipeline:
    """Steps fitted on training samples: arrays "<step>.<map>.<name>"; `columns`: the covariates regressed out, by map.

    `keep`: the covariates that ComBat preserves while it removes SITE_COLUMN; None: no ComBat.
    """

    maps: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]]
    grid: Grid
    arrays: Mapping[str, NDArray[np.generic]]
    keep: tuple[str, ...] | None = None

    def transform(self, samples: Samples) -> NDArray[np.float32]:
        """Return the features (samples, channels * voxels), channel after channel.

        A sample's features do not depend on the other samples. Raises DataError for a missing covariate or map.
        """
        _check_columns(samples, self.maps, self.columns, self.keep)
        voxels = self.grid.voxels
        prepared = np.empty((len(samples), len(self.maps) * voxels), np.float32)
        for channel, map_name in enumerate(self.maps):
            part = prepared[:, channel * voxels : (channel + 1) * voxels]
            part[:] = scale.transform(self.adjust_map(samples, map_name), self.step_arrays("scale", map_name))
        return prepared

    def adjust_map(self, samples: Samples, map_name: str) -> NDArray[np.float32]:
        """Return one map (samples, voxels), harmonised and adjusted for covariates, not scaled."""
        x = samples.values[map_name]
        if self.keep is not None:
            x = combat.transform(x, samples.sites, samples.design(self.keep), self.step_arrays("combat", map_name))
        if self.columns[map_name]:
            x = adjust.transform(x, samples.design(self.columns[map_name]), self.step_arrays("adjust", map_name))
        return x

    def distances(self, samples: Samples) -> NDArray[np.float64]:
        """Return the distance of each sample from the training samples: the mean squared z over voxels, (samples,)."""
        rows = [self.transform(samples.select(slice(row, row + 1))) for row in range(len(samples))]
        return np.array([np.square(features, dtype=np.float64).mean() for features in rows])

    def to_volumes(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return features of `transform` as (samples, channels, X, Y, Z) on the grid `seen`, zero outside the mask."""
        mask = self.grid.seen.mask
        volumes = np.zeros((len(vectors), len(self.maps), *mask.shape), np.float32)
        # image by image: indexing all at once takes numpy seven times as long
        for image, vector in zip(volumes.reshape(-1, *mask.shape), vectors.reshape(-1, self.grid.voxels), strict=True):
            image[mask] = vector
        return volumes

    def step_arrays(self, step: str, map_name: str) -> dict[str, NDArray[np.generic]]:
        """Return the arrays that a step fitted for a map, by name."""
        return arrays_of_step(self.arrays, step, map_name)


def fit_pipeline(
    samples: Samples,
    *,
    maps: tuple[str, ...],
    columns: Mapping[str, Sequence[str]],
    grid: Grid,
    keep: tuple[str, ...] | None = None,
) -> FeaturePipeline:
    """Fit ComBat (unless `keep` is None), covariate adjustment and scaling of each map on training samples, in order.

    Memory: a copy of one map's values.
    """
    adjust_columns = {map_name: tuple(columns.get(map_name, ())) for map_name in maps}
    _check_columns(samples, maps, adjust_columns, keep)
    arrays: dict[str, NDArray[np.generic]] = {}
    for map_name in maps:
        x = samples.values[map_name]
        if keep is not None:
            fitted = combat.fit(x, samples.sites, samples.design(keep))
            arrays |= {f"combat.{map_name}.{name}": array for name, array in fitted.items()}
            x = combat.transform(x, samples.sites, samples.design(keep), fitted)
        if adjust_columns[map_name]:
            fitted = adjust.fit(x, samples.design(adjust_columns[map_name]))
            arrays |= {f"adjust.{map_name}.{name}": array for name, array in fitted.items()}
            x = adjust.transform(x, samples.design(adjust_columns[map_name]), fitted)
        arrays |= {f"scale.{map_name}.{name}": array for name, array in scale.fit(x).items()}
        arrays |= {
            f"{FITTED_STEP}.{map_name}.{name}": array for name, array in samples.fitted.get(map_name, {}).items()
        }
    return FeaturePipeline(maps, adjust_columns, grid, arrays, keep)


def arrays_of_step(
    arrays: Mapping[str, NDArray[np.generic]], step: str, map_name: str
) -> dict[str, NDArray[np.generic]]:
    """Return those of a model's arrays that a step (FITTED_STEP, combat, ...) fitted for a map, by name."""
    start = f"{step}.{map_name}."
    return {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}


def _check_columns(
    samples: Samples, maps: Sequence[str], columns: Mapping[str, Sequence[str]], keep: tuple[str, ...] | None
) -> None:
    needed = [*itertools.chain(*columns.values()), *([] if keep is None else [SITE_COLUMN, *keep])]
    lacking = [map_name for map_name in maps if map_name not in samples.values]
    lacking += [name for name in needed if name not in samples.covariates]
    if lacking:
        raise DataError(
            f"the classifier requires {', '.join(dict.fromkeys(lacking))}, which is missing for these participants"
        )
