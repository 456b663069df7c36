"""What a participant run will do, person by person, looked through before anything is computed."""

import hashlib
import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from bids_app import __version__, catalogue
from bids_app.atlases import templates
from bids_app.bids import annex, derivatives, exclusions, inputs, outputs
from bids_app.errors import DataError, MissingInputError, NothingSelectedError, UsageError
from bids_app.preprocess import conform, skull
from bids_app.settings import Settings

log = logging.getLogger("pellucid")


@dataclass(frozen=True)
class Job:
    """One person in one session: the image, who preprocesses it, and two hashes.

    `inputs` is that of the files, and names the work folder, where nodes know by their own settings what is to be done
    again; `key` is that of all that the outputs depend on.
    """

    participant: str
    session: str | None
    scan: str
    t1w: str
    source: str
    inputs: str
    key: str
    borrowed: dict[str, str] = field(default_factory=dict)
    brain_mask: str | None = None

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
    """The registration of each chosen map."""
    forced = settings.participant.registration
    return {name: forced or catalogue.load("maps", name).REGISTRATION for name in settings.participant.maps}


def make(dataset: inputs.Dataset, settings: Settings) -> Plan:
    """Look for every file that the run needs. What concerns a person fails that person; what concerns all is raised."""
    catalogue.check("maps", settings.participant.maps)
    templates.brain(settings.participant.output_space)
    _check_derivatives(settings)
    labels = inputs.select(dataset, settings.select.participant_label)
    excluded = exclusions.read(settings.select.exclude)
    jobs: list[Job] = []
    failed: dict[str, str] = {}
    for participant in labels:
        scans = inputs.anatomical_scans(
            dataset, participant, sessions=settings.select.session_label, filters=_filters(settings)
        )
        if not scans:
            log.info("sub-%s has no T1w image and is left out", participant)
        for scan in scans:
            if why := exclusions.reason(excluded, scan.participant, scan.session):
                log.info("%s is excluded: %s", _name(scan), why)
                continue
            try:
                jobs.append(_job(dataset, scan, settings))
            except (DataError, MissingInputError) as error:
                failed[_name(scan)] = str(error)
    if not jobs:
        _nothing(failed)
    finished = [outputs.is_done(settings.output_dir, job.participant, job.session, job.key) for job in jobs]
    todo = [job for job, done in zip(jobs, finished, strict=True) if not done]
    before = [job for job, done in zip(jobs, finished, strict=True) if done]
    return Plan(todo, before, failed, _head(todo), resolution(settings))


def _check_derivatives(settings: Settings) -> None:
    unknown = sorted(set(settings.select.derivatives) - {"fmriprep"})
    if unknown:
        raise UsageError(f"--derivatives {unknown[0]}: only fmriprep=PATH is understood")
    for name, path in settings.select.derivatives.items():
        if not path.is_dir():
            raise MissingInputError(f"--derivatives {name}: there is no folder {path}")


def _job(dataset: inputs.Dataset, scan: inputs.Scan, settings: Settings) -> Job:
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
    for path in [t1w, *map(Path, borrowed.values())]:
        if reason := annex.why_unreadable(
            path, dataset.root if path == scan.path else settings.select.derivatives["fmriprep"]
        ):
            raise MissingInputError(reason)
    mask = _mask(scan, settings.participant.brain_mask) if not borrowed else None
    files = sorted({str(t1w), *borrowed.values(), *([mask] if mask else [])})
    stamps = [(Path(path).name, Path(path).stat().st_size, Path(path).stat().st_mtime_ns) for path in files]
    hashes = _hash([stamps]), _hash([stamps, _chosen(settings)])
    return Job(scan.participant, scan.session, str(scan.path), str(t1w), source, *hashes, borrowed, mask)


def _chosen(settings: Settings) -> dict[str, object]:
    """Every setting that an output of a person depends on."""
    return asdict(settings.participant) | {
        "maps": sorted(settings.participant.maps),
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
        raise MissingInputError(f"--brain-mask: there is no {path.name} for {_name(scan)}")
    return str(path)


def _head(jobs: list[Job]) -> list[str] | None:
    """The template with a head; only where there is none are the images read, to learn whether one is needed."""
    found = templates.head()
    if found is not None:
        return [str(path) for path in found]
    whole = [job.name for job in jobs if job.source == "pellucid" and job.brain_mask is None and _has_skull(job)]
    if whole:
        raise MissingInputError(
            f"{len(whole)} images show a whole head ({', '.join(whole[:5])}{', ...' if len(whole) > 5 else ''}), "
            f"and no template with a head is in TEMPLATEFLOW_HOME. Get it with\n  {templates.HEAD_COMMAND}\n"
            "or give --brain-mask"
        )
    return None


def _has_skull(job: Job) -> bool:
    try:
        image = conform.load(Path(job.t1w))
    except DataError:
        return False  # the run itself fails this person, with this error
    return skull.stripped(np.asarray(image.dataobj), voxel_ml=float(np.prod(image.header.get_zooms())) / 1000) is None


def _filters(settings: Settings) -> dict[str, object] | None:
    path = settings.select.bids_filter_file
    if path is None:
        return None
    if not path.is_file():
        raise MissingInputError(f"--bids-filter-file: there is no file {path}")
    try:
        content = json.loads(path.read_text())
        return dict(content.get("t1w", {}))
    except (ValueError, AttributeError) as error:
        raise UsageError(f"--bids-filter-file {path.name} is not a JSON object: {error}") from error


def _nothing(failed: dict[str, str]) -> None:
    if not failed:
        raise NothingSelectedError("nobody who is selected, and not excluded, has a T1w image in sub-*/[ses-*/]anat")
    lines = [f"  {name}: {reason}" for name, reason in list(failed.items())[:5]]
    more = f"\n  and {len(failed) - 5} more" if len(failed) > 5 else ""
    raise MissingInputError(f"no person can be used; {len(failed)} images cannot be read:\n" + "\n".join(lines) + more)


def _name(scan: inputs.Scan) -> str:
    return f"sub-{scan.participant}" + (f"_ses-{scan.session}" if scan.session else "")
