"""Spine 4: maps -> two halves at random -> simulated studies -> the effects that these participants could reveal."""

import logging
from dataclasses import replace

from bids_app.bids import description, outputs, run_locks
from bids_app.errors import UsageError
from bids_app.graphs.group import run_group_graph
from bids_app.planning import group, sites
from bids_app.planning.power import check_power, is_linear_classifier
from bids_app.publish.group import remove_previous_group
from bids_app.publish.index import publish_index
from bids_app.publish.power import stage_power
from bids_app.results.power import power_table
from bids_app.settings import Settings

log = logging.getLogger("pellucid")


def run(settings: Settings) -> int:
    """Plan a study before any label is used; returns 0. Raises UsageError if no effect can be simulated."""
    if settings.group.permutations == 0:
        raise UsageError("--power requires permutations to determine what is detected; remove --permutations 0")
    dataset = sites.open_dataset(settings)
    linear = tuple(name for name in settings.group.classifiers if is_linear_classifier(name))
    quiet = replace(settings.group, explainers=(), classifiers=linear or settings.group.classifiers)
    analysis = group.plan_group(dataset, replace(settings, group=quiet))
    check_power(analysis, settings)
    run_locks.lock(settings, f"analysis {analysis.name}", analysis.key)
    outputs.sweep(settings.output_dir)
    description.describe_group(settings)
    log.info("%s", group.count_participants(analysis))

    linear_settings = replace(settings, group=quiet)
    work_dir = run_group_graph(analysis, linear_settings)
    table = power_table(analysis, linear_settings, work_dir)
    assert table is not None  # None only without --power, which is set here

    with outputs.staging(settings.output_dir) as stage, outputs.staging(settings.output_dir) as old:
        sentences = stage_power(stage, analysis, table, settings=settings, work_dir=work_dir)
        remove_previous_group(settings.output_dir, analysis.name, old)
        outputs.publish(stage, settings.output_dir)
    publish_index(settings.output_dir)
    for sentence in sentences:
        log.info("%s", sentence)
    log.info("report: %s", settings.output_dir / "group" / analysis.name / "report.html")
    return 0
