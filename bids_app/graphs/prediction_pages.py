"""The graph of prediction pages: one node per participant predicted by a model with a claim."""

import json
import math
from pathlib import Path

import pandas as pd
from nipype.pipeline.engine import Workflow

from bids_app.bids import outputs
from bids_app.bids.names import parse_session
from bids_app.errors import FailedError
from bids_app.graphs.function_node import make_node
from bids_app.graphs.run import failure_reason, run_graph, set_crash_folder
from bids_app.nodes.prediction_page import write_prediction_page
from bids_app.nodes.template import template_of_analysis
from bids_app.planning.group import GroupPlan, ModelSpec
from bids_app.planning.group_records import PageContext, PagePrediction
from bids_app.planning.sites import output_folder
from bids_app.planning.work_dir import WorkDir
from bids_app.settings import Settings
from bids_app.training.fold_files import FoldFiles


def run_prediction_pages(
    analysis: GroupPlan, settings: Settings, claims: dict[str, tuple[str, float]], work_dir: WorkDir
) -> Path | None:
    """Write the pages into `WorkDir.prediction_pages`; returns the folder, None where no verdict is a claim.

    claims: the verdict's text and the calibration slope in the first repeat of the cells whose verdict is one. Pages
    are of the first repeat, by the first method that explains samples. Raises FailedError with the reason.
    """
    predictions: dict[tuple[str, str], list[PagePrediction]] = {}
    for cell in (cell for cell in analysis.cells if cell.name in claims):
        for files, split in zip(work_dir.folds(cell.name, analysis.splits), analysis.splits, strict=True):
            if split.repeat == 1:
                for entities, prediction in _predictions_of_fold(cell, files, claims[cell.name], settings):
                    predictions.setdefault(entities, []).append(prediction)
    if not predictions:
        return None
    graph = Workflow("pages", base_dir=str(work_dir.path))
    context = _page_context(analysis, settings, work_dir)
    for number, (entities, predicted) in enumerate(sorted(predictions.items())):
        visit = "" if parse_session(entities[1]) is None else f"_ses_{entities[1]}"
        graph.add_nodes(
            [
                make_node(
                    f"page_{number}_sub_{outputs.label(entities[0])}{visit}",
                    write_prediction_page,
                    mem_gb=1.5,
                    participant=entities[0],
                    session=entities[1],
                    predictions=predicted,
                    t1w=find_t1w_and_transforms(*entities, analysis.space, settings),
                    context=context,
                    folder=str(work_dir.prediction_pages),
                )
            ]
        )
    set_crash_folder(graph, work_dir.logs)
    run_graph(
        graph,
        settings,
        last=("page_",),
        total=len(predictions),
        what="prediction pages",
        preload=[write_prediction_page.__module__],
    )
    if any(work_dir.logs.glob("crash-*")):
        raise FailedError(f"the prediction pages could not be written: {failure_reason(work_dir.logs)}")
    return work_dir.prediction_pages


def _predictions_of_fold(
    cell: ModelSpec, files: FoldFiles, claim: tuple[str, float], settings: Settings
) -> list[tuple[tuple[str, str], PagePrediction]]:
    """The predictions in a fold, by held-out participant and session; empty if no method explains samples.

    claim: the text of the verdict, and the calibration slope.
    """
    methods = json.loads(files.heatmaps.read_text())
    of_people = (name for name in settings.group.explainers if methods[name].get("scope") in ("sample", "both"))
    method = next(of_people, None)
    if method is None:
        return []
    rows = pd.read_csv(files.predictions, sep="\t", dtype=str, keep_default_na=False).to_dict("records")
    return [
        (
            (row["participant_id"], row["session_id"]),
            {
                "cell": cell.name,
                "maps": list(cell.maps),
                "verdict": claim[0],
                "slope": "" if math.isnan(claim[1]) else f"{claim[1]:.2f}",
                "folder": str(files.folder),
                "method": method,
                "unit": methods[method]["unit"],
                "sign": methods[method]["sign"],
                "row": number,
                "prediction": row,
            },
        )
        for number, row in enumerate(rows)
    ]


def _page_context(analysis: GroupPlan, settings: Settings, work_dir: WorkDir) -> PageContext:
    files = template_of_analysis(analysis, settings)
    return {
        "brain": files["brain"],
        "mask": files["mask"],
        "classes": list(analysis.classes),
        "target": settings.group.explain_target,
        "atlases": {
            name: work_dir.read_atlas(analysis.grids[name], atlases[0])[1] for name, atlases in analysis.atlases.items()
        },
        "work": str(work_dir.path),
        "radiological": settings.other.radiological,
    }


def find_t1w_and_transforms(participant: str, session: str, space: str, settings: Settings) -> list[tuple[str, int]]:
    """The T1w and its transforms to the template, in order, with modification times; empty if any is missing."""
    visit = parse_session(session)
    root, participant = output_folder(participant, settings)
    folder = outputs.folder(root, participant, visit, "anat")
    t1w = folder / outputs.filename(participant, visit, "T1w", ".nii.gz", desc="preproc")
    for kind in ("nonlinear", "syn", "affine"):
        like = outputs.filename(participant, visit, "xfm", "", from_="T1w", to=space, mode="image", desc=kind)
        warps = sorted(folder.glob(like.replace(f"desc-{kind}", f"desc-{kind}[0-9]") + ".*"))
        if t1w.is_file() and warps:
            return [(str(path), path.stat().st_mtime_ns) for path in (t1w, *warps)]
    return []
