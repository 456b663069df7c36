"""The nodes that apply a trained model: files in, files out."""

from pathlib import Path

import numpy as np

from bids_app.dataset import arrays
from bids_app.dataset.grid import Grid
from bids_app.nodes.ica import read_series, write_component_maps
from bids_app.nodes.train import array_file
from bids_app.planning.group_records import MapScaling
from bids_app.planning.work_dir import WorkDir
from bids_app.training.feature_pipeline import FITTED_STEP, arrays_of_step
from bids_app.training.model_metadata import read_arrays, read_mask


def gather_series(*, folder: str, files: list[list[str]], work: str) -> list[list[str]]:
    """The files of each participant's runs in the model's mask."""
    return read_series(files, Grid(*read_mask(Path(folder))), work)


def refit_maps(*, series: list[list[str]], key: str, folders: dict[str, str], plan: MapScaling, work: str) -> str:
    """Write all participants' maps from the components of the models of one fold; folders: of a model, by map."""
    components = {
        name: arrays_of_step(read_arrays(Path(folder)), FITTED_STEP, name) for name, folder in folders.items()
    }
    maps_folder = WorkDir(Path(work)).applied_maps(key)
    maps_folder.mkdir(parents=True, exist_ok=True)
    write_component_maps(maps_folder, components, series, Grid(*read_mask(Path(next(iter(folders.values()))))), plan)
    return str(maps_folder)


def stack_map(*, folder: str, files: list[list[str]], smoothing_mm: float, form: str, work: str) -> str:
    """Write all participants' values of a map in the model's mask, float32 (participants, voxels); returns the file."""
    grid = Grid(*read_mask(Path(folder)))
    paths = [tuple(Path(path) for path in runs) for runs in files]
    return str(arrays.stack_images(paths, grid, Path(work), smoothing_mm=smoothing_mm, form=form))


def predict(
    *,
    maps: list[str],
    keys: list[str],
    folders: list[str],
    work: str,
    cell: str,
    device: str,
    threads: int,
    **stacked: str,
) -> str:
    """Write the predictions of the models of one cell; returns the table's file."""
    from bids_app.training import apply

    work_dir = WorkDir(Path(work))
    predictions = apply.apply_models(
        [Path(folder) for folder in folders],
        arrays=[{name: array_file(name, key, stacked) for name in maps} for key in keys],
        people=work_dir.participants,
        eligible=np.load(work_dir.eligible_models),
        device=device,
        threads=threads,
    )
    file = work_dir.applied_predictions(cell)
    predictions.to_csv(file, sep="\t", index=False)
    return str(file)
