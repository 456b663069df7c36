"""What a participant run will do, person by person, looked through before anything is computed."""

import hashlib
import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bids_app import __version__, catalogue
from bids_app.atlases import templates
from bids_app.bids import annex, derivatives, exclusions, inputs, outputs
from bids_app.errors import DataError, MissingInputError, NothingSelectedError, UsageError
from bids_app.planning import bold_runs, excluded_regions
from bids_app.preprocess import conform, skull
from bids_app.settings import Settings, to_first_names

log = logging.getLogger("pellucid")


@dataclass(frozen=True)
class Job:
    """One person in one session: T1w and who preprocesses it, BOLD runs, and two hashes. Either may be lacking.

    `inputs` is that of the files, and names the work folder, where nodes know by their own settings what is to be done
    again; `key` is that of all that the outputs depend on. `kinds`: the registration of each map of the anatomy.
    """

    participant: str
    session: str | None
    scan: str | None
    t1w: str | None
    source: str
    inputs: str
    key: str
    borrowed: dict[str, str] = field(default_factory=dict)
    brain_mask: str | None = None
    runs: list[dict[str, Any]] = field(default_factory=list)
    kinds: dict[str, str] = field(default_factory=dict)
    registrations: list[str] = field(default_factory=list)
    own_t1w: bool = True
    without: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The BIDS name of person and session."""
        return f"sub-{self.participant}" + (f"_ses-{self.session}" if self.session else "")


@dataclass(frozen=True)
class Plan:
    """What is to be done, what was done before by the same settings, and who cannot be done and why (by BIDS name)."""

    jobs: list[Job]
    done: list[Job]
    failed: dict[str, str]
    head: list[str] | None
    resolution: float


def resolution(settings: Settings) -> float:
    """Voxel size of the maps, mm."""
    return settings.participant.resolution or (3.0 if settings.participant.sloppy else 2.0)


def kinds(settings: Settings) -> dict[str, str]:
    """The registration of each chosen map of the anatomy."""
    forced = settings.participant.registration
    bold = bold_runs.maps(settings)
    chosen = [name for name in settings.participant.maps if name not in bold]
    return {name: forced or catalogue.load("maps", name).REGISTRATION for name in chosen}


def make(dataset: inputs.Dataset, settings: Settings) -> Plan:
    """Look for every file that the run needs. What concerns a person fails that person; what concerns all is raised."""
    catalogue.check("maps", settings.participant.maps)
    templates.brain(settings.participant.output_space)
    _check_derivatives(settings)
    excluded_regions.check(settings)
    bold_runs.check(settings)
    labels = inputs.select(dataset, settings.select.participant_label)
    excluded = exclusions.read(settings.select.exclude)
    jobs: list[Job] = []
    failed: dict[str, DataError | MissingInputError] = {}
    for participant in labels:
        visits = _visits(dataset, participant, settings)
        if not visits:
            log.info("sub-%s has no image that is wanted and is left out", participant)
        for session, scan in visits.items():
            if why := exclusions.reason(excluded, participant, session):
                log.info("%s is excluded: %s", _name(participant, session), why)
                continue
            try:
                jobs.append(_job(dataset, participant, session, scan, settings))
            except (DataError, MissingInputError) as error:
                failed[_name(participant, session)] = error
    if not jobs:
        _nothing(failed)
    finished = [outputs.is_done(settings.output_dir, job.participant, job.session, job.key) for job in jobs]
    todo = [job for job, done in zip(jobs, finished, strict=True) if not done]
    before = [job for job, done in zip(jobs, finished, strict=True) if done]
    reasons = {name: str(error) for name, error in failed.items()}
    return Plan(todo, before, reasons, _head(todo), resolution(settings))


def _check_derivatives(settings: Settings) -> None:
    unknown = sorted(set(settings.select.derivatives) - {"fmriprep", "freesurfer"})
    if unknown:
        raise UsageError(f"--derivatives {unknown[0]}: only fmriprep=PATH and freesurfer=PATH are understood")
    for name, path in settings.select.derivatives.items():
        if not path.is_dir() and not excluded_regions.is_nowhere(name, path):
            raise MissingInputError(f"--derivatives {name}: there is no folder {path}")


def _visits(dataset: inputs.Dataset, participant: str, settings: Settings) -> dict[str | None, inputs.Scan | None]:
    """A person's sessions, each with its T1w; a session that has BOLD alone takes the T1w of the first that has one."""
    scans = {scan.session: scan for scan in _scans(dataset, participant, settings, settings.select.session_label)}
    if not bold_runs.maps(settings):
        return dict(scans)
    found: dict[str | None, inputs.Scan | None] = dict(scans) if kinds(settings) else {}
    bold = bold_runs.sessions(dataset, participant, settings, _filters(settings, "bold"))
    first = next(iter(_scans(dataset, participant, settings, ())), None)
    found |= {session: scans.get(session, first) for session in bold}
    return found or {None: first}  # a person without BOLD fails by name


def _scans(
    dataset: inputs.Dataset, participant: str, settings: Settings, sessions: tuple[str, ...]
) -> list[inputs.Scan]:
    return inputs.anatomical_scans(dataset, participant, sessions=sessions, filters=_filters(settings, "t1w"))


def _job(
    dataset: inputs.Dataset, participant: str, session: str | None, scan: inputs.Scan | None, settings: Settings
) -> Job:
    runs = (
        bold_runs.runs(dataset, participant, session, settings, _filters(settings, "bold"))
        if bold_runs.maps(settings)
        else []
    )
    for run in runs:
        root = dataset.root if bold_runs.is_raw(run) else settings.select.derivatives["fmriprep"]
        _readable([Path(file) for file in bold_runs.files(run)], root)
    runs = [bold_runs.look(run) for run in runs]
    bold = [Path(file) for run in runs for file in bold_runs.files(run)]
    wanted = kinds(settings) if scan is not None and scan.session == session else {}
    raw = any(map(bold_runs.is_raw, runs))
    registrations = sorted({*wanted.values(), *([bold_runs.registration(settings)] if raw else [])})
    if scan is None and raw:
        raise MissingInputError(f"{_name(participant, session)} has BOLD and no T1w, which raw BOLD needs")
    if scan is None or not registrations:
        return Job(participant, session, None, None, "fmriprep", *_hashes(bold, runs, settings), runs=runs)
    source, borrowed, t1w = _anatomy(scan, settings)
    _readable([scan.path] if t1w == scan.path else [], dataset.root)
    given = [t1w, *map(Path, borrowed.values())] if borrowed else []
    _readable(given, settings.select.derivatives.get("fmriprep", dataset.root))
    mask = _mask(scan, settings.participant.brain_mask) if not borrowed else None
    taken = _without(dataset, scan, settings, borrowed=bool(borrowed)) if excluded_regions.MAP in wanted else {}
    more = [Path(file) for file in (mask, taken.get("file")) if file]
    files = sorted({t1w, *map(Path, borrowed.values()), *more})
    hashes = _hashes([*files, *bold], runs, settings)
    return Job(
        participant,
        session,
        str(scan.path),
        str(t1w),
        source,
        *hashes,
        borrowed,
        mask,
        runs,
        wanted,
        registrations,
        own_t1w=scan.session == session,
        without=taken,
    )


def _without(dataset: inputs.Dataset, scan: inputs.Scan, settings: Settings, *, borrowed: bool) -> dict[str, Any]:
    alone = borrowed or len(_scans(dataset, scan.participant, settings, ())) == 1
    taken = excluded_regions.source(scan.participant, scan.session, settings, alone=alone)
    root = excluded_regions.folder(settings)
    if taken.get("file") and root is not None:
        _readable([Path(taken["file"])], root)
    return taken


def _readable(files: list[Path], root: Path) -> None:
    for path in files:
        if reason := annex.why_unreadable(path, root):
            raise MissingInputError(reason)


def _hashes(files: list[Path], runs: list[dict[str, Any]], settings: Settings) -> tuple[str, str]:
    stamps = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    said = [{name: value for name, value in run.items() if name not in bold_runs.FILES} for run in runs]
    return _hash([stamps]), _hash([stamps, said, _chosen(settings)])


def _anatomy(scan: inputs.Scan, settings: Settings) -> tuple[str, dict[str, str], Path]:
    """Who preprocessed a person, what is borrowed, and the T1w."""
    source, borrowed, t1w = "pellucid", {}, scan.path
    if "fmriprep" in settings.select.derivatives:
        try:
            found = derivatives.fmriprep(
                settings.select.derivatives["fmriprep"],
                scan.participant,
                scan.session,
                space=settings.participant.output_space,
            )
            source, borrowed = "fmriprep", {name: str(path) for name, path in asdict(found).items()}
            t1w = found.t1w
        except MissingInputError as error:
            if not settings.participant.fallback_preprocessing:
                raise MissingInputError(f"{error} (--fallback-preprocessing preprocesses such people here)") from error
    return source, borrowed, t1w


def _chosen(settings: Settings) -> dict[str, object]:
    """Every setting that an output of a person depends on."""
    return to_first_names(settings.participant) | {
        "maps": sorted(settings.participant.maps),
        "atlas": settings.both.atlas if bold_runs.maps(settings) else (),
        "seed": settings.compute.random_seed,
        "threads": settings.compute.omp_nthreads,
        "radiological": settings.other.radiological,
    }


def _hash(parts: list[object]) -> str:
    text = json.dumps([*parts, __version__], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _mask(scan: inputs.Scan, pattern: str | None) -> str | None:
    if pattern is None:
        return None
    try:
        path = Path(pattern.format(participant=scan.participant, session=scan.session or "")).absolute()
    except (KeyError, IndexError, ValueError) as error:
        raise UsageError(f"--brain-mask {pattern}: only {{participant}} and {{session}} are filled in") from error
    if not path.is_file():
        raise MissingInputError(f"--brain-mask: there is no {path.name} for {_name(scan.participant, scan.session)}")
    return str(path)


def _head(jobs: list[Job]) -> list[str] | None:
    """The template with a head; only where there is none are the images read, to learn whether one is needed."""
    found = templates.head()
    if found is not None:
        return [str(path) for path in found]
    raw = [job for job in jobs if job.t1w and job.source == "pellucid" and job.brain_mask is None]
    whole = [job.name for job in raw if _has_skull(job)]
    if whole:
        raise MissingInputError(
            f"{len(whole)} images show a whole head ({', '.join(whole[:5])}{', ...' if len(whole) > 5 else ''}), "
            f"and no template with a head is in TEMPLATEFLOW_HOME. Get it with\n  {templates.HEAD_COMMAND}\n"
            "or give --brain-mask"
        )
    return None


def _has_skull(job: Job) -> bool:
    try:
        image = conform.load(Path(str(job.t1w)))
    except DataError:
        return False  # the run itself fails this person, with this error
    return skull.stripped(np.asarray(image.dataobj), voxel_ml=float(np.prod(image.header.get_zooms())) / 1000) is None


def _filters(settings: Settings, kind: str) -> dict[str, object]:
    path = settings.select.bids_filter_file
    if path is None:
        return {}
    if not path.is_file():
        raise MissingInputError(f"--bids-filter-file: there is no file {path}")
    try:
        content = json.loads(path.read_text())
        return dict(content.get(kind, {}))
    except (ValueError, AttributeError) as error:
        raise UsageError(f"--bids-filter-file {path.name} is not a JSON object: {error}") from error


def _nothing(failed: dict[str, DataError | MissingInputError]) -> None:
    if not failed:
        raise NothingSelectedError("nobody who is selected, and not excluded, has a T1w image in sub-*/[ses-*/]anat")
    lines = [f"  {name}: {error}" for name, error in list(failed.items())[:5]]
    more = f"\n  and {len(failed) - 5} more" if len(failed) > 5 else ""
    bad = all(isinstance(error, DataError) for error in failed.values())
    raise (DataError if bad else MissingInputError)("no person can be used:\n" + "\n".join(lines) + more)


def _name(participant: str, session: str | None) -> str:
    return f"sub-{participant}" + (f"_ses-{session}" if session else "")
