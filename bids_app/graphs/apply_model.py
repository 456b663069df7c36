"""The graph that applies a trained analysis: one node per map to stack it, and one per model to predict."""

from typing import Any

import numpy as np
import pandas as pd
from nipype.pipeline.engine import Node, Workflow

from bids_app.bids import outputs
from bids_app.errors import FailedError
from bids_app.graphs.computed import check_computed
from bids_app.graphs.function_node import make_node
from bids_app.graphs.run import failure_reason, run_graph, set_crash_folder
from bids_app.nodes.apply_model import gather_series, predict, refit_maps, stack_map
from bids_app.planning import available_maps
from bids_app.planning.group_records import MapScaling
from bids_app.planning.model_application import ApplicationPlan
from bids_app.planning.provenance import GROUP_SOFTWARE, describe_run, write_record
from bids_app.planning.work_dir import WorkDir
from bids_app.settings import Settings


def run_application_graph(application: ApplicationPlan, settings: Settings) -> pd.DataFrame:
    """The predictions of every cell (`training.apply.run`). Raises FailedError with the reason."""
    work_dir = WorkDir.of_application(settings, application.name, application.key)
    work_dir.logs.mkdir(parents=True, exist_ok=True)
    used = application.used.drop(columns=list(application.maps)).assign(
        session_id=application.used["session_id"].fillna("n/a")
    )
    used.to_csv(work_dir.participants, sep="\t", index=False, na_rep="n/a")
    np.save(work_dir.eligible_models, application.eligible)
    graph = Workflow("nodes", base_dir=str(work_dir.path))
    stacks = {
        name: _stack_node(name, application, work_dir)
        for name in application.maps
        if not available_maps.is_fitted(name)
    }
    refitted = _refit_nodes(graph, application, work_dir)
    for number, (cell, models) in enumerate(application.cells.items()):
        maps = next(iter(models.values()))["maps"]
        node = make_node(
            f"apply_{number}",
            predict,
            mem_gb=3,
            n_procs=settings.compute.omp_nthreads,
            connected=tuple(f"array_{name}" for name in maps if name in stacks)
            + tuple(f"fitted_{key}" for key in map(_fold_key, models.values()) if set(maps) - set(stacks)),
            maps=list(maps),
            keys=[_fold_key(card) for card in models.values()],
            folders=[str(folder) for folder in models],
            work=str(work_dir.path),
            cell=cell,
            device=settings.compute.device,
            threads=settings.compute.omp_nthreads,
        )
        graph.connect([(stacks[name], node, [("out", f"array_{name}")]) for name in maps if name in stacks])
        if set(maps) - set(stacks):
            places = map(_fold_key, models.values())
            graph.connect([(refitted[key], node, [("out", f"fitted_{key}")]) for key in places])
    set_crash_folder(graph, work_dir.logs)
    check_computed(graph, settings, f"analysis {application.name}")
    preload = ["bids_app.training.apply"]
    total = len(application.cells)
    computed = run_graph(graph, settings, last=("apply_",), total=total, what="models applied", preload=preload)
    if any(work_dir.logs.glob("crash-*")):
        raise FailedError(f"the model could not be applied: {failure_reason(work_dir.logs)}")
    if computed or not work_dir.provenance.is_file():
        write_record(work_dir.provenance, describe_run(settings, software=GROUP_SOFTWARE, templates=()))
    text = dict.fromkeys(("participant_id", "session_id", "cell", "predicted"), str)
    return pd.concat(
        [
            pd.read_csv(work_dir.applied_predictions(cell), sep="\t", dtype=text, keep_default_na=False)
            for cell in application.cells
        ],
        ignore_index=True,
    )


def _stack_node(name: str, application: ApplicationPlan, work_dir: WorkDir) -> Node:
    model_map = application.maps[name]
    return make_node(
        f"stack_{outputs.label(name)}",
        stack_map,
        mem_gb=1,
        folder=str(model_map["folder"]),
        files=[[str(path) for path in paths] for paths in application.used[name]],
        smoothing_mm=model_map["smoothing_mm"],
        form=model_map["form"],
        work=str(work_dir.path),
    )


def _fold_key(card: dict[str, Any]) -> str:
    return f"{card['repeat']}_{card['fold']}"


def _refit_nodes(graph: Workflow, application: ApplicationPlan, work_dir: WorkDir) -> dict[str, Node]:
    """A node for each training fold that computes the fitted maps from the components of its models."""
    names = [name for name in application.maps if available_maps.is_fitted(name)]
    if not names:
        return {}
    folders: dict[str, dict[str, str]] = {}
    for models in application.cells.values():
        for folder, card in models.items():
            folders.setdefault(_fold_key(card), {}).update(
                {name: str(folder) for name in card["maps"] if name in names}
            )
    first = application.maps[names[0]]
    series = make_node(
        "series",
        gather_series,
        mem_gb=2,
        folder=str(first["folder"]),
        files=[[str(path) for path in paths] for paths in application.used[names[0]]],
        work=str(work_dir.path),
    )
    plan: MapScaling = {
        "smoothing": {name: application.maps[name]["smoothing_mm"] for name in names},
        "forms": {name: application.maps[name]["form"] for name in names},
    }
    nodes = {}
    for key, folders_by_map in folders.items():
        nodes[key] = make_node(
            f"maps_{key}", refit_maps, mem_gb=3, connected=("series",), key=key, folders=folders_by_map, plan=plan,
            work=str(work_dir.path),
        )  # fmt: skip
        graph.connect([(series, nodes[key], [("out", "series")])])
    return nodes
