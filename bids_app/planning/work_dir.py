"""The work folder of an analysis: the files that its nodes write and others read."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from bids_app.atlases import atlas
from bids_app.bids import outputs
from bids_app.dataset.folds import Split
from bids_app.preprocess.conform import read_image
from bids_app.settings import Settings
from bids_app.training.fold_files import FoldFiles


@dataclass(frozen=True)
class WorkDir:
    """Names in the work folder of an analysis, or of a model that is applied."""

    path: Path

    @classmethod
    def of_analysis(cls, settings: Settings, name: str, key: str) -> Self:
        """The work folder of an analysis whose inputs have the hash `key`."""
        return cls(settings.work_dir / f"analysis-{name}-{key}")

    @classmethod
    def of_application(cls, settings: Settings, name: str, key: str) -> Self:
        """The work folder of a model that is applied to inputs with the hash `key`."""
        return cls(settings.work_dir / f"applied-{name}-{key}")

    @property
    def participants(self) -> Path:
        """The table of samples, in the row order of all arrays."""
        return self.path / "people.tsv"

    @property
    def logs(self) -> Path:
        """The folder of crash files."""
        return self.path / "log"

    @property
    def provenance(self) -> Path:
        """The record of the run in which something was computed last (JSON)."""
        return self.path / "provenance.json"

    @property
    def prediction_pages(self) -> Path:
        """The folder of the pages that explain the predictions of each participant."""
        return self.path / "people"

    # maps and atlases

    def grid(self, map_name: str) -> Path:
        """The grid and the mask of a map (`dataset.grid.Grid`)."""
        return self.path / f"grid_{map_name}.npz"

    def template_on_grid(self, grid_name: str) -> Path:
        """The folder of the template's images on another grid."""
        return self.path / "grids" / outputs.label(grid_name)

    def atlas_link(self, grid_name: str, atlas_name: str) -> Path:
        """The text file that names the folder of an atlas on a grid."""
        return self.path / "atlases" / outputs.label(grid_name) / outputs.label(atlas.name(atlas_name))

    def read_atlas(self, grid_name: str, atlas_name: str) -> tuple[np.ndarray, dict[str, Any]]:
        """Labels (X, Y, Z) of an atlas on a grid, and the content of its atlas.json."""
        folder = self.path.parent / self.atlas_link(grid_name, atlas_name).read_text()
        labels = np.asarray(read_image(folder / "labels.nii.gz").dataobj)
        return labels, json.loads((folder / "atlas.json").read_text())

    def copies(self, map_name: str) -> Path:
        """Pairs of participants whose maps appear to be the same person's (JSON)."""
        return self.path / f"copies_{map_name}.json"

    # ICA

    @property
    def series(self) -> Path:
        """The folder of the runs' series as arrays."""
        return self.path / "series"

    @property
    def ica(self) -> Path:
        """The folder of all ICA, with a folder for each."""
        return self.path / "ica"

    @property
    def component_matches(self) -> Path:
        """The component of each network in every ICA (JSON)."""
        return self.ica / "told.json"

    def overall_map_link(self, map_name: str) -> Path:
        """The text file that names the array of a map by the ICA of all participants."""
        return self.ica / f"everybody-{map_name}"

    def overall_map(self, map_name: str) -> Path:
        """The array of a map by the ICA of all participants."""
        return self.path / self.overall_map_link(map_name).read_text()

    def reference_networks(self, sha256: str) -> Path:
        """The reference networks (voxels, networks) of a file with this hash."""
        return self.path / f"networks-{sha256[:32]}.npy"

    # training and permutations

    def fold(self, cell: str, repeat: int, fold: int) -> FoldFiles:
        """The files of a cell in a fold."""
        return FoldFiles(self.path / "folds" / cell / f"repeat-{repeat}_fold-{fold}")

    def folds(self, cell: str, splits: Iterable[Split]) -> list[FoldFiles]:
        """The files of a cell in each of these folds."""
        return [self.fold(cell, split.repeat, split.fold) for split in splits]

    def inner_score(self, cell: str, repeat: int, fold: int) -> Path:
        """The balanced accuracy of a cell over the inner folds of a fold (JSON)."""
        return self.path / "inner" / cell / f"repeat-{repeat}_fold-{fold}.json"

    @property
    def labellings(self) -> Path:
        """Codes of classes (1 + permutations, samples), the true ones first."""
        return self.path / "labellings.npy"

    def null_scores(self, cell: str) -> Path:
        """Scores (1 + permutations,) of a linear cell under all labellings."""
        return self.path / "nulls" / cell / "all.npy"

    def null_score(self, cell: str, number: int) -> Path:
        """The score (1,) of a network under one labelling."""
        return self.path / "nulls" / cell / f"{number}.npy"

    def site_scores(self, cell: str) -> Path:
        """The performance of a linear cell in predicting the site (JSON)."""
        return self.path / "nulls" / cell / "sites.json"

    # power and the voxelwise test

    @property
    def power_labellings(self) -> Path:
        """Codes of classes (studies, samples) of simulated studies."""
        return self.path / "labellings_power.npy"

    def power_scores(self, map_name: str, first: int) -> Path:
        """Scores of the simulated studies from number `first` on."""
        return self.path / "power" / map_name / f"{first}.npz"

    def voxelwise_permutations(self, map_name: str, explained: str, number: int) -> Path:
        """Some permutations of one contrast of the voxelwise test."""
        return self.path / "voxelwise" / map_name / f"{outputs.camel(explained)}_{number}.npz"

    # a model that is applied

    @property
    def eligible_models(self) -> Path:
        """Which models may predict each sample (samples, models), bool."""
        return self.path / "asked.npy"

    def applied_maps(self, fold: str) -> Path:
        """The folder of the maps from the components of the models of a fold, <repeat>_<fold>."""
        return self.path / "fitted" / fold

    def applied_predictions(self, cell: str) -> Path:
        """The table of predictions by the models of a cell."""
        return self.path / f"applied_{outputs.camel(cell)}.tsv"
