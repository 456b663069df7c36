"""Spine 3: maps + a trained analysis -> predictions -> scores, where labels are known -> report."""

import logging

from bids_app.bids import description, outputs, run_locks
from bids_app.graphs.apply_model import run_application_graph
from bids_app.planning import model_application, settings_from_model, sites
from bids_app.publish.apply_model import stage_application
from bids_app.publish.index import publish_index
from bids_app.results.apply_model import prediction_table, score_predictions
from bids_app.settings import Settings

log = logging.getLogger("pellucid")


def run(settings: Settings) -> int:
    """Predict all participants with maps by every cell of --model; returns 0."""
    settings = settings_from_model.apply_model_settings(settings)
    dataset = sites.open_dataset(settings)
    application = model_application.plan_application(dataset, settings)
    run_locks.lock(settings, f"analysis {application.name}", application.key)
    outputs.sweep(settings.output_dir)
    description.describe_group(settings)
    log.info("%d samples to predict; %d excluded", len(application.used), (~application.samples["used"]).sum())
    if application.listed is None:
        log.warning("without --training-list, it is not checked whether participants were in the training set")
    elif application.listed.any():
        log.warning(
            "%d samples are of training participants: predicted only by fold models that held them out",
            application.listed.sum(),
        )

    table = prediction_table(application, run_application_graph(application, settings))
    scored = score_predictions(application, table, settings)

    with outputs.staging(settings.output_dir) as stage, outputs.staging(settings.output_dir) as old:
        stage_application(stage, application, table, scored, settings=settings)
        outputs.remove_previous(settings.output_dir / "group" / application.name, old)
        outputs.publish(stage, settings.output_dir)
    publish_index(settings.output_dir)
    log.info("report: %s", settings.output_dir / "group" / application.name / "report.html")
    return 0
