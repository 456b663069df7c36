"""A page for each person that says why they were called so, by the cells whose verdict allows it."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from nipype.pipeline.engine import Workflow

from bids_app import __version__
from bids_app.bids import outputs
from bids_app.dataset.grid import Grid
from bids_app.errors import FailedError
from bids_app.nodes import template
from bids_app.planning.group import Analysis
from bids_app.planning.work_dir import atlas_of, fold_folders
from bids_app.preprocess.conform import plain
from bids_app.regions import tables
from bids_app.settings import Settings
from bids_app.training import deviations
from bids_app.workflow import execute
from bids_app.workflow.call import node
from bids_app.workflow.judge import Judgement

Files = dict[str, Any]
FOLDER = "people"


def run(analysis: Analysis, settings: Settings, judged: Judgement, work: Path) -> Path | None:
    """Write the pages into a folder of the work folder, `people`; None where no verdict is a claim.

    Of the first repeat, by the first method that explains people. Raises FailedError with the reason.
    """
    claimed = [cell for cell in analysis.cells if judged.verdicts[cell.name].claim]
    calls: dict[tuple[str, str], list[Files]] = {}
    for cell in claimed:
        rows = judged.scores[(judged.scores["cell"] == cell.name) & (judged.scores["repeat"] == 1)]
        about = {
            "cell": cell.name,
            "maps": list(cell.maps),
            "words": judged.verdicts[cell.name].text,
            "slope": f"{rows['calibration_slope'].iloc[0]:.2f}",
        }
        for place, split in zip(fold_folders(analysis, cell, work), analysis.splits, strict=True):
            if split.repeat == 1:
                for who, call in _calls(place, settings):
                    calls.setdefault(who, []).append({**call, **about})
    if not calls:
        return None
    done = work / FOLDER
    graph = Workflow("pages", base_dir=str(work))
    shared = _shared(analysis, settings, work)
    for number, ((person, session), told) in enumerate(sorted(calls.items())):
        graph.add_nodes([
            node(f"page_{number}", "bids_app.workflow.called:page", mem_gb=1.5, person=person, session=session,
                 calls=told, own=_own(person, session, analysis.space, settings), shared=shared, done=str(done))
        ])  # fmt: skip
    logs = work / "log"
    execute.keep_crashes(graph, logs)
    execute.run(graph, settings, last=("page_",), total=len(calls), what="pages of people", preload=[__name__])
    execute.nameless(logs, settings)
    if any(logs.glob("crash-*")):
        raise FailedError(f"the pages of people were not made: {execute.reason(logs)}")
    return done


def _calls(place: Path, settings: Settings) -> list[tuple[tuple[str, str], Files]]:
    """Everyone held out in a fold, with where their heatmap is; nobody where no method explains people."""
    methods = json.loads((place / "heatmaps.json").read_text())
    of_people = (name for name in settings.group.explainers if methods[name].get("of") in ("person", "both"))
    method = next(of_people, None)
    if method is None:
        return []
    told = pd.read_csv(place / "predictions.tsv", sep="\t", dtype=str, keep_default_na=False)
    about = {"place": str(place), "method": method, "unit": methods[method]["unit"], "sign": methods[method]["sign"]}
    return [
        ((row["participant_id"], row["session_id"]), {**about, "row": number, "told": row})
        for number, row in enumerate(told.to_dict("records"))
    ]


def _shared(analysis: Analysis, settings: Settings, work: Path) -> Files:
    files = template.prepare(
        cache=str(settings.work_dir),
        space=analysis.space,
        resolution=min(analysis.resolutions.values()),
        sloppy=analysis.sloppy,
        seed=settings.compute.random_seed,
    )
    return {
        "brain": files["brain"],
        "mask": files["mask"],
        "classes": list(analysis.classes),
        "target": settings.group.explain_target,
        "atlases": {
            name: atlas_of(work, analysis.grids[name], chosen[0])[1] for name, chosen in analysis.atlases.items()
        },
        "work": str(work),
        "radiological": settings.other.radiological,
    }


def page(*, person: str, session: str, calls: list[Files], own: list[Any], shared: Files, done: str) -> str:
    """Write one person's page; returns its file."""
    from bids_app.report import called

    visit = None if session in ("", "n/a") else session
    template, mask = nib.load(shared["brain"]), nib.load(shared["mask"])
    name = f"sub-{person}" + (f"_ses-{visit}" if visit else "")
    called.write(
        Path(done) / f"{name}.html",
        name=name.replace("_", ", "),
        true=calls[0]["told"]["true"],
        classes=shared["classes"],
        calls=[_call(its, shared) for its in calls],
        template=template,
        mask=mask,
        own=_own_t1w([str(path) for path, _ in own], shared["brain"]) if own else None,
        radiological=shared["radiological"],
        version=__version__,
    )
    return str(Path(done) / f"{name}.html")


def _call(its: Files, shared: Files) -> Any:
    from bids_app.report.called import Call

    place, told, first = Path(its["place"]), its["told"], its["maps"][0]
    grid = Grid.read(Path(shared["work"]) / f"grid_{first}.npz")
    target = shared["target"]
    explained = told[target] if target in ("predicted", "true") else target
    maps = np.load(place / f"heatmap_{its['method']}.npy", mmap_mode="r")
    values = np.asarray(maps[its["row"], shared["classes"].index(explained)])
    with np.load(place / deviations.FILE) as stored:
        found = dict(stored)
    return Call(
        cell=its["cell"],
        words=its["words"],
        predicted=told["predicted"],
        probability={one: float(told[f"probability_{one}"]) for one in shared["classes"]},
        method=its["method"],
        explained=explained,
        map=plain(grid.volume(values), grid.affine),
        unit=its["unit"],
        sign=its["sign"],
        atlas=shared["atlases"][first]["name"],
        slope=its["slope"],
        controls=int(found["controls"]),
        regions=_regions(its, found, values, grid, shared["atlases"][first]["names"]),
    )


def _regions(its: Files, found: Files, values: np.ndarray, grid: Grid, names: dict[str, str]) -> pd.DataFrame:
    """Every region's mean of the heatmap, and where the person's own maps lie there."""
    index, z = found["index"], found["z"][its["row"]]
    labels = grid.vector(np.load(Path(its["place"]) / "parcels.npy"))
    columns = {"region": [names.get(str(one), str(one)) for one in index]}
    columns["heatmap"] = tables.means([values], labels, index)[0]
    return pd.DataFrame(columns | {f"z_{name}": row for name, row in zip(its["maps"], z, strict=True)})


def _own(person: str, session: str, space: str, settings: Settings) -> list[tuple[str, int]]:
    """The person's T1w and its transforms to the template, in order, with when they were written; none if one lacks."""
    visit = None if session in ("", "n/a") else session
    folder = outputs.folder(settings.output_dir, person, visit, "anat")
    t1w = folder / outputs.filename(person, visit, "T1w", ".nii.gz", desc="preproc")
    for kind in ("syn", "affine"):
        like = outputs.filename(person, visit, "xfm", "", from_="T1w", to=space, mode="image", desc=kind)
        warps = sorted(folder.glob(like.replace(f"desc-{kind}", f"desc-{kind}[0-9]") + ".*"))
        if t1w.is_file() and warps:
            return [(str(path), path.stat().st_mtime_ns) for path in (t1w, *warps)]
    return []


def _own_t1w(files: list[str], template: str) -> nib.Nifti1Image:
    """A T1w on the template's grid; files: the image, then its transforms as ANTs takes them."""
    import ants

    grid = ants.image_read(template)
    moved = ants.apply_transforms(grid, ants.image_read(files[0]), files[1:])
    return plain(moved.numpy(), nib.load(template).affine)
