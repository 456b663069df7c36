"""The nodes of a group run: files in, files out."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bids_app import catalogue
from bids_app.atlases import templates
from bids_app.bids import outputs
from bids_app.bids.names import participant_name
from bids_app.dataset import arrays
from bids_app.dataset.grid import Grid
from bids_app.nodes.atlas import resample_atlas
from bids_app.nodes.heatmaps import write_participant_heatmaps
from bids_app.planning.group_records import FoldRows, TrainingPlan, to_split
from bids_app.planning.work_dir import WorkDir
from bids_app.preprocess.conform import read_image
from bids_app.training.fold_files import FoldFiles

TISSUE_THRESHOLD = 0.1
MODEL_ONLY_KEYS = ("levels", "folds_sha256")  # needed to apply a model, but not in a heatmap's sidecar


def stack_maps(
    *,
    template: dict[str, str],
    map_name: str,
    files: list[list[str]],
    smoothing_mm: float,
    form: str,
    whole: bool,
    work: str,
    parcellation: str | None = None,
) -> str:
    """Write all participants' values of a map within its tissue as one float32 array; returns the file.

    `parcellation`: the folder of `resample_atlas_to_maps` with the regions over which a classifier averages.
    """
    image = read_image(template["mask"])
    inside = np.asarray(image.dataobj) > 0.5
    region = catalogue.load("maps", map_name).ANALYSIS_MASK
    if region != "brain":
        # The voxels are selected by a prior, not by the participants, so that nothing is selected on held-out ones.
        inside &= np.asarray(read_image(template[region]).dataobj) > TISSUE_THRESHOLD
    grid = Grid(inside, image.affine, whole, region_labels(parcellation, inside))
    grid.write(WorkDir(Path(work)).grid(map_name))
    paths = [tuple(Path(path) for path in runs) for runs in files]
    return str(arrays.stack_images(paths, grid, Path(work), smoothing_mm=smoothing_mm, form=form))


def region_labels(parcellation: str | None, mask: np.ndarray) -> np.ndarray | None:
    """The labels (voxels,) of an atlas on the maps' grid in a mask (X, Y, Z); None without one."""
    if parcellation is None:
        return None
    labels = np.asarray(read_image(Path(parcellation) / "labels.nii.gz").dataobj)
    return np.asarray(labels[mask], np.int32)


def detect_copies(*, array: str, map_name: str, groups: list[str], work: str) -> str:
    """Write the pairs of participants whose maps appear to be the same person's (`WorkDir.copies`); returns the file.

    groups: those kept on one side of a fold."""
    from bids_app.evaluation import duplicates

    work_dir = WorkDir(Path(work))
    participants = pd.read_csv(work_dir.participants, sep="\t", dtype=str)["participant_id"]
    copies = duplicates.find_duplicates(np.load(array, mmap_mode="r"), Grid.read(work_dir.grid(map_name)), groups)
    pairs = [
        [
            sorted({participant_name(participants[pair.first]), participant_name(participants[pair.second])}),
            f"{pair.kind}: {pair.measure}",
        ]
        for pair in copies
    ]
    file = work_dir.copies(map_name)
    file.write_text(json.dumps(pairs))
    return str(file)


def resample_template(*, template: dict[str, str], like: str, folder: str) -> dict[str, str]:
    """The template's brain, mask and priors on the grid of an image; files of `folder`, or the template's own."""
    image, mask = read_image(like), read_image(template["mask"])
    x, y, z = image.shape[:3]
    shape, affine = (x, y, z), image.affine
    if Grid(np.ones(shape, bool), affine).same_place(mask.shape, mask.affine):
        return template
    Path(folder).mkdir(parents=True, exist_ok=True)
    files = dict(template)
    for name in ("brain", "mask", "gm", "wm"):
        image = templates.resample(read_image(template[name]), shape, affine, order="linear")
        files[name] = str(Path(folder) / f"{name}.nii.gz")
        image.to_filename(files[name])
    return files


def resample_atlas_to_maps(*, atlas_name: str, work: str, link: str, **arguments: Any) -> str:
    """The folder of an atlas on the maps' grid (`resample_atlas`); its name is written to the file `link` in `work`.

    Its path is given in two parts, since nipype would hash the content of a file and so compute the node again.
    """
    folder = resample_atlas(name=atlas_name, **arguments)
    file = Path(work) / link
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(Path(folder).name)
    return folder


def train_fold(
    *,
    cell: str,
    classifier: str,
    maps: list[str],
    split: FoldRows,
    plan: TrainingPlan,
    regions: str,
    **stacked: str,
) -> str:
    """Train a model in a fold, and write the heatmaps of held-out samples; returns the fold's folder.

    `stacked` has the array of each map as `array_<name>`, or the folder of the ICA fitted in the fold as
    `fitted_<repeat>_<fold>`; `regions` is the folder of `resample_atlas_to_maps` for the map's first atlas.
    """
    from bids_app.training import fold

    files = WorkDir(Path(plan["work"])).fold(cell, split["repeat"], split["fold"])
    arguments = fold_arguments(cell, classifier, maps, split, plan, stacked)
    fold.train_fold(
        **arguments,
        explainers=plan["explainers"],
        parcels=_write_parcels(Path(regions), files),
        explain_checks=plan["explain_checks"],
        folder=files.folder,
    )
    settings = arguments["settings"].items()
    metadata = {outputs.camel(key): value for key, value in settings if key not in MODEL_ONLY_KEYS}
    grid = Grid.read(arguments["grid_file"])
    write_participant_heatmaps(files, plan, grid, {"Cell": cell, "Maps": maps, **metadata})
    return str(files.folder)


def _write_parcels(atlas_folder: Path, files: FoldFiles) -> Path:
    """Write the labels of an atlas as an array beside a fold, since training code reads no images; returns the file."""
    files.folder.mkdir(parents=True, exist_ok=True)
    np.save(files.parcels, np.asarray(read_image(atlas_folder / "labels.nii.gz").dataobj).astype(np.int32))
    return files.parcels


def fold_arguments(
    cell: str, classifier: str, maps: list[str], split: FoldRows, plan: TrainingPlan, stacked: Mapping[str, str]
) -> dict[str, Any]:
    """The arguments of `training.fold.run` for a cell and a fold, except the folder and how the model is explained."""
    work_dir, adjust = WorkDir(Path(plan["work"])), {name: tuple(plan["adjust"][name]) for name in maps}
    settings = {
        "smoothing_mm": {name: plan["smoothing"][name] for name in maps},
        "map_form": {name: plan["forms"][name] for name in maps},
        "adjusted_for": {name: list(columns) for name, columns in adjust.items()},
        "space": plan["space"],
        "resolution_mm": plan["resolutions"][maps[0]],
        "made": {name: plan["map_parameters"][name] for name in maps},
        "levels": plan["levels"],
        "folds_sha256": plan["folds_sha256"],
        **({} if plan["ica"] is None else {"ica": plan["ica"]}),
        **({} if plan["keep"] is None else {"combat_keep": plan["keep"], "sites": plan["sites"]}),
    }
    return {
        "cell": cell,
        "classifier": classifier,
        "maps": tuple(maps),
        "arrays": {name: array_file(name, f"{split['repeat']}_{split['fold']}", stacked) for name in maps},
        "grid_file": work_dir.grid(maps[0]),
        "people": work_dir.participants,
        "classes": tuple(plan["classes"]),
        "split": to_split(split),
        "adjust": adjust,
        "keep": None if plan["keep"] is None else tuple(plan["keep"]),
        "seed": plan["seed"],
        "options": plan["options"].get(classifier, {}),
        "weights": Path(plan["weights"][classifier]) if classifier in plan["weights"] else None,
        "device": plan["device"],
        "threads": plan["threads"],
        "settings": settings,
    }


def array_file(name: str, fold: str, stacked: Mapping[str, str]) -> Path:
    """The array of a map: all participants' stack, or that fitted in the fold, <repeat>_<fold>."""
    if f"array_{name}" in stacked:
        return Path(stacked[f"array_{name}"])
    return Path(stacked[f"fitted_{fold}"]) / f"{name}.npy"
