"""The steps of applying a trained model: files in, files out."""

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from bids_app.dataset import arrays
from bids_app.dataset.grid import Grid
from bids_app.nodes.ica import read_series, write_component_maps
from bids_app.nodes.train import array_file
from bids_app.training.feature_pipeline import FITTED_STEP, arrays_of_step
from bids_app.training.model_metadata import WEIGHTS_FILE, read_mask

PEOPLE, ASKED = "people.tsv", "asked.npy"


def gather_series(*, folder: str, files: list[list[str]], work: str) -> list[list[str]]:
    """The series of people's runs in the model's mask, as arrays on disk."""
    return read_series(files, Grid(*read_mask(Path(folder))), work)


def refit_maps(*, series: list[list[str]], key: str, folders: dict[str, str], plan: dict[str, Any], work: str) -> str:
    """Everybody's maps by the components that the models of one fold keep; `folders`: a model's by map."""
    own = {
        name: arrays_of_step(load_file(Path(folder) / WEIGHTS_FILE), FITTED_STEP, name)
        for name, folder in folders.items()
    }
    place = Path(work) / "fitted" / key
    place.mkdir(parents=True, exist_ok=True)
    write_component_maps(place, own, series, Grid(*read_mask(Path(next(iter(folders.values()))))), plan)
    return str(place)


def stack_map(*, folder: str, files: list[list[str]], smoothing_mm: float, form: str, work: str) -> str:
    """People's values of a map in the model's mask -> file of float32 (people, voxels), as in training."""
    grid = Grid(*read_mask(Path(folder)))
    paths = [tuple(Path(path) for path in each) for each in files]
    return str(arrays.stack_images(paths, grid, Path(work), smoothing_mm=smoothing_mm, form=form))


def predict(
    *, maps: list[str], keys: list[str], folders: list[str], file: str, device: str, threads: int, **stacked: str
) -> str:
    """What the models of one cell say of everyone -> table."""
    from bids_app.training import apply

    work = Path(file).parent
    told = apply.apply_models(
        [Path(folder) for folder in folders],
        arrays=[{name: array_file(name, key, stacked) for name in maps} for key in keys],
        people=work / PEOPLE,
        eligible=np.load(work / ASKED),
        device=device,
        threads=threads,
    )
    told.to_csv(file, sep="\t", index=False)
    return file
