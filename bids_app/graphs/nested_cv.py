"""The nodes of --inner-folds."""

from nipype.pipeline.engine import Workflow

from bids_app.bids import outputs
from bids_app.graphs.function_node import make_node
from bids_app.graphs.ica import MapSources
from bids_app.nodes.nested_cv import score_inner_folds
from bids_app.planning.group import GroupPlan
from bids_app.planning.group_records import TrainingPlan, to_rows
from bids_app.planning.ica import inner_prefix
from bids_app.planning.nested_cv import inner_folds
from bids_app.settings import Settings
from bids_app.training import seeds


def connect_inner_folds(
    graph: Workflow,
    analysis: GroupPlan,
    settings: Settings,
    sources: MapSources,
    plan: TrainingPlan,
    memory: dict[str, float],
) -> None:
    """Add a node for each cell and fold with --inner-folds; memory: GB by cell."""
    if settings.group.inner_folds is None:
        return
    splits_by_fold = inner_folds(analysis, settings)
    for cell in analysis.cells:
        for split in analysis.splits:
            splits = splits_by_fold[inner_prefix(split)]
            node = make_node(
                f"inner_{outputs.camel(cell.name)}_repeat_{split.repeat}_fold_{split.fold}",
                score_inner_folds,
                mem_gb=memory[cell.name],
                n_procs=plan["threads"],
                connected=sources.inputs(cell.maps, splits),
                cell=cell.name,
                classifier=cell.classifier,
                maps=list(cell.maps),
                splits=[to_rows(inner) for inner in splits],
                seed=seeds.derive(plan["seed"], "inner", split.repeat, split.fold),
                plan=plan,
                outer=[split.repeat, split.fold],  # not the file: nipype would compute a node again once it is there
            )
            sources.connect(graph, node, cell.maps, splits, inner_prefix(split))
