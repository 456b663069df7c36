"""The graph that applies a trained analysis: one node a map to stack, one a cell to predict."""

from typing import Any

import numpy as np
import pandas as pd
from nipype.pipeline.engine import Node, Workflow

from bids_app.bids import outputs
from bids_app.errors import FailedError
from bids_app.graphs.function_node import make_node
from bids_app.graphs.run import anonymise_crash_files, failure_reason, run_graph, set_crash_folder
from bids_app.nodes.apply_model import gather_series, predict, refit_maps, stack_map
from bids_app.planning import available_maps
from bids_app.planning.model_application import ApplicationPlan
from bids_app.planning.work_dir import WorkDir
from bids_app.settings import Settings


def run_application_graph(planned: ApplicationPlan, settings: Settings) -> pd.DataFrame:
    """Ask every cell about everyone who is used -> rows of `training.apply.run`. Raises FailedError with the reason."""
    work = WorkDir.of_application(settings, planned.name, planned.key)
    work.logs.mkdir(parents=True, exist_ok=True)
    written = planned.used.drop(columns=list(planned.maps)).assign(session_id=planned.used["session_id"].fillna("n/a"))
    written.to_csv(work.participants, sep="\t", index=False, na_rep="n/a")
    np.save(work.eligible_models, planned.asked)
    graph = Workflow("nodes", base_dir=str(work.path))
    stacks = {
        name: make_node(
            f"stack_{outputs.label(name)}",
            stack_map,
            mem_gb=1,
            folder=str(its["folder"]),
            files=[[str(path) for path in paths] for paths in planned.used[name]],
            smoothing_mm=its["smoothing_mm"],
            form=its["form"],
            work=str(work.path),
        )
        for name, its in planned.maps.items()
        if not available_maps.is_fitted(name)
    }
    refitted = _refit_nodes(graph, planned, work)
    for number, (cell, models) in enumerate(planned.cells.items()):
        maps = next(iter(models.values()))["maps"]
        ask = make_node(
            f"apply_{number}",
            predict,
            mem_gb=3,
            n_procs=settings.compute.omp_nthreads,
            connected=tuple(f"array_{name}" for name in maps if name in stacks)
            + tuple(f"fitted_{key}" for key in map(_fold_key, models.values()) if set(maps) - set(stacks)),
            maps=list(maps),
            keys=[_fold_key(card) for card in models.values()],
            folders=[str(folder) for folder in models],
            file=str(work.applied_predictions(cell)),
            device=settings.compute.device,
            threads=settings.compute.omp_nthreads,
        )
        graph.connect([(stacks[name], ask, [("out", f"array_{name}")]) for name in maps if name in stacks])
        if set(maps) - set(stacks):
            places = map(_fold_key, models.values())
            graph.connect([(refitted[key], ask, [("out", f"fitted_{key}")]) for key in places])
    set_crash_folder(graph, work.logs)
    preload = ["bids_app.training.apply"]
    run_graph(graph, settings, last=("apply_",), total=len(planned.cells), what="cells applied", preload=preload)
    anonymise_crash_files(work.logs, settings)
    if any(work.logs.glob("crash-*")):
        raise FailedError(f"the model was not applied: {failure_reason(work.logs)}")
    text = dict.fromkeys(("participant_id", "session_id", "cell", "predicted"), str)
    return pd.concat(
        [
            pd.read_csv(work.applied_predictions(cell), sep="\t", dtype=text, keep_default_na=False)
            for cell in planned.cells
        ],
        ignore_index=True,
    )


def _fold_key(card: dict[str, Any]) -> str:
    return f"{card['repeat']}_{card['fold']}"


def _refit_nodes(graph: Workflow, planned: ApplicationPlan, work: WorkDir) -> dict[str, Node]:
    """A node a fold of the training for the maps that were fitted in it, by its models' own components."""
    names = [name for name in planned.maps if available_maps.is_fitted(name)]
    if not names:
        return {}
    folders: dict[str, dict[str, str]] = {}
    for models in planned.cells.values():
        for folder, card in models.items():
            folders.setdefault(_fold_key(card), {}).update(
                {name: str(folder) for name in card["maps"] if name in names}
            )
    first = planned.maps[names[0]]
    series = make_node(
        "series",
        gather_series,
        mem_gb=2,
        folder=str(first["folder"]),
        files=[[str(path) for path in paths] for paths in planned.used[names[0]]],
        work=str(work.path),
    )
    plan = {
        "smoothing": {name: planned.maps[name]["smoothing_mm"] for name in names},
        "forms": {name: planned.maps[name]["form"] for name in names},
    }
    made = {}
    for key, its in folders.items():
        made[key] = make_node(
            f"maps_{key}", refit_maps, mem_gb=3, connected=("series",), key=key, folders=its, plan=plan,
            work=str(work.path),
        )  # fmt: skip
        graph.connect([(series, made[key], [("out", "series")])])
    return made
