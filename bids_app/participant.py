"""Spine 1: scans -> maps in standard space -> one report per participant."""

import logging

from bids_app.bids import description, inputs, outputs, run_locks
from bids_app.bids.names import parse_session_name
from bids_app.graphs.participant import run_participant_graph
from bids_app.planning import participant, settings_from_model
from bids_app.planning.reports_only import select_complete
from bids_app.publish.boilerplate import write_boilerplate
from bids_app.publish.index import INDEX, publish_index
from bids_app.settings import Settings

log = logging.getLogger("pellucid")


def run(settings: Settings) -> int:
    """Compute the maps of all selected participants; returns 0, or 1 if some failed (the others are complete)."""
    settings = settings_from_model.apply_model_settings(settings)
    dataset = inputs.open_dataset(settings.bids_dir, validate=not settings.select.skip_bids_validation)
    outputs.check_output(settings.output_dir, settings.bids_dir, settings.work_dir)
    planned = participant.plan_participants(dataset, settings)
    planned = select_complete(planned) if settings.other.reports_only else planned
    for job in planned.jobs:
        run_locks.lock(settings, job.name, job.inputs)
    outputs.sweep(settings.output_dir)
    description.describe(settings.output_dir, bids_dir=settings.bids_dir, derivatives=settings.select.derivatives)
    write_boilerplate(planned, settings)
    log.info(
        "%d to process, %d already complete, %d unusable", len(planned.jobs), len(planned.done), len(planned.failed)
    )

    failed = {**planned.failed, **run_participant_graph(planned, settings)}

    for job in planned.done:
        outputs.clear_failed(settings.output_dir, job.participant, job.session)
    for name, reason in failed.items():
        log.warning("%s failed: %s", name, reason)
        if not settings.other.reports_only:
            outputs.mark_failed(settings.output_dir, *parse_session_name(name), reason)
    processed = {parse_session_name(name) for name in [*(job.name for job in planned.jobs), *failed]}
    publish_index(settings.output_dir, processed=processed or None)
    finished = len(planned.jobs) + len(planned.failed) + len(planned.done) - len(failed)
    log.info("%d done, %d failed; see %s", finished, len(failed), settings.output_dir / INDEX)
    return 1 if failed else 0
