"""From in-mask values of people to what a classifier sees: adjusted, scaled, one channel a map."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bids_app.dataset import adjust, combat, scale
from bids_app.dataset.grid import Grid
from bids_app.errors import DataError

SITE_COLUMN = "site_number"
FITTED_STEP = "fitted"  # a step before these: what a map was made by, kept for people to come


@dataclass(frozen=True, eq=False)
class Samples:
    """What is known of some people: values in the mask (people, voxels) by map, covariates (people,) by name.

    `fitted`: the arrays that a map was made by, by map, where it was fitted on the training people of the fold.
    """

    values: Mapping[str, NDArray[np.float32]]
    covariates: Mapping[str, NDArray[np.float64]]
    fitted: Mapping[str, Mapping[str, NDArray[np.generic]]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.values.values())))

    def rows(self, chosen: Sequence[int] | slice) -> "Samples":
        """Some of them; a list of rows is a copy in memory."""
        index = chosen if isinstance(chosen, slice) else list(chosen)
        return Samples(
            {one: np.asarray(x[index]) for one, x in self.values.items()},
            {name: column[index] for name, column in self.covariates.items()},
            self.fitted,
        )

    def design(self, columns: Sequence[str]) -> NDArray[np.float64]:
        """Covariates (people, k)."""
        return np.array([self.covariates[name] for name in columns], float).reshape(len(columns), len(self)).T

    @property
    def sites(self) -> NDArray[np.int64]:
        """Each person's site (people,), by number."""
        return self.covariates[SITE_COLUMN].astype(np.int64)


@dataclass(frozen=True, eq=False)
class FeaturePipeline:
    """What was fitted on training people: arrays "<step>.<map>.<name>"; `columns` are adjusted for, by map.

    `keep`: the covariates that ComBat preserves while it takes out the covariate SITE; None: sites stay as they are.
    """

    maps: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]]
    grid: Grid
    arrays: Mapping[str, NDArray[np.generic]]
    keep: tuple[str, ...] | None = None

    def vectors(self, people: Samples) -> NDArray[np.float32]:
        """(people, channels * voxels), channel after channel.

        Each person's numbers are the same whoever else is prepared beside them.
        Raises DataError for a covariate or map that lacks.
        """
        _check_columns(people, self.maps, self.columns, self.keep)
        voxels = self.grid.voxels
        prepared = np.empty((len(people), len(self.maps) * voxels), np.float32)
        for channel, one in enumerate(self.maps):
            part = prepared[:, channel * voxels : (channel + 1) * voxels]
            part[:] = scale.transform(self.unscaled(people, one), self.of("scale", one))
        return prepared

    def unscaled(self, people: Samples, one: str) -> NDArray[np.float32]:
        """(people, voxels) of one map, harmonised and adjusted."""
        x = people.values[one]
        if self.keep is not None:
            x = combat.transform(x, people.sites, people.design(self.keep), self.of("combat", one))
        if self.columns[one]:
            x = adjust.transform(x, people.design(self.columns[one]), self.of("adjust", one))
        return x

    def distances(self, people: Samples) -> NDArray[np.float64]:
        """How far each person's maps lie from the training people's: the mean squared z over voxels, (people,)."""
        each = [self.vectors(people.rows(slice(person, person + 1))) for person in range(len(people))]
        return np.array([np.square(one, dtype=np.float64).mean() for one in each])

    def volumes(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """(people, channels, X, Y, Z) on the grid that is `seen`, zero outside the mask, of what `vectors` returned."""
        mask = self.grid.seen.mask
        volumes = np.zeros((len(vectors), len(self.maps), *mask.shape), np.float32)
        # one image at a time: through one mask for all, numpy takes seven times as long
        for image, vector in zip(volumes.reshape(-1, *mask.shape), vectors.reshape(-1, self.grid.voxels), strict=True):
            image[mask] = vector
        return volumes

    def of(self, step: str, one: str) -> dict[str, NDArray[np.generic]]:
        """What a step left of a map."""
        return arrays_of_step(self.arrays, step, one)


def fit_pipeline(
    people: Samples,
    *,
    maps: tuple[str, ...],
    columns: Mapping[str, Sequence[str]],
    grid: Grid,
    keep: tuple[str, ...] | None = None,
) -> FeaturePipeline:
    """Fit ComBat (unless `keep` is None), adjustment and scaling of each map on training people, in this order.

    Memory: a copy of one map's values.
    """
    chosen = {one: tuple(columns.get(one, ())) for one in maps}
    _check_columns(people, maps, chosen, keep)
    arrays: dict[str, NDArray[np.generic]] = {}
    for one in maps:
        x = people.values[one]
        if keep is not None:
            fitted = combat.fit(x, people.sites, people.design(keep))
            arrays |= {f"combat.{one}.{name}": array for name, array in fitted.items()}
            x = combat.transform(x, people.sites, people.design(keep), fitted)
        if chosen[one]:
            fitted = adjust.fit(x, people.design(chosen[one]))
            arrays |= {f"adjust.{one}.{name}": array for name, array in fitted.items()}
            x = adjust.transform(x, people.design(chosen[one]), fitted)
        arrays |= {f"scale.{one}.{name}": array for name, array in scale.fit(x).items()}
        arrays |= {f"{FITTED_STEP}.{one}.{name}": array for name, array in people.fitted.get(one, {}).items()}
    return FeaturePipeline(maps, chosen, grid, arrays, keep)


def arrays_of_step(arrays: Mapping[str, NDArray[np.generic]], step: str, one: str) -> dict[str, NDArray[np.generic]]:
    """Those of a model's arrays that a step (FITTED, combat, ...) left of a map, by name."""
    start = f"{step}.{one}."
    return {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}


def _check_columns(
    people: Samples, maps: Sequence[str], columns: Mapping[str, Sequence[str]], keep: tuple[str, ...] | None
) -> None:
    needed = [*itertools.chain(*columns.values()), *([] if keep is None else [SITE_COLUMN, *keep])]
    lacking = [one for one in maps if one not in people.values]
    lacking += [name for name in needed if name not in people.covariates]
    if lacking:
        raise DataError(f"the classifier needs {', '.join(dict.fromkeys(lacking))}, which these people do not have")
