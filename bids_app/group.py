"""Spine 2: maps -> samples -> folds -> train -> explain -> regions -> report."""

import logging

import pandas as pd

from bids_app import apply
from bids_app import power as power_only
from bids_app.bids import description, outputs, run_locks
from bids_app.graphs.group import run_group_graph
from bids_app.graphs.prediction_pages import run_prediction_pages
from bids_app.planning import cohort, group, sites
from bids_app.planning.nested_cv import check_inner_folds
from bids_app.planning.power import check_power
from bids_app.planning.reference_map import check_reference_map
from bids_app.planning.voxelwise_test import check_voxelwise_test
from bids_app.publish.group import GroupResults, publish_group
from bids_app.results.collect import collect_heatmaps, collect_predictions, fold_table
from bids_app.results.ica import component_table
from bids_app.results.nested_cv import selected_predictions, selection_table
from bids_app.results.power import power_table
from bids_app.results.reference_map import overlap_table
from bids_app.results.sites import tabulate_sites
from bids_app.results.verdicts import judge_models
from bids_app.results.voxelwise_test import collect_voxelwise_test
from bids_app.settings import Settings

log = logging.getLogger("pellucid")


def run(settings: Settings) -> int:
    """Train, evaluate and explain every cell, or apply those of --model; returns 0."""
    if settings.shared.model is not None:
        return apply.run(settings)
    if cohort.is_planning(settings):
        return power_only.run(settings)
    dataset = sites.open_dataset(settings)
    analysis = group.plan_group(dataset, settings)
    check_inner_folds(analysis, settings)
    check_reference_map(settings)
    check_voxelwise_test(analysis, settings)
    check_power(analysis, settings)
    run_locks.lock(settings, f"analysis {analysis.name}", analysis.key)
    outputs.sweep(settings.output_dir)
    description.describe_group(settings)
    log.info("%s", group.count_participants(analysis))

    work_dir = run_group_graph(analysis, settings)
    selection = selection_table(analysis, settings, work_dir)
    predictions = collect_predictions(analysis, work_dir)
    predictions = pd.concat([predictions, selected_predictions(predictions, selection)], ignore_index=True)
    judgement = judge_models(analysis, settings, predictions, work_dir)
    maps = collect_heatmaps(analysis, work_dir)
    pages = run_prediction_pages(analysis, settings, judgement.claims(), work_dir)
    overlap = overlap_table(analysis, settings, maps, work_dir)
    voxelwise = collect_voxelwise_test(analysis, settings, maps, work_dir)
    components = component_table(analysis, work_dir)
    power = power_table(analysis, settings, work_dir)

    participants = analysis.samples.drop(columns=list(analysis.smoothing))
    tables = {
        "samples": participants,
        "folds": fold_table(analysis),
        "predictions": predictions,
        "scores": judgement.scores,
        "comparisons": judgement.pairs,
        **({} if voxelwise is None else {"voxelwise": voxelwise.table, "overlap_voxelwise": voxelwise.overlap}),
    }
    sites_table = tabulate_sites(analysis, settings)
    optional = {"choices": selection, "overlap": overlap, "ica": components, "power": power, "sites": sites_table}
    tables |= {name: table for name, table in optional.items() if table is not None}
    results = GroupResults(tables, judgement, maps, pages, voxelwise)
    publish_group(analysis, settings, results, work_dir)
    for verdict in judgement.verdicts.values():
        log.info("%s", verdict.text)
    log.info("report: %s", settings.output_dir / "group" / analysis.name / "report.html")
    return 0
