"""OUT_DIR/logs/CITATION.*: the boilerplate of a participant run, for use in a paper."""

from bids_app import __version__
from bids_app.bids import outputs
from bids_app.planning import bold_runs, excluded_regions, participant
from bids_app.planning.bold_runs import output_settings
from bids_app.planning.participant_records import ParticipantPlan
from bids_app.report.citation import citation_files
from bids_app.report.methods import describe_participant
from bids_app.report.methods_bold import BoldOptions, describe_bold, map_options
from bids_app.settings import Settings


def write_boilerplate(planned: ParticipantPlan, settings: Settings) -> None:
    """Write it for all participants in the plan, one text per preprocessing pipeline."""
    jobs = [*planned.jobs, *planned.done]
    kinds = participant.registration_kinds(settings)
    raw = any(bold_runs.is_raw(run) for job in jobs for run in job.runs)
    sources = {(job.source, excluded_regions.describe_in_methods(job.excluded_regions)) for job in jobs if job.t1w}
    texts = [
        describe_participant(
            maps=list(kinds),
            registration={**({"BOLD": bold_runs.registration(settings)} if raw else {}), **kinds},
            resolution=planned.resolution,
            space=settings.participant.output_space,
            mask_method="as stated on the page of each participant",
            source=source,
            anatomy=settings.participant.anatomy,
            sloppy=settings.participant.sloppy,
            without=excluded,
        )
        for source, excluded in sorted(sources)
    ]
    texts += [_bold(source, settings) for source in sorted({run["source"] for job in jobs for run in job.runs})]
    for name, text in citation_files(texts, version=__version__).items():
        outputs.write_root(settings.output_dir, f"logs/{name}", text)


def _bold(source: str, settings: Settings) -> str:
    """The part that applies to the runs of all participants; each participant's page states the rest."""
    bold = output_settings(settings)
    band = bold["band"]
    options = BoldOptions(
        denoise=bold["denoise"],
        band=None if band is None else (band[0], band[1]),
        fd_threshold=bold["fd_threshold"],
        dropped=None,
        resampled=bold["resampled"],
        slice_timing=None,
        parcellation=next(iter(bold["atlases"]), ""),
        **map_options(bold["parameters"].values()),
    )
    mm = bold_runs.resolution(settings) if source == "pellucid" else settings.participant.resolution
    return describe_bold(bold["maps"], options, source=source, space=bold["space"], resolution=mm)
