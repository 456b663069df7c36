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


def train(
    *, cell: str, classifier: str, maps: list[str], classes: list[str], split: Files, explainers: list[str], target: str,
    adjust: dict[str, list[str]], smoothing: dict[str, float], analysis: str, space: str, resolution: float, seed: int,
    device: str, threads: int, work: str, output_dir: str, **stacked: str,
) -> str:  # fmt: skip
    """One cell in one fold, then the heatmaps of those held out into their folders. Returns the fold's folder."""
    from bids_app.training import fold

    place = fold_folder(Path(work), cell, split["repeat"], split["fold"])
    settings = {"smoothing_mm": smoothing, "adjust_for": adjust, "space": space, "resolution_mm": resolution}
    fold.run(
        cell=cell,
        classifier=classifier,
        maps=tuple(maps),
        arrays={name: Path(stacked[f"array_{name}"]) for name in maps},
        grid_file=Path(work) / f"grid_{maps[0]}.npz",
        people=Path(work) / "people.tsv",
        classes=tuple(classes),
        split=Split(**{key: tuple(value) if isinstance(value, list | tuple) else value for key, value in split.items()}),
        explainers=tuple(explainers),
        adjust={name: tuple(columns) for name, columns in adjust.items()},
        seed=seed,
        device=device,
        threads=threads,
        folder=place,
        settings=settings,
    )
    stated = {"Cell": cell, "Maps": maps, "Space": space, "Resolution": f"{resolution:g} mm", "SmoothingMm": smoothing, "AdjustedFor": adjust}
    _publish_heatmaps(place, Path(output_dir), analysis, classes, target, Grid.read(Path(work) / f"grid_{maps[0]}.npz"), stated)
    return str(place)


def fold_folder(work: Path, cell: str, repeat: int, number: int) -> Path:
    """Where a fold's results are kept."""
    return work / "folds" / cell / f"repeat-{repeat}_fold-{number}"


def _publish_heatmaps(
    place: Path, out: Path, analysis: str, classes: list[str], target: str, grid: Grid, stated: Files
) -> None:
    """Each held-out person's heatmap of one class (`target`: predicted, true, or a class by name), raw, on the maps' grid."""
    told = pd.read_csv(place / "predictions.tsv", sep="\t", dtype=str, keep_default_na=False)
    methods = json.loads((place / "heatmaps.json").read_text())
    with outputs.staging(out) as stage:
        for method, about in methods.items():
            if "refused" in about or about["of"] == "model":
                continue
            maps = np.load(place / f"heatmap_{method}.npy", mmap_mode="r")
            for row, person in enumerate(told.to_dict("records")):
                explained = person[target] if target in ("predicted", "true") else target
                values = np.asarray(maps[row, classes.index(explained)])
                _one(stage, person, method, about, explained, analysis, grid, values, stated)
        outputs.publish(stage, out)


def _one(
    stage: Path, person: Files, method: str, about: Files, explained: str, analysis: str, grid: Grid, values: np.ndarray, stated: Files
) -> None:
    session = None if person["session_id"] in ("", "n/a") else person["session_id"]
    repeat = "" if person["repeat"] == "1" else f"Repeat{person['repeat']}"
    desc = outputs.label(analysis) + outputs.camel(stated["Cell"]) + outputs.camel(explained) + repeat
    res = stated["Resolution"].split()[0].replace(".", "p")
    stem = outputs.filename(
        person["participant_id"], session, "statmap", "", space=stated["Space"], res=res, stat=outputs.label(method), desc=desc
    )
    folder = outputs.folder(stage, person["participant_id"], session, "anat")
    folder.mkdir(parents=True, exist_ok=True)
    plain(grid.volume(values.astype(np.float32)), grid.affine).to_filename(folder / f"{stem}.nii.gz")
    sidecar = {
        "Description": f"What {stated['Cell']} used of this held-out person for the class {explained}; not where a disease is",
        "Method": method,
        "Units": about["unit"],
        "Sign": about["sign"],
        "ModelSpread": about["person_sd"],
        "ExplainedClass": explained,
        "PredictedClass": person["predicted"],
        "Repeat": int(person["repeat"]),
        "Fold": int(person["fold"]),
        "HeldOut": True,
        "PellucidVersion": __version__,
        **stated,
    }
    (folder / f"{stem}.json").write_text(json.dumps(sidecar, indent=2) + "\n")
