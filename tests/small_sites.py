"""Three simulated sites of unequal size and class ratio, and the same participants pooled."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bids_app.classifiers._voxel_grid import CUBES, REGIONS, VoxelGrid
from bids_app.dataset.grid import Grid
from bids_app.federated.outgoing import OutgoingFilter
from bids_app.federated.pipeline import MapQuestions, Steps
from bids_app.federated.protocol import InProcess
from bids_app.federated.site import Site, SiteData
from bids_app.training.feature_pipeline import FeaturePipeline, Samples, fit_pipeline

MAP, ADJUST, KEEP, FOLDS, FOLD = "gm", ("age", "tiv"), ("age",), 4, 2
PEOPLE = {"ams": (30, 22), "berlin": (14, 25), "cork": (17, 12)}  # controls and patients of a site
SHAPE, VOXEL_MM = (8, 8, 6), (3.0, 3.0, 3.0)
STEPS = Steps(ADJUST, KEEP)


@dataclass(frozen=True, eq=False)
class Study:
    """The sites, the transport to them, and their participants pooled in the order of site names."""

    sites: dict[str, Site]
    transport: InProcess
    grid: Grid
    groups: dict[str, np.ndarray]
    x: np.ndarray
    y: np.ndarray
    folds: np.ndarray
    samples: Samples

    def training(self, fold: int) -> np.ndarray:
        """The pooled rows that train in a fold."""
        return np.flatnonzero(self.folds != fold)

    def pipeline(self, fold: int, *, steps: Steps = STEPS) -> FeaturePipeline:
        """The pooled level's own steps, fitted on the training participants."""
        rows = self.samples.select(self.training(fold).tolist())
        return fit_pipeline(rows, maps=(MAP,), columns={MAP: steps.adjust}, grid=self.grid, keep=steps.keep)

    def features(self, fold: int, *, steps: Steps = STEPS) -> np.ndarray:
        """The pooled level's own features (participants, voxels)."""
        return self.pipeline(fold, steps=steps).transform(self.samples)


def make_grid() -> tuple[Grid, VoxelGrid]:
    """A small mask with four regions, each a union of cubes."""
    mask = np.ones(SHAPE, bool)
    mask[:2, :2, :2] = False
    index = np.argwhere(mask)
    regions = 1 + (index[:, 0] >= 4) * 2 + (index[:, 1] >= 4)
    affine = np.diag([*VOXEL_MM, 1.0])
    return Grid(mask, affine, False, regions.astype(np.int32)), VoxelGrid(index, VOXEL_MM, regions)


def make_study(
    folder: Path,
    *,
    people: dict[str, tuple[int, int]] = PEOPLE,
    effect: float = 1.0,
    flat_cubes: bool = False,
    steps: Steps = STEPS,
    permutations: int = 0,
    seed: int = 0,
) -> Study:
    """Maps with a class difference in one corner, effects of age and brain size, and a shift and scale of each site.

    flat_cubes: every map has one value in each cube.
    """
    random = np.random.default_rng(seed)
    grid, voxel_grid = make_grid()
    groups = {name: voxel_grid.labels(name, grid.voxels) for name in (CUBES, REGIONS)}
    corner, data = voxel_grid.index.max(axis=1) < 4, {}
    for name, counts in sorted(people.items()):
        y = random.permutation(np.repeat([0, 1], counts))
        n = len(y)
        age, tiv = random.normal(40 + 4 * y, 11), random.normal(1500, 150, n)
        noise = random.normal(size=(n, grid.voxels)) + random.normal(size=(n, 3)) @ random.normal(size=(3, grid.voxels))
        x = (
            5
            + noise
            + effect * np.outer(y, corner)
            - np.outer(age, random.normal(0, 0.01, grid.voxels))
            + tiv[:, None] / 500
        )
        x = random.normal(0, 0.5, grid.voxels) + x * random.uniform(0.7, 1.4)
        if flat_cubes:
            x = np.array([[row[groups[CUBES] == cube].mean() for cube in groups[CUBES]] for row in x])
        data[name] = SiteData(
            values={MAP: x.astype(np.float32)},
            y=y,
            folds=1 + random.permutation(n) % FOLDS,
            covariates={"age": age, "tiv": tiv, "mean_fd": np.where(age > 60, np.nan, random.gamma(2, 0.1, n))},
            sex=tuple(random.choice(["F", "M"], n).tolist()),
            adjust={MAP: steps.adjust},
            keep=steps.keep,
            groups={MAP: groups},
            units=tuple(f"{name}-{row}" for row in range(n)),
            participants=tuple(f"{name}-{row}" for row in range(n)),
            permutations=permutations,
        )
    sites = {
        name: Site(
            part,
            folder / name,
            OutgoingFilter(
                folder / name, per_class=(int((part.y == 0).sum()), int(part.y.sum())), sizes={MAP: part.sizes(MAP)}
            ),
        )
        for name, part in data.items()
    }
    covariates = {
        name: np.concatenate([part.covariates[name] for part in data.values()]) for name in ("age", "tiv", "mean_fd")
    }
    covariates["site_number"] = np.repeat(np.arange(len(data)), [len(part.y) for part in data.values()]).astype(float)
    x = np.concatenate([part.values[MAP] for part in data.values()])
    return Study(
        sites,
        InProcess(sites),
        grid,
        groups,
        x,
        np.concatenate([part.y for part in data.values()]),
        np.concatenate([part.folds for part in data.values()]),
        Samples({MAP: x}, covariates),
    )


def questions(study: Study, classifier: str = "", *, fold: int = FOLD) -> MapQuestions:
    """Questions to all sites of a study about the training participants of a fold."""
    return MapQuestions(study.transport, MAP, fold, classifier)
