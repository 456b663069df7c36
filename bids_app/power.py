"""Spine 4: maps -> two halves at random -> simulated studies -> what a study of these people could find."""

import logging
from dataclasses import replace

from bids_app.bids import description, inputs, outputs
from bids_app.errors import UsageError
from bids_app.planning import group
from bids_app.settings import Settings
from bids_app.workflow import cells, power, publish, publish_power

log = logging.getLogger("pellucid")


def run(settings: Settings) -> int:
    """Plan a study before any label is looked at; returns 0. Raises UsageError where nothing can be planted."""
    if settings.group.permutations == 0:
        raise UsageError("--power needs permutations to say what is found; leave --permutations 0 out")
    outputs.check_output(settings.output_dir, settings.bids_dir)
    dataset = inputs.open_dataset(settings.bids_dir, validate=not settings.select.skip_bids_validation)
    linear = tuple(name for name in settings.group.classifiers if power.judges_by_products(name))
    quiet = replace(settings.group, explainers=(), classifiers=linear or settings.group.classifiers)
    planned = group.make(dataset, replace(settings, group=quiet))
    power.check(planned, settings)
    outputs.sweep(settings.output_dir)
    description.describe(settings.output_dir, bids_dir=settings.bids_dir, derivatives=settings.select.derivatives)
    log.info("%s", group.counted(planned))

    settled = replace(settings, group=quiet)
    work = cells.run(planned, settled)
    table = power.table(planned, settled, work)
    assert table is not None  # --power is what brought us here

    with outputs.staging(settings.output_dir) as stage, outputs.staging(settings.output_dir) as old:
        sentences = publish_power.stage(stage, planned, table, chosen=settings)
        publish.retire(settings.output_dir, planned.name, old)
        outputs.publish(stage, settings.output_dir)
    for sentence in sentences:
        log.info("%s", sentence)
    log.info("report: %s", settings.output_dir / "group" / planned.name / "report.html")
    return 0
