"""Spine 2: maps -> samples -> folds -> train -> explain -> regions -> report."""

import logging
from typing import Any

import pandas as pd

from bids_app import apply
from bids_app import power as power_only
from bids_app.bids import description, inputs, outputs
from bids_app.planning import cohort, group
from bids_app.settings import Settings
from bids_app.workflow import called, cells, collect, compared, ica, judge, nested, power, publish, reference
from bids_app.workflow import voxelwise as test

log = logging.getLogger("pellucid")


def run(settings: Settings) -> int:
    """Train, judge and explain every cell, or apply those of --model; returns 0."""
    if settings.both.model is not None:
        return apply.run(settings)
    if cohort.plans(settings):
        return power_only.run(settings)
    outputs.check_output(settings.output_dir, settings.bids_dir)
    dataset = inputs.open_dataset(settings.bids_dir, validate=not settings.select.skip_bids_validation)
    planned = group.make(dataset, settings)
    nested.check(planned, settings)
    reference.check(settings)
    test.check(planned, settings)
    power.check(planned, settings)
    outputs.sweep(settings.output_dir)
    description.describe(settings.output_dir, bids_dir=settings.bids_dir, derivatives=settings.select.derivatives)
    log.info("%s", group.counted(planned))

    work = cells.run(planned, settings)
    chosen = nested.choices(planned, settings, work)
    told = collect.predictions(planned, work)
    told = pd.concat([told, nested.predictions(told, chosen)], ignore_index=True)
    judged = judge.run(planned, settings, told, work)
    maps = collect.heatmaps(planned, work)
    pages = called.run(planned, settings, judged, work)
    overlap = reference.table(planned, settings, maps, work)
    tested = compared.found(planned, settings, maps, work)
    matched = ica.table(planned, work)
    detected = power.table(planned, settings, work)

    people = planned.samples.drop(columns=list(planned.smoothing))
    tables = {
        "samples": people,
        "folds": collect.fold_table(planned),
        "predictions": told,
        "scores": judged.scores,
        "comparisons": judged.pairs,
        **({} if tested is None else {"voxelwise": tested.table, "overlap_voxelwise": tested.overlap}),
    }
    asked = {"choices": chosen, "overlap": overlap, "ica": matched, "power": detected}
    tables |= {name: table for name, table in asked.items() if table is not None}
    found: dict[str, Any] = {"tables": tables, "judged": judged, "maps": maps, "pages": pages, "compared": tested}
    with outputs.staging(settings.output_dir) as stage, outputs.staging(settings.output_dir) as old:
        publish.stage(stage, planned, work, chosen=settings, **found)
        publish.retire(settings.output_dir, planned.name, old)
        outputs.publish(stage, settings.output_dir)
    for verdict in judged.verdicts.values():
        log.info("%s", verdict.text)
    log.info("report: %s", settings.output_dir / "group" / planned.name / "report.html")
    return 0
