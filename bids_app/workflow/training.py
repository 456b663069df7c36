"""The steps of a group run as nodes call them: files in, files out. The mathematics is in other rooms."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from bids_app import __version__, catalogue
from bids_app.bids import outputs
from bids_app.dataset import arrays
from bids_app.dataset.folds import Split
from bids_app.dataset.grid import Grid
from bids_app.preprocess.conform import plain
from bids_app.workflow.analysis import description

Files = dict[str, Any]
TERRITORY = 0.1


def stack(*, template: Files, map_name: str, files: list[list[str]], smoothing_mm: float, work: str) -> str:
    """All people's values of a map where its tissue can be: one float32 array on disk. Returns its file."""
    image = nib.load(template["mask"])
    inside = np.asarray(image.dataobj) > 0.5
    region = catalogue.load("maps", map_name).REGION
    if region != "brain":
        # A prior, not the people, says which voxels are looked at: nothing is chosen on those who are held out.
        inside &= np.asarray(nib.load(template[region]).dataobj) > TERRITORY
    grid = Grid(inside, image.affine)
    grid.write(Path(work) / f"grid_{map_name}.npz")
    paths = [tuple(Path(path) for path in each) for each in files]
    return str(arrays.stack(paths, grid, Path(work), smoothing_mm=smoothing_mm))


def place_atlas(*, cache: str, atlas_name: str, link: str, template: Files, space: str, seed: int, sloppy: bool) -> str:
    """An atlas on the maps' grid; `link` names where the analysis finds it."""
    from bids_app.workflow import spaces

    found = spaces.place(cache=cache, name=atlas_name, template=template, space=space, seed=seed, sloppy=sloppy)
    Path(link).parent.mkdir(parents=True, exist_ok=True)
    Path(link).write_text(Path(found).name)
    return found


def train(*, cell: str, classifier: str, maps: list[str], split: Files, plan: Files, **stacked: str) -> str:
    """One cell in one fold, then the heatmaps of those held out into their folders. Returns the fold's folder.

    `stacked` has the array of each map as `array_<name>`; `plan` is what all nodes of an analysis share (cells.py).
    """
    from bids_app.training import fold

    work = Path(plan["work"])
    grid_file = work / f"grid_{maps[0]}.npz"
    place = fold_folder(work, cell, split["repeat"], split["fold"])
    adjust = {name: tuple(plan["adjust"][name]) for name in maps}
    stated = {
        "smoothing_mm": {name: plan["smoothing"][name] for name in maps},
        "adjusted_for": {name: list(columns) for name, columns in adjust.items()},
        "space": plan["space"],
        "resolution_mm": plan["resolution"],
    }
    fold.run(
        cell=cell,
        classifier=classifier,
        maps=tuple(maps),
        arrays={name: Path(stacked[f"array_{name}"]) for name in maps},
        grid_file=grid_file,
        people=work / "people.tsv",
        classes=tuple(plan["classes"]),
        split=Split(**{key: tuple(value) if isinstance(value, list) else value for key, value in split.items()}),
        explainers=tuple(plan["explainers"]),
        adjust=adjust,
        seed=plan["seed"],
        device=plan["device"],
        threads=plan["threads"],
        folder=place,
        settings=stated,
    )
    _publish_heatmaps(place, plan, Grid.read(grid_file), {"Cell": cell, "Maps": maps, **_sidecar(stated)})
    return str(place)


def _sidecar(stated: Files) -> Files:
    """Settings spelled as in BIDS sidecars: smoothing_mm -> SmoothingMm."""
    return {"".join(word.capitalize() for word in key.split("_")): value for key, value in stated.items()}


def fold_folder(work: Path, cell: str, repeat: int, number: int) -> Path:
    """Where a fold's results are kept."""
    return work / "folds" / cell / f"repeat-{repeat}_fold-{number}"


def _publish_heatmaps(place: Path, plan: Files, grid: Grid, stated: Files) -> None:
    """Each held-out person's heatmap of one class (`target`: predicted, true, or a name), raw, on the maps' grid."""
    out, target = Path(plan["output_dir"]), plan["target"]
    told = pd.read_csv(place / "predictions.tsv", sep="\t", dtype=str, keep_default_na=False)
    methods = json.loads((place / "heatmaps.json").read_text())
    with outputs.staging(out) as stage:
        for method, about in methods.items():
            if "refused" in about or about["of"] == "model":
                continue
            maps = np.load(place / f"heatmap_{method}.npy", mmap_mode="r")
            for row, person in enumerate(told.to_dict("records")):
                explained = person[target] if target in ("predicted", "true") else target
                values = np.asarray(maps[row, plan["classes"].index(explained)])
                _one(
                    stage,
                    person,
                    explained,
                    {"Analysis": plan["analysis"], "Method": method, **stated},
                    about,
                    grid,
                    values,
                )
        outputs.publish(stage, out)


def _one(
    stage: Path, person: Files, explained: str, stated: Files, about: Files, grid: Grid, values: np.ndarray
) -> None:
    session = None if person["session_id"] in ("", "n/a") else person["session_id"]
    repeat = f"Repeat{person['repeat']}" if int(person["repeat"]) > 1 else ""
    stem = outputs.filename(
        person["participant_id"],
        session,
        "statmap",
        "",
        space=stated["Space"],
        res=f"{stated['ResolutionMm']:g}".replace(".", "p"),
        stat=outputs.label(stated["Method"]),
        desc=description(stated["Analysis"], stated["Cell"], explained) + repeat,
    )
    folder = outputs.folder(stage, person["participant_id"], session, "anat")
    folder.mkdir(parents=True, exist_ok=True)
    plain(grid.volume(values.astype(np.float32)), grid.affine).to_filename(folder / f"{stem}.nii.gz")
    sidecar = {
        "Description": f"What {stated['Cell']} used of this held-out person for {explained}; not where a disease is",
        **stated,
        "Units": about["unit"],
        "Sign": about["sign"],
        "ModelSpread": about["person_sd"],
        "ExplainedClass": explained,
        "PredictedClass": person["predicted"],
        "Repeat": int(person["repeat"]),
        "Fold": int(person["fold"]),
        "HeldOut": True,
        "PellucidVersion": __version__,
    }
    (folder / f"{stem}.json").write_text(json.dumps(sidecar, indent=2) + "\n")
