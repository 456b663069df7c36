"""The trained fold models of one cell, applied to maps from Python."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray

from bids_app.bids import images as image_files
from bids_app.dataset import arrays, scans
from bids_app.dataset.grid import Grid
from bids_app.errors import DataError, PellucidError, UsageError
from bids_app.planning import available_maps, model_covariates
from bids_app.planning.model_application import check_map_parameters
from bids_app.planning.settings_from_model import ModelMap, maps_of_models
from bids_app.training.apply import apply_models
from bids_app.training.model_metadata import find_models, read_cell_metadata, read_mask

Image = str | PathLike[str] | Nifti1Image
Images = Image | Sequence[Image]
COMMAND = "pellucid BIDS_DIR OUT_DIR participant --model DIR"


def load_model(folder: str | PathLike[str]) -> "Model":
    """Open the models of one cell, such as OUT_DIR/group/NAME/models/svm/gm, or that of one of its folds.

    Raises MissingInputError where there is no model, UsageError where there are several cells (the message lists them),
    and DataError for files that training did not write.
    """
    root = Path(folder)
    try:
        cells = find_models(root)
        if len(cells) > 1:
            names = ", ".join(cells)
            raise UsageError(f"{root} has several models; specify the folder of one of them: {names}")
        ((name, folds),) = cells.items()
        maps, facts = maps_of_models(cells), read_cell_metadata(folds, root=root)
    except PellucidError as problem:  # Python has no option that a message could begin with
        raise type(problem)(str(problem).removeprefix("--model: ")) from None
    if fitted := [map_name for map_name in maps if available_maps.is_fitted(map_name)]:
        raise UsageError(
            f"{name} requires {', '.join(fitted)}, computed from series of BOLD by the components of each fold; apply "
            "it with pellucid NEW_BIDS NEW_OUT group --model DIR"
        )
    return Model(name, tuple(next(iter(folds.values()))["classes"]), maps, folds, facts)


@dataclass(frozen=True, eq=False)
class Model:
    """The fold models of one cell (`svm/gm`), whose mean is the prediction.

    `classes`: in the order of the columns of `predict_proba`, the reference first; `maps`: the parameters of the maps
    that it takes, by name; `folds`: the metadata of each fold model, by folder; `metadata`: its verdict, and the ranges
    of its training participants.
    """

    name: str
    classes: tuple[str, ...]
    maps: Mapping[str, ModelMap]
    folds: Mapping[Path, dict[str, Any]]
    metadata: Mapping[str, Any]

    @property
    def verdict(self) -> str:
        """The verdict on the model in training."""
        return str(self.metadata["verdict"]["text"])

    @property
    def covariates(self) -> tuple[str, ...]:
        """The covariates that the model requires of each participant, such as tiv (mL), sex or site."""
        needed = model_covariates.needed_columns(self._cards)
        sites = model_covariates.training_sites(self._cards)
        return needed if sites is None or "site" in needed else (*needed, "site")

    def predict(
        self, images: Images | Mapping[str, Images], covariates: pd.DataFrame | None = None
    ) -> NDArray[np.object_]:
        """Return the class with the largest probability for each participant, (participants,)."""
        largest = self.predict_proba(images, covariates).argmax(axis=1)
        return np.array([self.classes[index] for index in largest], object)

    def predict_proba(
        self, images: Images | Mapping[str, Images], covariates: pd.DataFrame | None = None
    ) -> NDArray[np.float64]:
        """Return the probability of each class, (participants, classes), the mean of the fold models.

        images: one map per participant, unsmoothed and unscaled as the participant level writes them: paths, or
        nibabel images; for a model of several maps, a dictionary with such a list for each map. covariates: a row per
        participant, with the columns `covariates`; tiv is otherwise read from the sidecars. Training participants get
        predictions that are better than for new ones; predictions.tsv has theirs out of fold.
        Raises DataError, with the name of the image, for another grid, for maps that were not computed as in training
        (by their sidecars; those of images that are only in memory are not known), and for covariates that are missing
        or have a value that did not occur in training. A new site is not harmonised.
        """
        images_by_map = self._sort_images(images)
        titles = [_title(image, number) for number, image in enumerate(next(iter(images_by_map.values())), start=1)]
        table = self._covariate_table(images_by_map, titles, covariates)
        with tempfile.TemporaryDirectory(prefix="pellucid-") as folder:
            people = Path(folder) / "participants.tsv"
            table.to_csv(people, sep="\t", index=False, na_rep="n/a")
            stacks = {name: self._stack(name, entries, Path(folder)) for name, entries in images_by_map.items()}
            predictions = apply_models(
                list(self.folds),
                arrays=[stacks] * len(self.folds),
                people=people,
                eligible=np.ones((len(table), len(self.folds)), bool),
            )
        return predictions[[f"probability_{name}" for name in self.classes]].to_numpy(np.float64)

    def __repr__(self) -> str:
        return f"Model({self.name}, {len(self.folds)} folds, {' and '.join(self.classes)})"

    @property
    def _cards(self) -> list[dict[str, Any]]:
        return [next(iter(self.folds.values()))]

    def _sort_images(self, images: Images | Mapping[str, Images]) -> dict[str, list[Image]]:
        """The images by map, as many of each."""
        by_map: Mapping[str, Images]
        if isinstance(images, Mapping):
            by_map = images
        elif len(self.maps) == 1:
            by_map = {next(iter(self.maps)): images}
        else:
            raise UsageError(f"{self.name} takes several maps; specify a dictionary of {', '.join(self.maps)}")
        if set(by_map) != set(self.maps):
            raise UsageError(f"{self.name} takes {', '.join(self.maps)}, not {', '.join(by_map) or 'nothing'}")
        listed = {name: _to_list(by_map[name]) for name in self.maps}
        counts = {name: len(entries) for name, entries in listed.items()}
        if len(set(counts.values())) > 1 or not all(counts.values()):
            numbers = ", ".join(f"{count} of {name}" for name, count in counts.items())
            raise UsageError(f"{self.name} takes one image of each map per participant, not {numbers}")
        return listed

    def _stack(self, name: str, entries: list[Image], folder: Path) -> Path:
        """Write the values in the model's mask, float32 (participants, voxels); returns the file."""
        model_map = self.maps[name]
        grid = Grid(*read_mask(model_map["folder"]))
        file = folder / f"{name}.npy"
        table = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=(len(entries), grid.voxels))
        for row, entry in enumerate(entries):
            title = _title(entry, row + 1)
            if (path := _path(entry)) is not None:
                check_map_parameters(f"{title} was", path, model_map, COMMAND)
            image = entry if isinstance(entry, Nifti1Image) else image_files.open_image(Path(entry))
            volume = image_files.read_voxels(image, title)
            table[row] = arrays.read_on_grid(
                volume, image.affine, grid, model_map["smoothing_mm"], model_map["form"], title
            )
        table.flush()
        return file

    def _covariate_table(
        self, images_by_map: Mapping[str, list[Image]], titles: list[str], covariates: pd.DataFrame | None
    ) -> pd.DataFrame:
        """A row per participant, with the covariates coded as in training. Raises DataError for those missing."""
        table = pd.DataFrame({"participant_id": titles, "session_id": "n/a"})
        values = pd.DataFrame(index=table.index) if covariates is None else covariates.reset_index(drop=True)
        if len(values) != len(table):
            raise UsageError(f"covariates has {len(values)} rows for {len(table)} participants; it needs one for each")
        levels = model_covariates.training_levels(self._cards)
        for name in self.covariates:
            if name in values:
                table[name] = values[name]
            elif name == "tiv":
                table[name] = [_read_tiv(entries) for entries in zip(*images_by_map.values(), strict=True)]
            else:
                raise DataError(f"{self.name} requires the covariate {name}; specify it as a column of covariates")
            if name in levels:
                _check_levels(table, name, levels[name], titles)
            elif name != "site":
                table[name] = pd.to_numeric(table[name], errors="coerce")
        return model_covariates.encode(table, self._cards)[0]


def _check_levels(table: pd.DataFrame, name: str, levels: Sequence[str], titles: Sequence[str]) -> None:
    for title, value in zip(titles, table[name].astype(str), strict=True):
        if value not in levels:
            raise DataError(
                f"{title}: covariate {name} has the value {value}, which did not occur in training; it had "
                f"{', '.join(levels)}"
            )


def _to_list(images: Images) -> list[Image]:
    return [images] if isinstance(images, str | PathLike | Nifti1Image) else list(images)


def _path(image: Image) -> Path | None:
    """The file of an image; None if it is only in memory."""
    name = image.get_filename() if isinstance(image, Nifti1Image) else image
    return None if name is None else Path(name)


def _title(image: Image, number: int) -> str:
    """What messages call an image."""
    path = _path(image)
    return f"image {number}" if path is None else path.name


def _read_tiv(images: Sequence[Image]) -> float:
    """The mean total intracranial volume (mL) in the sidecars of a participant's maps; NaN if none states it."""
    paths = [path for image in images if (path := _path(image)) is not None]
    volumes = [volume for path in paths if (volume := scans.read_sidecar(path).get("TotalIntracranialVolume"))]
    return float(np.mean(volumes)) if volumes else float("nan")
