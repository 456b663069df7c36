"""The graph of a group run: one node per map to stack, per atlas to resample, and per model and fold to train."""

from pathlib import Path

from nipype.pipeline.engine import Node, Workflow

from bids_app.atlases import atlas, templates
from bids_app.bids import outputs
from bids_app.dataset import folds
from bids_app.dataset.folds import Split
from bids_app.errors import FailedError
from bids_app.graphs.computed import check_computed
from bids_app.graphs.function_node import make_node
from bids_app.graphs.ica import MapSources, connect_ica
from bids_app.graphs.memory import memory_by_cell
from bids_app.graphs.nested_cv import connect_inner_folds
from bids_app.graphs.permutations import connect_permutations, write_labellings
from bids_app.graphs.power import connect_power
from bids_app.graphs.run import failure_reason, run_graph, set_crash_folder
from bids_app.graphs.voxelwise_test import connect_voxelwise_test
from bids_app.nodes.template import prepare_template
from bids_app.nodes.train import detect_copies, resample_atlas_to_maps, resample_template, stack_maps, train_fold
from bids_app.planning import hyperparameters, pretrained_weights
from bids_app.planning.group import GroupPlan, ModelSpec, atlases_by_grid, parcellation
from bids_app.planning.group_records import TrainingPlan, to_rows
from bids_app.planning.nested_cv import inner_folds
from bids_app.planning.permutations import count_labellings, is_linear
from bids_app.planning.provenance import GROUP_SOFTWARE, describe_run, write_record
from bids_app.planning.work_dir import WorkDir
from bids_app.settings import Settings

PRELOAD = ["bids_app.nodes.train", "bids_app.training.fold"]


def run_group_graph(analysis: GroupPlan, settings: Settings) -> WorkDir:
    """Train and explain every cell in every fold. Returns the work folder.

    Raises FailedError with the reason, and NotEnoughMemoryError before anything is computed.
    """
    preload = _preload(analysis, settings)
    memory = memory_by_cell(analysis, settings, preload=preload)
    work_dir = WorkDir.of_analysis(settings, analysis.name, analysis.key)
    work_dir.path.mkdir(parents=True, exist_ok=True)
    _write_participants(analysis, work_dir)
    graph = Workflow("nodes", base_dir=str(work_dir.path))
    template = _template_node(analysis, settings)
    grids = {name: _grid_node(name, analysis, work_dir) for name in dict.fromkeys(analysis.grids.values())}
    for grid in grids.values():
        graph.connect([(template, grid, [("out", "template")])])
    parcels = {name: atlas_name for name in analysis.grids if (atlas_name := parcellation(name, analysis))}
    pairs = dict.fromkeys(
        [*atlases_by_grid(analysis), *((analysis.grids[name], atlas_name) for name, atlas_name in parcels.items())]
    )
    atlas_nodes = {pair: _atlas_node(*pair, analysis, settings, work_dir) for pair in pairs}
    for (grid_name, _), atlas_node in atlas_nodes.items():
        graph.connect([(grids[grid_name], atlas_node, [("out", "template")])])
    fitted_maps = analysis.ica.maps if analysis.ica else ()
    stacks = {name: _stack_node(name, analysis, work_dir) for name in analysis.smoothing if name not in fitted_maps}
    for name, stack in stacks.items():
        graph.connect([(grids[analysis.grids[name]], stack, [("out", "template")])])
        if name in parcels:
            graph.connect([(atlas_nodes[analysis.grids[name], parcels[name]], stack, [("out", "parcellation")])])
    regions = {name: atlas_nodes[analysis.grids[name], atlas_name] for name, atlas_name in parcels.items()}
    sources = connect_ica(graph, analysis, settings, grids, stacks, regions, inner_folds(analysis, settings), work_dir)
    for name, stack in sources.stacks.items():
        graph.connect([(stack, _copies_node(name, analysis, work_dir), [("out", "array")])])
    plan = _training_plan(analysis, settings, work_dir)
    write_labellings(analysis, settings, work_dir)
    _connect_cells(graph, analysis, settings, sources, atlas_nodes, plan, memory)
    connect_inner_folds(graph, analysis, settings, sources, plan, memory)
    n_voxelwise = connect_voxelwise_test(graph, analysis, settings, sources.stacks, work_dir)
    n_power = connect_power(graph, analysis, settings, sources.stacks, atlas_nodes, plan, work_dir)
    work_dir.logs.mkdir(exist_ok=True)
    set_crash_folder(graph, work_dir.logs)
    total = len(analysis.cells) * len(analysis.splits)
    n_permutations = sum(count_labellings(cell, settings) for cell in analysis.cells if not is_linear(cell))
    total += (total if settings.group.inner_folds else 0) + n_permutations + n_voxelwise + n_power
    what = "folds, permutations and simulated studies" if n_permutations or n_voxelwise or n_power else "folds"
    networks = [cell.classifier.replace("-", "_") for cell in analysis.cells if not is_linear(cell)]
    last = ("train_", "inner_", "voxelwise_", "power_", *(f"null_{name}" for name in networks))
    check_computed(graph, settings, f"analysis {analysis.name}")
    computed = run_graph(graph, settings, last=last, total=total, what=what, preload=preload)
    if any(work_dir.logs.glob("crash-*")):
        raise FailedError(
            f"the analysis failed: {failure_reason(work_dir.logs)}; completed steps are kept in the work folder"
        )
    if computed or not work_dir.provenance.is_file():
        files = templates.source_files(analysis.space)
        write_record(work_dir.provenance, describe_run(settings, software=GROUP_SOFTWARE, templates=files))
    return work_dir


def _write_participants(analysis: GroupPlan, work_dir: WorkDir) -> None:
    """Write the table of samples, without their maps."""
    participants = analysis.used.drop(columns=list(analysis.smoothing)).assign(
        session_id=analysis.used["session_id"].fillna("n/a")
    )
    participants.to_csv(work_dir.participants, sep="\t", index=False, na_rep="n/a")


def _preload(analysis: GroupPlan, settings: Settings) -> list[str]:
    """The modules that the fork server imports once for all nodes."""
    parts = {
        "classifiers": dict.fromkeys(cell.classifier.partition("-")[0] for cell in analysis.cells),
        "explainers": settings.group.explainers,
    }
    return [*PRELOAD, *(f"bids_app.{room}.{name}" for room, names in parts.items() for name in names)]


def _connect_cells(
    graph: Workflow,
    analysis: GroupPlan,
    settings: Settings,
    sources: MapSources,
    atlas_nodes: dict[tuple[str, str], Node],
    plan: TrainingPlan,
    memory: dict[str, float],
) -> None:
    """Add every cell in every fold, and its permutations; memory: GB by cell."""
    for cell in analysis.cells:
        trained = [_train_node(cell, split, plan, memory[cell.name], sources) for split in analysis.splits]
        for train, split in zip(trained, analysis.splits, strict=True):
            sources.connect(graph, train, cell.maps, [split])
            first = (analysis.grids[cell.maps[0]], analysis.atlases[cell.maps[0]][0])
            graph.connect([(atlas_nodes[first], train, [("out", "regions")])])
        connect_permutations(graph, cell, analysis, sources, trained, plan, count_labellings(cell, settings))


def _template_node(analysis: GroupPlan, settings: Settings) -> Node:
    return make_node(
        "template",
        prepare_template,
        mem_gb=1.5,
        cache=str(settings.work_dir),
        space=analysis.space,
        resolution=min(analysis.resolutions.values()),
        sloppy=analysis.sloppy,
        seed=settings.compute.random_seed,
    )


def _grid_node(name: str, analysis: GroupPlan, work_dir: WorkDir) -> Node:
    return make_node(
        f"grid_{outputs.label(name)}",
        resample_template,
        mem_gb=1,
        connected=("template",),
        like=str(analysis.used[name][0][0]),
        folder=str(work_dir.template_on_grid(name)),
    )


def _atlas_node(grid_name: str, name: str, analysis: GroupPlan, settings: Settings, work_dir: WorkDir) -> Node:
    link = work_dir.atlas_link(grid_name, name)
    return make_node(
        f"atlas_{outputs.label(grid_name)}_{link.name}",
        resample_atlas_to_maps,
        mem_gb=2,
        connected=("template",),
        cache=str(settings.work_dir),
        atlas_name=str(Path(name).absolute()) if Path(name).is_file() else name,  # nodes run in folders of their own
        stamp=atlas.stamp(name),
        work=str(work_dir.path),
        link=str(link.relative_to(work_dir.path)),
        space=analysis.space,
        seed=settings.compute.random_seed,
        sloppy=analysis.sloppy,
    )


def _stack_node(name: str, analysis: GroupPlan, work_dir: WorkDir) -> Node:
    files = [[str(path) for path in paths] for paths in analysis.used[name]]
    return make_node(
        f"stack_{outputs.label(name)}",
        stack_maps,
        mem_gb=1,
        connected=("template", "parcellation"),
        map_name=name,
        files=files,
        smoothing_mm=analysis.smoothing[name],
        form=analysis.forms[name],
        whole=analysis.whole_grid,
        work=str(work_dir.path),
    )


def _copies_node(name: str, analysis: GroupPlan, work_dir: WorkDir) -> Node:
    return make_node(
        f"copies_{outputs.label(name)}",
        detect_copies,
        mem_gb=1,
        connected=("array",),
        map_name=name,
        groups=list(analysis.splits[0].groups),
        work=str(work_dir.path),
    )


def _train_node(cell: ModelSpec, split: Split, plan: TrainingPlan, mem_gb: float, sources: MapSources) -> Node:
    return make_node(
        f"train_{cell.classifier}_{'_'.join(map(outputs.label, cell.maps))}_repeat_{split.repeat}_fold_{split.fold}",
        train_fold,
        mem_gb=mem_gb,
        n_procs=plan["threads"],
        connected=(*sources.inputs(cell.maps, [split]), "regions"),
        cell=cell.name,
        classifier=cell.classifier,
        maps=list(cell.maps),
        split=to_rows(split),
        plan=plan,
    )


def _training_plan(analysis: GroupPlan, settings: Settings, work_dir: WorkDir) -> TrainingPlan:
    """The facts about the analysis that every model and fold needs."""
    return {
        "analysis": analysis.name,
        "classes": list(analysis.classes),
        "explainers": hyperparameters.explainer_options(settings),
        "target": settings.group.explain_target,
        "explain_checks": settings.group.explainer_checks,
        "adjust": {name: list(columns) for name, columns in analysis.adjust.items()},
        "keep": None if analysis.keep is None else list(analysis.keep),
        "sites": list(analysis.sites),
        "smoothing": dict(analysis.smoothing),
        "forms": dict(analysis.forms),
        "space": analysis.space,
        "resolutions": dict(analysis.resolutions),
        "map_parameters": analysis.map_parameters,
        "folds_sha256": folds.digest(
            (analysis.used["participant_id"].iloc[row], split.repeat, split.fold, role)
            for split in analysis.splits
            for role, rows in (("train", split.train), ("test", split.test))
            for row in rows
        ),
        "ica": None if analysis.ica is None else analysis.ica.settings,
        "levels": {name: list(levels) for name, levels in analysis.levels.items()},
        "seed": settings.compute.random_seed,
        "options": analysis.options,
        "weights": pretrained_weights.find_weights(settings),
        "device": settings.compute.device,
        "threads": settings.compute.omp_nthreads,
        "work": str(work_dir.path),
    }
