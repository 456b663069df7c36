"""Spine 3: maps + a trained analysis -> predictions -> scores, where labels are known -> report."""

import logging

from bids_app.bids import description, inputs, outputs
from bids_app.graphs.apply_model import run_application_graph
from bids_app.planning import model_application, settings_from_model
from bids_app.publish.apply_model import stage_application
from bids_app.results.apply_model import prediction_table, score_predictions
from bids_app.settings import Settings

log = logging.getLogger("pellucid")


def run(settings: Settings) -> int:
    """Ask every cell of --model about everyone with maps; returns 0."""
    settings = settings_from_model.taken(settings)
    outputs.check_output(settings.output_dir, settings.bids_dir)
    dataset = inputs.open_dataset(settings.bids_dir, validate=not settings.select.skip_bids_validation)
    planned = model_application.make(dataset, settings)
    outputs.sweep(settings.output_dir)
    description.describe(settings.output_dir, bids_dir=settings.bids_dir, derivatives=settings.select.derivatives)
    log.info("%d samples to predict; %d left out", len(planned.used), (~planned.samples["used"]).sum())
    if planned.listed is None:
        log.warning("whether any of these people trained the model is not checked: give --training-list")
    elif planned.listed.any():
        log.warning("%d samples are of people who trained: only models that held them out", planned.listed.sum())

    told = run_application_graph(planned, settings)
    table = prediction_table(planned, told)
    scored = score_predictions(planned, table, settings)

    with outputs.staging(settings.output_dir) as stage, outputs.staging(settings.output_dir) as old:
        stage_application(stage, planned, table, scored, chosen=settings)
        outputs.remove_previous(settings.output_dir / "group" / planned.name, old)
        outputs.publish(stage, settings.output_dir)
    log.info("report: %s", settings.output_dir / "group" / planned.name / "report.html")
    return 0
