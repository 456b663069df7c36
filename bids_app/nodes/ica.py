"""The nodes of an ICA within folds: files in, files out."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from bids_app.dataset import arrays, ica
from bids_app.dataset.grid import Grid
from bids_app.errors import DataError
from bids_app.nodes.train import region_labels
from bids_app.planning import network_templates
from bids_app.planning.group_records import ComponentPlan, MapScaling, SeriesFiles
from bids_app.planning.ica import INNER
from bids_app.planning.work_dir import WorkDir
from bids_app.preprocess import series as images
from bids_app.preprocess.conform import read_image, to_nifti

EVERYBODY = "everybody"
FIT_FILE = "fitted.npz"


class OnDisk(Sequence[np.ndarray]):
    """Arrays read from disk on indexing."""

    def __init__(self, files: list[str]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...
    def __getitem__(self, index: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(index, slice):
            return [np.load(file) for file in self.files[index]]
        return np.asarray(np.load(self.files[index]))


def gather_ica_series(
    *,
    template: dict[str, str],
    maps: list[str],
    files: list[list[str]],
    network_file: str,
    sha256: str,
    work: str,
    parcellation: str | None = None,
) -> SeriesFiles:
    """Write all participants' series in the mask and the reference networks as arrays; sha256: of the networks' file.

    `parcellation`: as in `nodes.train.stack_maps`.
    """
    image = read_image(template["mask"])
    inside = np.asarray(image.dataobj) > 0.5
    grid = Grid(inside, image.affine, regions=region_labels(parcellation, inside))
    work_dir = WorkDir(Path(work))
    for name in maps:
        grid.write(work_dir.grid(name))
    references = work_dir.reference_networks(sha256)
    _save(references, network_templates.resample_networks(Path(network_file), image, grid.mask))
    return {
        "grid": str(work_dir.grid(maps[0])),
        "files": read_series(files, grid, work),
        "references": str(references),
    }


def read_series(files: list[list[str]], grid: Grid, work: str) -> list[list[str]]:
    """The files of each participant's runs, (voxels, time) in the mask, named by a hash of the source."""
    folder = WorkDir(Path(work)).series
    folder.mkdir(exist_ok=True)
    mask = folder / "mask.nii.gz"
    to_nifti(grid.mask.astype(np.uint8), grid.affine).to_filename(mask)
    return [[str(_read_run(Path(path), mask, folder)) for path in runs] for runs in files]


def _read_run(path: Path, mask: Path, folder: Path) -> Path:
    """The file of a run's series in the mask, written unless it exists."""
    stamp = arrays.stamp_file(path, folder)
    file = folder / f"{hashlib.sha256(stamp.encode()).hexdigest()[:32]}.npy"
    if not file.exists():
        _save(file, images.load(path, mask)[0])
    return file


def fit_ica(*, series: SeriesFiles, rows: list[int], components: int, seed: int, work: str) -> str:
    """Fit the ICA to the samples `rows` (`dataset.ica.fit`); returns its folder, named by a hash of its inputs."""
    files = [path for row in rows for path in series["files"][row]]
    inputs = json.dumps([[Path(path).name for path in files], Path(series["references"]).name, components, seed])
    folder = WorkDir(Path(work)).ica / hashlib.sha256(inputs.encode()).hexdigest()[:32]
    if not (folder / FIT_FILE).exists():
        folder.mkdir(parents=True, exist_ok=True)
        grid, references = Grid.read(Path(series["grid"])), np.load(series["references"])
        fit: dict[str, Any] = {**ica.fit(OnDisk(files), references, grid, components=components, seed=seed)}
        unfinished = folder / f".{os.getpid()}.npz"
        np.savez(unfinished, **fit)
        unfinished.replace(folder / FIT_FILE)
    return str(folder)


def check_components(*, plan: ComponentPlan, work: str, **fits: str) -> dict[str, int]:
    """Check every network in every fit and write `WorkDir.component_matches`; returns the number of each map's network.

    Raises DataError that names each network of the analysis without a match, in which fit, and its best |r|.
    """
    rows: list[dict[str, Any]] = []
    for name, folder in fits.items():
        with np.load(Path(folder) / FIT_FILE) as fit:
            rows += [
                {
                    "place": name.removeprefix("fit_"),
                    "folder": Path(folder).name,
                    "network": network,
                    "component": int(component) + 1,
                    "r": float(r),
                    "unconverged": int(fit["unconverged"]),
                }
                for network, component, r in zip(plan["networks"], fit["component"], fit["r"], strict=True)
            ]
    wanted = {name.partition("-")[2] for name in plan["maps"]}
    if weak := [row for row in rows if row["network"] in wanted and row["r"] < ica.MIN_R]:
        each = "; ".join(f"{row['network']} in {_describe_fit(row['place'])} (|r| = {row['r']:.2f})" for row in weak)
        raise DataError(
            f"no component of the ICA matches: {each}. |r| of at least {ica.MIN_R:g} is required: remove such a "
            "network from --network-templates (and from its .tsv), or try another --ica-components"
        )
    WorkDir(Path(work)).component_matches.write_text(json.dumps(rows))
    return {name: plan["networks"].index(name.partition("-")[2]) for name in plan["maps"]}


def _describe_fit(place: str) -> str:
    """2_1 -> repeat 2, fold 1; inner_2_1_1_3 -> inner fold 3 of repeat 2, fold 1."""
    if place == EVERYBODY:
        return "the ICA of all participants"
    numbers = place.removeprefix(f"{INNER}_").split("_")
    inside = f"inner fold {numbers[-1]} of " if place.startswith(INNER) else ""
    return f"{inside}repeat {numbers[0]}, fold {numbers[1]}"


def dual_regress(*, series: SeriesFiles, fitted: str, numbers: dict[str, int], plan: ComponentPlan) -> str:
    """Write all participants' maps from a fold's components into the fit's folder; numbers: of `check_components`."""
    folder = Path(fitted)
    if not all((folder / f"{name}.npy").exists() for name in numbers):
        with np.load(folder / FIT_FILE) as stored:
            fit = dict(stored)
        components = {name: ica.select_network(fit, number) for name, number in numbers.items()}
        write_component_maps(folder, components, series["files"], Grid.read(Path(series["grid"])), plan)
    return fitted


def write_component_maps(
    folder: Path,
    fitted: Mapping[str, Mapping[str, Any]],
    files: list[list[str]],
    grid: Grid,
    plan: MapScaling,
) -> None:
    """Write all participants' maps of an ICA's networks, `<map>.npy`, and its components, `<map>.npz`.

    Maps are float32 (samples, voxels). fitted: `dataset.ica.select_network` by map, of one ICA. A participant with
    several runs gets their mean; forms and smoothing, by map in `plan`, are those of `dataset.arrays.stack_images`.
    """
    component = np.concatenate([network["component"] for network in fitted.values()])
    whole = {"components": next(iter(fitted.values()))["components"], "component": component}
    unfinished = {name: folder / f".{name}.{os.getpid()}.npy" for name in fitted}
    shape = (len(files), grid.voxels)
    tables = {
        name: np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape)
        for name, file in unfinished.items()
    }
    for row, runs in enumerate(files):
        maps_of_runs = [ica.transform(np.load(path), whole) for path in runs]
        for number, (name, table) in enumerate(tables.items()):
            form, mm = plan["forms"][name], plan["smoothing"][name]
            values = [
                arrays.scale_and_smooth(grid.volume(maps[number]), grid, mm, form, f"{name} of a run")
                for maps in maps_of_runs
            ]
            table[row] = np.mean(values, axis=0)
    for name, table in tables.items():
        table.flush()
        np.savez(folder / f"{name}.npz", **fitted[name])
        unfinished[name].replace(folder / f"{name}.npy")


def stack_from_everybody(*, folder: str, map_name: str, work: str) -> str:
    """The file of a map by the ICA of all participants, not used for predictions; linked for `WorkDir.overall_map`."""
    file = Path(folder) / f"{map_name}.npy"
    WorkDir(Path(work)).overall_map_link(map_name).write_text(str(file.relative_to(work)))
    return str(file)


def _save(target: Path, values: np.ndarray) -> None:
    unfinished = target.with_name(f".{target.stem}.{os.getpid()}.npy")
    np.save(unfinished, values)
    unfinished.replace(target)
