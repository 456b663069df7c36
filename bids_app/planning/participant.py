"""The plan of a participant run, participant by participant, checked before anything is computed."""

import hashlib
import json
import logging
from dataclasses import asdict
from pathlib import Path

import numpy as np

from bids_app import __version__, catalogue
from bids_app.atlases import atlas, templates
from bids_app.bids import annex, derivatives, exclusions, images, inputs, outputs, unusable_images
from bids_app.bids.matching import list_failures
from bids_app.bids.metadata import read_metadata
from bids_app.bids.names import BidsFile, session_name
from bids_app.errors import DataError, MissingInputError, NothingSelectedError, UsageError
from bids_app.planning import bold_runs, derivative_folders, excluded_regions, run_differences
from bids_app.planning.exclusions import read_exclusions
from bids_app.planning.filters import name_unmatched_filters, read_filters
from bids_app.planning.participant_records import BoldRun, ExcludedRegions, ParticipantJob, ParticipantPlan
from bids_app.preprocess import conform, skull
from bids_app.settings import Settings, to_first_names

log = logging.getLogger("pellucid")


def resolution(settings: Settings) -> float:
    """Voxel size of the maps, mm."""
    return settings.participant.resolution or (3.0 if settings.participant.sloppy else 2.0)


def registration_kinds(settings: Settings) -> dict[str, str]:
    """The registration of each map of the anatomy among --maps."""
    registration = settings.participant.registration
    bold = bold_runs.bold_maps(settings)
    maps = [name for name in settings.participant.maps if name not in bold]
    return {name: registration or catalogue.load("maps", name).REGISTRATION for name in maps}


def plan_participants(dataset: inputs.Dataset, settings: Settings) -> ParticipantPlan:
    """Find every file that the run needs. An error of one participant fails that participant; one of all is raised."""
    catalogue.check("maps", settings.participant.maps)
    catalogue.check("classifiers", settings.group.classifiers)
    catalogue.check("explainers", settings.group.explainers)
    atlas.check(settings.shared.atlas)
    templates.brain(settings.participant.output_space)
    derivative_folders.check(settings)
    excluded_regions.check(settings)
    bold_runs.check(settings)
    labels = inputs.select(dataset, settings.select.participant_label)
    excluded = read_exclusions(dataset, settings)
    name_unmatched_filters(dataset.root, labels, settings, "t1w")
    if bold_runs.bold_maps(settings):
        name_unmatched_filters(settings.select.derivatives.get("fmriprep", dataset.root), labels, settings, "bold")
    jobs: list[ParticipantJob] = []
    failed: dict[str, DataError | MissingInputError] = {}
    for participant in labels:
        sessions = _find_sessions(dataset, participant, settings)
        if not sessions and not exclusions.reason(excluded, participant, None):
            if other := unusable_images.describe(dataset, participant):
                failed[session_name(participant, None)] = MissingInputError(other)
                continue
            log.info("sub-%s: no matching image, skipping", participant)
        for session, scan in sessions.items():
            if why := exclusions.reason(excluded, participant, session):
                log.info("%s: excluded (%s)", session_name(participant, session), why)
                continue
            try:
                jobs.append(_plan_session(dataset, participant, session, scan, settings))
            except (DataError, MissingInputError) as error:
                failed[session_name(participant, session)] = error
    if not jobs:
        _raise_nothing_selected(failed)
    again = settings.other.reports_only
    finished = [
        outputs.is_done(settings.output_dir, job.participant, job.session, job.key, but_report=again) for job in jobs
    ]
    todo = [job for job, done in zip(jobs, finished, strict=True) if not done]
    before = [job for job, done in zip(jobs, finished, strict=True) if done]
    reasons = {name: str(error) for name, error in failed.items()}
    return ParticipantPlan(todo, before, reasons, _find_head_template(todo), resolution(settings))


def _find_sessions(
    dataset: inputs.Dataset, participant: str, settings: Settings
) -> dict[str | None, inputs.Scan | None]:
    """A participant's sessions, each with its T1w; one with BOLD only uses that of the first session that has one.

    A participant with T1w but no BOLD gets a session, so as to fail by name; one without either has none.
    """
    labels = settings.select.session_label
    if not bold_runs.bold_maps(settings):
        return {scan.session: scan for scan in _find_scans(dataset, participant, settings, labels)}
    scans = {scan.session: scan for scan in _find_scans(dataset, participant, settings, ())}
    first = next(iter(scans.values()), None)
    if wanted := {label.removeprefix("ses-") for label in labels}:
        scans = {session: scan for session, scan in scans.items() if session in wanted}
    sessions: dict[str | None, inputs.Scan | None] = dict(scans) if registration_kinds(settings) else {}
    bold = bold_runs.find_sessions(dataset, participant, settings, read_filters(settings, "bold"))
    sessions |= {session: scans.get(session, first) for session in bold}
    derived = "fmriprep" in settings.select.derivatives and participant != inputs.EMPTY_ROOM
    return sessions or ({None: first} if first or derived else {})


def _find_scans(
    dataset: inputs.Dataset, participant: str, settings: Settings, sessions: tuple[str, ...]
) -> list[inputs.Scan]:
    return inputs.anatomical_scans(dataset, participant, sessions=sessions, filters=read_filters(settings, "t1w"))


def _plan_session(
    dataset: inputs.Dataset, participant: str, session: str | None, scan: inputs.Scan | None, settings: Settings
) -> ParticipantJob:
    runs = (
        bold_runs.find_runs(dataset, participant, session, settings, read_filters(settings, "bold"))
        if bold_runs.bold_maps(settings)
        else []
    )
    for run in runs:
        root = dataset.root if bold_runs.is_raw(run) else settings.select.derivatives["fmriprep"]
        _check_readable([Path(file) for file in bold_runs.files(run)], root)
    runs = [bold_runs.add_header(run) for run in runs]
    if runs:
        run_differences.check_comparable(runs, session_name(participant, session))
    bold = [Path(file) for run in runs for file in bold_runs.files(run)]
    kinds = registration_kinds(settings) if scan is not None and scan.session == session else {}
    raw = any(map(bold_runs.is_raw, runs))
    registrations = sorted({*kinds.values(), *([bold_runs.registration(settings)] if raw else [])})
    if scan is None and raw:
        why = unusable_images.explain_missing_t1w(dataset, participant)
        raise MissingInputError(f"{session_name(participant, session)} has raw BOLD but no T1w image: {why}")
    if scan is None or not registrations:
        return ParticipantJob(participant, session, None, None, "fmriprep", *_hashes(bold, runs, settings), runs=runs)
    source, borrowed, t1w = _find_anatomy(scan, settings)
    _check_readable([scan.path] if t1w == scan.path else [], dataset.root)
    anatomy = [t1w, *map(Path, borrowed.values())]
    _check_readable(anatomy if borrowed else [], settings.select.derivatives.get("fmriprep", dataset.root))
    conform.open_t1w(t1w)
    mask = _find_brain_mask(scan, settings.participant.brain_mask) if not borrowed else None
    for file in (mask, *borrowed.values()):
        if file and file.endswith(inputs.IMAGES):
            images.open_image(Path(file))
    excluded = None
    if excluded_regions.MAP in kinds:
        excluded = _find_excluded_regions(dataset, scan, settings, borrowed=bool(borrowed))
    optional = [Path(file) for file in (mask, excluded and excluded["file"]) if file]
    scanner = read_metadata(dataset.root, scan.path)
    hashes = _hashes([*sorted({*anatomy, *optional}), *bold], runs, settings, scanner)
    return ParticipantJob(
        participant,
        session,
        str(scan.path),
        str(t1w),
        source,
        *hashes,
        borrowed,
        mask,
        runs,
        kinds,
        registrations,
        own_t1w=scan.session == session,
        excluded_regions=excluded,
        scanner=scanner,
        preprocessed_scan=t1w.relative_to(settings.select.derivatives["fmriprep"]).as_posix() if borrowed else None,
        merged_sessions=_find_merged_sessions(dataset, scan, t1w, settings) if borrowed else [],
    )


def _find_merged_sessions(dataset: inputs.Dataset, scan: inputs.Scan, t1w: Path, settings: Settings) -> list[str]:
    """The sessions whose T1w images fMRIPrep averaged, where it has one anatomy for several; it is logged."""
    file = BidsFile.parse(t1w.name)
    if scan.session is None or file is None or file.session is not None:
        return []
    scans = _find_scans(dataset, scan.participant, settings, ())
    sessions = [other.session for other in scans if other.session is not None]
    if len(sessions) < 2:
        return []
    names = ", ".join(f"ses-{session}" for session in sessions)
    log.warning("sub-%s: fMRIPrep has one anatomy for %s; they share their maps of anatomy", scan.participant, names)
    return sessions


def _find_excluded_regions(
    dataset: inputs.Dataset, scan: inputs.Scan, settings: Settings, *, borrowed: bool
) -> ExcludedRegions | None:
    alone = borrowed or len(_find_scans(dataset, scan.participant, settings, ())) == 1
    excluded = excluded_regions.find_source(scan.participant, scan.session, settings, alone=alone)
    root = excluded_regions.find_freesurfer(settings)
    if excluded and excluded["file"] and root is not None:
        _check_readable([Path(excluded["file"])], root)
    return excluded


def _check_readable(files: list[Path], root: Path) -> None:
    for path in files:
        if reason := annex.why_unreadable(path, root):
            raise MissingInputError(reason)


def _hashes(
    files: list[Path], runs: list[BoldRun], settings: Settings, scanner: dict[str, object] | None = None
) -> tuple[str, str]:
    stamps = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    fields = [{name: value for name, value in run.items() if name not in bold_runs.FILES} for run in runs]
    return _hash([stamps]), _hash([stamps, fields, scanner, _settings_of_outputs(settings)])


def _find_anatomy(scan: inputs.Scan, settings: Settings) -> tuple[str, dict[str, str], Path]:
    """The pipeline that preprocessed a participant, the derivatives used, and the T1w."""
    source, t1w = "pellucid", scan.path
    borrowed: dict[str, str] = {}
    if "fmriprep" in settings.select.derivatives:
        try:
            anatomy = derivatives.find_fmriprep_anatomy(
                settings.select.derivatives["fmriprep"],
                scan.participant,
                scan.session,
                space=settings.participant.output_space,
            )
            source, borrowed = "fmriprep", {name: str(path) for name, path in asdict(anatomy).items()}
            t1w = anatomy.t1w
        except MissingInputError as error:
            if not settings.participant.fallback_preprocessing:
                raise MissingInputError(f"{error} (--fallback-preprocessing uses Pellucid in such cases)") from error
    return source, borrowed, t1w


def _settings_of_outputs(settings: Settings) -> dict[str, object]:
    """Every setting on which a participant's outputs depend."""
    return to_first_names(settings.participant) | {
        "maps": sorted(settings.participant.maps),
        "atlas": settings.shared.atlas if bold_runs.bold_maps(settings) else (),
        "seed": settings.compute.random_seed,
        "threads": settings.compute.omp_nthreads,
        "radiological": settings.other.radiological,
    }


def _hash(parts: list[object]) -> str:
    text = json.dumps([*parts, __version__], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _find_brain_mask(scan: inputs.Scan, pattern: str | None) -> str | None:
    if pattern is None:
        return None
    try:
        path = Path(pattern.format(participant=scan.participant, session=scan.session or "")).absolute()
    except (KeyError, IndexError, ValueError) as error:
        raise UsageError(f"--brain-mask {pattern}: only {{participant}} and {{session}} are placeholders") from error
    if not path.is_file():
        raise MissingInputError(
            f"--brain-mask: there is no {path.name} for {session_name(scan.participant, scan.session)}"
        )
    return str(path)


def _find_head_template(jobs: list[ParticipantJob]) -> list[str] | None:
    """The template with a head; images are read only if there is none, to determine whether one is needed."""
    head = templates.head()
    if head is not None:
        return [str(path) for path in head]
    raw = [job for job in jobs if job.t1w and job.source == "pellucid" and job.brain_mask is None]
    whole = [job.name for job in raw if _has_skull(job)]
    if whole:
        raise MissingInputError(
            f"{len(whole)} images show a whole head ({', '.join(whole[:5])}{', ...' if len(whole) > 5 else ''}), "
            f"and TEMPLATEFLOW_HOME has no template with a head. Download it with\n  {templates.HEAD_COMMAND}\nor "
            "use --brain-mask"
        )
    return None


def _has_skull(job: ParticipantJob) -> bool:
    try:
        image = conform.load(Path(str(job.t1w)))
    except DataError:
        return False  # the run itself fails this participant, with this error
    return (
        skull.find_stripped_brain(np.asarray(image.dataobj), voxel_ml=float(np.prod(image.header.get_zooms())) / 1000)
        is None
    )


def _raise_nothing_selected(failed: dict[str, DataError | MissingInputError]) -> None:
    if not failed:
        raise NothingSelectedError(
            "no participant selected and not excluded has a T1w image in sub-*/[ses-*/]anat: check BIDS_DIR, and "
            "--session-label and --bids-filter-file if used"
        )
    bad = all(isinstance(error, DataError) for error in failed.values())
    raise (DataError if bad else MissingInputError)(f"no participant can be processed:\n{list_failures(failed)}")
