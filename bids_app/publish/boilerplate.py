"""OUT_DIR/logs/CITATION.*: what a paper is to say of a participant run."""

from bids_app import __version__
from bids_app.bids import outputs
from bids_app.planning import bold_runs, excluded_regions, participant
from bids_app.planning.bold_runs import output_settings
from bids_app.report import citation, methods, methods_bold
from bids_app.settings import Settings


def write_boilerplate(planned: participant.Plan, settings: Settings) -> None:
    """Write it for everyone of the plan, one text for each source of preprocessing."""
    jobs = [*planned.jobs, *planned.done]
    kinds = participant.kinds(settings)
    raw = any(bold_runs.is_raw(run) for job in jobs for run in job.runs)
    texts = [
        methods.participant(
            maps=list(kinds),
            registration={**({"BOLD": bold_runs.registration(settings)} if raw else {}), **kinds},
            resolution=planned.resolution,
            space=settings.participant.output_space,
            mask_method="as each person's page says",
            source=source,
            sloppy=settings.participant.sloppy,
            without=less,
        )
        for source, less in sorted({(job.source, excluded_regions.words(job.without)) for job in jobs if job.t1w})
    ]
    texts += [_bold(source, settings) for source in sorted({run["source"] for job in jobs for run in job.runs})]
    for name, text in citation.files(texts, version=__version__).items():
        outputs.write_root(settings.output_dir, f"logs/{name}", text)


def _bold(source: str, settings: Settings) -> str:
    """What holds for the runs of all people; each person's page has the words of its own."""
    chosen = output_settings(settings)
    options = methods_bold.Options(
        denoise=chosen["denoise"],
        band=chosen["band"],
        fd_threshold=chosen["fd_threshold"],
        dropped=None,
        resampled=chosen["resampled"],
        slice_timing=None,
        parcellation=next(iter(chosen["atlases"]), ""),
        **methods_bold.map_options(chosen["parameters"].values()),
    )
    mm = bold_runs.resolution(settings) if source == "pellucid" else settings.participant.resolution
    return methods_bold.participant(
        chosen["maps"], options, source=source, space=settings.participant.output_space, resolution=mm
    )
