"""OUT_DIR/logs/CITATION.*: what a paper is to say of a participant run."""

from bids_app import __version__
from bids_app.bids import outputs
from bids_app.report import citation, methods
from bids_app.settings import Settings
from bids_app.workflow import plan


def write(planned: plan.Plan, settings: Settings) -> None:
    """Write it for everyone of the plan, one text for each source of preprocessing."""
    kinds = plan.kinds(settings)
    texts = [
        methods.participant(
            maps=list(kinds),
            registration=kinds,
            resolution=planned.resolution,
            space=settings.participant.output_space,
            mask_method="as each person's page says",
            source=source,
            sloppy=settings.participant.sloppy,
        )
        for source in sorted({job.source for job in (*planned.jobs, *planned.done) if job.t1w})
    ]
    if not texts:
        return  # each person's page has the words of its BOLD runs, which differ in volumes
    for name, text in citation.files(texts, version=__version__).items():
        outputs.write_root(settings.output_dir, f"logs/{name}", text)
