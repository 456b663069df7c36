"""The steps of an ICA within folds as nodes call them: files in, files out; the mathematics is in dataset/ica.py."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from bids_app.dataset import arrays, ica
from bids_app.dataset.grid import Grid
from bids_app.errors import DataError
from bids_app.nodes.train import region_labels
from bids_app.planning import network_templates
from bids_app.planning.ica import INNER
from bids_app.preprocess import series as images
from bids_app.preprocess.conform import to_nifti

Files = dict[str, Any]
EVERYBODY = "everybody"
FOLDER, FITTED, TOLD = "ica", "fitted.npz", "told.json"


class OnDisk(Sequence[np.ndarray]):
    """Arrays that are read when they are asked for."""

    def __init__(self, files: list[str]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> np.ndarray:
        return np.load(self.files[index])


def gather_ica_series(
    *,
    template: Files,
    maps: list[str],
    files: list[list[str]],
    network_file: str,
    sha256: str,
    work: str,
    parcellation: str | None = None,
) -> Files:
    """Everybody's series in the mask as arrays on disk, and the reference networks; `sha256` is that of their file.

    `parcellation`: as `training.stack` has it.
    """
    image = nib.load(template["mask"])
    inside = np.asarray(image.dataobj) > 0.5
    grid = Grid(inside, image.affine, regions=region_labels(parcellation, inside))
    for name in maps:
        grid.write(Path(work) / f"grid_{name}.npz")
    references = Path(work) / f"networks-{sha256[:32]}.npy"
    _save(references, network_templates.resample_networks(Path(network_file), image, grid.mask))
    return {
        "grid": f"{work}/grid_{maps[0]}.npz",
        "files": read_series(files, grid, work),
        "references": str(references),
    }


def read_series(files: list[list[str]], grid: Grid, work: str) -> list[list[str]]:
    """The series of each person's runs, (voxels, time) in the mask, as files named by what they were read from."""
    folder = Path(work) / "series"
    folder.mkdir(exist_ok=True)
    mask = folder / "mask.nii.gz"
    to_nifti(grid.mask.astype(np.uint8), grid.affine).to_filename(mask)
    kept = []
    for path in (Path(path) for runs in files for path in runs):
        told = f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}"
        kept.append(folder / f"{hashlib.sha256(told.encode()).hexdigest()[:32]}.npy")
        if not kept[-1].exists():
            _save(kept[-1], images.load(path, mask)[0])
    found = iter(kept)
    return [[str(next(found)) for _ in runs] for runs in files]


def fit_ica(*, series: Files, rows: list[int], components: int, seed: int, work: str) -> str:
    """The ICA of the people of `rows` (`dataset.ica.fit`) -> its folder, named by what it rests on."""
    own = [path for row in rows for path in series["files"][row]]
    told = json.dumps([[Path(path).name for path in own], Path(series["references"]).name, components, seed])
    folder = Path(work) / FOLDER / hashlib.sha256(told.encode()).hexdigest()[:32]
    if not (folder / FITTED).exists():
        folder.mkdir(parents=True, exist_ok=True)
        grid, references = Grid.read(Path(series["grid"])), np.load(series["references"])
        found = ica.fit(OnDisk(own), references, grid, components=components, seed=seed)
        unfinished = folder / f".{os.getpid()}.npz"
        np.savez(unfinished, **found)
        unfinished.replace(folder / FITTED)
    return str(folder)


def check_components(*, plan: Files, work: str, **fits: str) -> dict[str, int]:
    """Look at every network in every fit, and write all to `ica/told.json` -> the number of each map's network.

    Raises DataError that names each network of the analysis that was not found, where, and how near it came.
    """
    rows = []
    for name, folder in fits.items():
        with np.load(Path(folder) / FITTED) as found:
            rows += [
                {
                    "place": name.removeprefix("fit_"),
                    "folder": Path(folder).name,
                    "network": network,
                    "component": int(component) + 1,
                    "r": float(r),
                    "unconverged": int(found["unconverged"]),
                }
                for network, component, r in zip(plan["networks"], found["component"], found["r"], strict=True)
            ]
    wanted = {name.partition("-")[2] for name in plan["maps"]}
    if weak := [row for row in rows if row["network"] in wanted and row["r"] < ica.MIN_R]:
        each = "; ".join(f"{row['network']} in {_words(row['place'])} (|r| = {row['r']:.2f})" for row in weak)
        raise DataError(
            f"the ICA found no component for: {each}. At least {ica.MIN_R:g} is asked for: leave such a network out "
            "of --network-maps (and of its .tsv), or try another --ica-components"
        )
    (Path(work) / FOLDER / TOLD).write_text(json.dumps(rows))
    return {name: plan["networks"].index(name.partition("-")[2]) for name in plan["maps"]}


def _words(place: str) -> str:
    """2_1 -> repeat 2, fold 1; inner_2_1_1_3 -> inner fold 3 of repeat 2, fold 1."""
    if place == EVERYBODY:
        return "the ICA of everybody"
    numbers = place.removeprefix(f"{INNER}_").split("_")
    inside = f"inner fold {numbers[-1]} of " if place.startswith(INNER) else ""
    return f"{inside}repeat {numbers[0]}, fold {numbers[1]}"


def dual_regress(*, series: Files, fitted: str, numbers: dict[str, int], plan: Files) -> str:
    """Everybody's maps by one fold's components (`write`), in the folder of the fit; `numbers`: those of `check`."""
    folder = Path(fitted)
    if not all((folder / f"{name}.npy").exists() for name in numbers):
        with np.load(folder / FITTED) as stored:
            found = dict(stored)
        own = {name: ica.select_network(found, number) for name, number in numbers.items()}
        write_component_maps(folder, own, series["files"], Grid.read(Path(series["grid"])), plan)
    return fitted


def write_component_maps(
    folder: Path,
    fitted: Mapping[str, Mapping[str, np.ndarray]],
    files: list[list[str]],
    grid: Grid,
    plan: Files,
) -> None:
    """Everybody's maps of an ICA's networks, `<map>.npy`, float32 (people, voxels), and beside each its arrays, `.npz`.

    fitted: `dataset.ica.of_network` by map, of one ICA. A person with several runs gets their mean; forms and
    smoothing, by map in `plan`, are those of `dataset.arrays.stack`.
    """
    component = np.concatenate([its["component"] for its in fitted.values()])
    whole = {"components": next(iter(fitted.values()))["components"], "component": component}
    unfinished = {name: folder / f".{name}.{os.getpid()}.npy" for name in fitted}
    shape = (len(files), grid.voxels)
    tables = {
        name: np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape)
        for name, file in unfinished.items()
    }
    for row, runs in enumerate(files):
        made = [ica.transform(np.load(path), whole) for path in runs]
        for number, (name, table) in enumerate(tables.items()):
            form, mm = plan["forms"][name], plan["smoothing"][name]
            own = [
                arrays.scale_and_smooth(grid.volume(maps[number]), grid, mm, form, f"{name} of a run") for maps in made
            ]
            table[row] = np.mean(own, axis=0)
    for name, table in tables.items():
        table.flush()
        np.savez(folder / f"{name}.npz", **fitted[name])
        unfinished[name].replace(folder / f"{name}.npy")


def stack_from_everybody(*, folder: str, map_name: str, work: str) -> str:
    """The array of everybody by the ICA of everybody, which no prediction rests on; `everybody` finds it again."""
    file = Path(folder) / f"{map_name}.npy"
    (Path(work) / FOLDER / f"{EVERYBODY}-{map_name}").write_text(str(file.relative_to(work)))
    return str(file)


def everybody(map_name: str, work: Path) -> Path:
    """The file of `of_everybody`."""
    return work / (work / FOLDER / f"{EVERYBODY}-{map_name}").read_text()


def _save(target: Path, values: np.ndarray) -> None:
    unfinished = target.with_name(f".{target.stem}.{os.getpid()}.npy")
    np.save(unfinished, values)
    unfinished.replace(target)
