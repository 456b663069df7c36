"""The graph of prediction pages: a node for each participant of whom a model with a claim predicted something."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
from nipype.pipeline.engine import Workflow

from bids_app.bids import outputs
from bids_app.errors import FailedError
from bids_app.graphs.function_node import make_node
from bids_app.graphs.run import anonymise_crash_files, failure_reason, run_graph, set_crash_folder
from bids_app.nodes.prediction_page import write_prediction_page
from bids_app.nodes.template import prepare_template
from bids_app.planning.group import Analysis
from bids_app.planning.work_dir import atlas_of, fold_folders
from bids_app.settings import Settings

Files = dict[str, Any]
FOLDER = "people"


def run_prediction_pages(
    analysis: Analysis, settings: Settings, claims: dict[str, tuple[str, float]], work: Path
) -> Path | None:
    """Write the pages into a folder of the work folder, `people`; None where no verdict is a claim.

    claims: the verdict's text and the calibration slope in the first repeat of the cells whose verdict is one. Pages
    are of the first repeat, by the first method that explains people. Raises FailedError with the reason.
    """
    calls: dict[tuple[str, str], list[Files]] = {}
    for cell in (cell for cell in analysis.cells if cell.name in claims):
        text, slope = claims[cell.name]
        about = {
            "cell": cell.name,
            "maps": list(cell.maps),
            "words": text,
            "slope": f"{slope:.2f}",
        }
        for place, split in zip(fold_folders(analysis, cell, work), analysis.splits, strict=True):
            if split.repeat == 1:
                for who, call in _predictions_of_fold(place, settings):
                    calls.setdefault(who, []).append({**call, **about})
    if not calls:
        return None
    done = work / FOLDER
    graph = Workflow("pages", base_dir=str(work))
    shared = _shared_inputs(analysis, settings, work)
    for number, ((person, session), told) in enumerate(sorted(calls.items())):
        visit = "" if session in ("", "n/a") else f"_ses_{session}"
        graph.add_nodes(
            [
                make_node(
                    f"page_{number}_sub_{person}{visit}",
                    write_prediction_page,
                    mem_gb=1.5,
                    person=person,
                    session=session,
                    calls=told,
                    own=_t1w_and_transforms(person, session, analysis.space, settings),
                    shared=shared,
                    done=str(done),
                )
            ]
        )
    logs = work / "log"
    set_crash_folder(graph, logs)
    run_graph(
        graph,
        settings,
        last=("page_",),
        total=len(calls),
        what="pages of people",
        preload=[write_prediction_page.__module__],
    )
    anonymise_crash_files(logs, settings)
    if any(logs.glob("crash-*")):
        raise FailedError(f"the pages of people were not made: {failure_reason(logs)}")
    return done


def _predictions_of_fold(place: Path, settings: Settings) -> list[tuple[tuple[str, str], Files]]:
    """Everyone held out in a fold, with where their heatmap is; nobody where no method explains people."""
    methods = json.loads((place / "heatmaps.json").read_text())
    of_people = (name for name in settings.group.explainers if methods[name].get("scope") in ("sample", "both"))
    method = next(of_people, None)
    if method is None:
        return []
    told = pd.read_csv(place / "predictions.tsv", sep="\t", dtype=str, keep_default_na=False)
    about = {"place": str(place), "method": method, "unit": methods[method]["unit"], "sign": methods[method]["sign"]}
    return [
        ((row["participant_id"], row["session_id"]), {**about, "row": number, "told": row})
        for number, row in enumerate(told.to_dict("records"))
    ]


def _shared_inputs(analysis: Analysis, settings: Settings, work: Path) -> Files:
    files = prepare_template(
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


def _t1w_and_transforms(person: str, session: str, space: str, settings: Settings) -> list[tuple[str, int]]:
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
