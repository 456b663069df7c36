"""The steps of a group run as nodes call them: files in, files out. The mathematics is in other rooms."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from bids_app import catalogue
from bids_app.atlases import templates
from bids_app.bids import outputs
from bids_app.dataset import arrays
from bids_app.dataset.folds import Split
from bids_app.dataset.grid import Grid
from bids_app.nodes.atlas import resample_atlas
from bids_app.nodes.heatmaps import write_participant_heatmaps
from bids_app.planning.work_dir import fold_folder

Files = dict[str, Any]
TERRITORY = 0.1
OF_MODELS = ("levels", "folds_sha256")  # what applying a model asks, and a heatmap need not say


def stack_maps(
    *,
    template: Files,
    map_name: str,
    files: list[list[str]],
    smoothing_mm: float,
    form: str,
    whole: bool,
    work: str,
    parcellation: str | None = None,
) -> str:
    """All people's values of a map where its tissue can be: one float32 array on disk. Returns its file.

    `parcellation`: the folder of `place_atlas` of the regions that a classifier takes means over.
    """
    image = nib.load(template["mask"])
    inside = np.asarray(image.dataobj) > 0.5
    region = catalogue.load("maps", map_name).ANALYSIS_MASK
    if region != "brain":
        # A prior, not the people, says which voxels are looked at: nothing is chosen on those who are held out.
        inside &= np.asarray(nib.load(template[region]).dataobj) > TERRITORY
    grid = Grid(inside, image.affine, whole, region_labels(parcellation, inside))
    grid.write(Path(work) / f"grid_{map_name}.npz")
    paths = [tuple(Path(path) for path in each) for each in files]
    return str(arrays.stack_images(paths, grid, Path(work), smoothing_mm=smoothing_mm, form=form))


def region_labels(parcellation: str | None, mask: np.ndarray) -> np.ndarray | None:
    """The labels (voxels,) of a placed atlas in a mask (X, Y, Z); None without one."""
    if parcellation is None:
        return None
    return np.asarray(nib.load(Path(parcellation) / "labels.nii.gz").dataobj)[mask].astype(np.int32)


def detect_copies(*, array: str, map_name: str, groups: list[str], work: str) -> str:
    """Pairs of people who look like one, `copies_<map>.json`: [people, what was measured]. Groups are kept together."""
    from bids_app.evaluation import duplicates

    people = pd.read_csv(Path(work) / "people.tsv", sep="\t", dtype=str)["participant_id"]
    found = duplicates.find_duplicates(
        np.load(array, mmap_mode="r"), Grid.read(Path(work) / f"grid_{map_name}.npz"), groups
    )
    pairs = [
        [sorted({f"sub-{people[pair.first]}", f"sub-{people[pair.second]}"}), f"{pair.kind}: {pair.measure}"]
        for pair in found
    ]
    file = Path(work) / f"copies_{map_name}.json"
    file.write_text(json.dumps(pairs))
    return str(file)


def resample_template(*, template: Files, like: str, folder: str) -> Files:
    """The template's brain, mask and priors on the grid of an image; files of `folder`, or the template's own."""
    image, mask = nib.load(like), nib.load(template["mask"])
    shape, affine = image.shape[:3], image.affine
    if Grid(np.ones(shape, bool), affine).same_place(mask.shape, mask.affine):
        return template
    Path(folder).mkdir(parents=True, exist_ok=True)
    placed = dict(template)
    for name in ("brain", "mask", "gm", "wm"):
        image = templates.resample(nib.load(template[name]), shape, affine, order="linear")
        placed[name] = str(Path(folder) / f"{name}.nii.gz")
        image.to_filename(placed[name])
    return placed


def resample_atlas_to_maps(*, atlas_name: str, link: str, **chosen: Any) -> str:
    """An atlas on the maps' grid (`spaces.place`); `link` names where the analysis finds it."""

    found = resample_atlas(name=atlas_name, **chosen)
    Path(link).parent.mkdir(parents=True, exist_ok=True)
    Path(link).write_text(Path(found).name)
    return found


def train_fold(
    *,
    cell: str,
    classifier: str,
    maps: list[str],
    split: Files,
    plan: Files,
    regions: str,
    **stacked: str,
) -> str:
    """One cell in one fold, and the heatmaps of those held out as files. Returns the fold's folder.

    `stacked` has the array of each map as `array_<name>`, or the folder of what was fitted in the fold as
    `fitted_<repeat>_<fold>`; `plan` is what all nodes of an analysis share (cells.py);
    `regions` is the folder of `place_atlas` for the map's first atlas.
    """
    from bids_app.training import fold

    work = Path(plan["work"])
    place = fold_folder(work, cell, split["repeat"], split["fold"])
    given = fold_arguments(cell, classifier, maps, split, plan, stacked)
    fold.train_fold(
        **given,
        explainers=plan["explainers"],
        parcels=_parcels(Path(regions), place),
        explain_checks=plan["explain_checks"],
        folder=place,
    )
    told = {outputs.camel(key): value for key, value in given["settings"].items() if key not in OF_MODELS}
    stated = {"Cell": cell, "Maps": maps, **told}
    write_participant_heatmaps(place, plan, Grid.read(given["grid_file"]), stated)
    return str(place)


def _parcels(atlas_folder: Path, place: Path) -> Path:
    """The labels of an atlas as an array beside a fold: what trains reads no images."""
    place.mkdir(parents=True, exist_ok=True)
    np.save(place / "parcels.npy", np.asarray(nib.load(atlas_folder / "labels.nii.gz").dataobj).astype(np.int32))
    return place / "parcels.npy"


def fold_arguments(cell: str, classifier: str, maps: list[str], split: Files, plan: Files, stacked: Files) -> Files:
    """What `training.fold.run` is told of a cell and a fold, but for the folder and what is done with the model."""
    work, adjust = Path(plan["work"]), {name: tuple(plan["adjust"][name]) for name in maps}
    stated = {
        "smoothing_mm": {name: plan["smoothing"][name] for name in maps},
        "map_form": {name: plan["forms"][name] for name in maps},
        "adjusted_for": {name: list(columns) for name, columns in adjust.items()},
        "space": plan["space"],
        "resolution_mm": plan["resolutions"][maps[0]],
        "made": {name: plan["made"][name] for name in maps},
        "levels": plan["levels"],
        "folds_sha256": plan["folds"],
        **({"ica": {key: its for key, its in plan["ica"].items() if key != "maps"}} if plan["ica"] else {}),
        **({} if plan["keep"] is None else {"combat_keep": plan["keep"], "sites": plan["sites"]}),
    }
    return {
        "cell": cell,
        "classifier": classifier,
        "maps": tuple(maps),
        "arrays": {name: array_file(name, f"{split['repeat']}_{split['fold']}", stacked) for name in maps},
        "grid_file": work / f"grid_{maps[0]}.npz",
        "people": work / "people.tsv",
        "classes": tuple(plan["classes"]),
        "split": Split(**{key: tuple(value) if isinstance(value, list) else value for key, value in split.items()}),
        "adjust": adjust,
        "keep": None if plan["keep"] is None else tuple(plan["keep"]),
        "seed": plan["seed"],
        "options": plan["options"].get(classifier, {}),
        "weights": Path(plan["weights"][classifier]) if classifier in plan["weights"] else None,
        "device": plan["device"],
        "threads": plan["threads"],
        "settings": stated,
    }


def array_file(name: str, fold: str, stacked: Files) -> Path:
    """The array of a map: everybody's stack, or what was fitted in the fold, <repeat>_<fold>."""
    if f"array_{name}" in stacked:
        return Path(stacked[f"array_{name}"])
    return Path(stacked[f"fitted_{fold}"]) / f"{name}.npy"
