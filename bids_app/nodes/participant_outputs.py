"""The last step of a participant: figures, sidecars and report are staged with the maps, then all appear at once."""

from pathlib import Path
from typing import Any

from bids_app import __version__, run_log
from bids_app.bids import outputs
from bids_app.bids.names import session_name
from bids_app.nodes.anatomical_outputs import PageContent, ProcessedAnatomy, stage_anatomy
from bids_app.nodes.bold_outputs import ProcessedRun, describe_runs, stage_run
from bids_app.nodes.quality import Measures, measure_anatomy, measure_runs
from bids_app.planning.participant_records import Anatomy, AnatomySettings, BoldSettings, ParticipantJob, TemplateFiles
from bids_app.planning.provenance import Provenance, read_record, write_record
from bids_app.report.participant import RunSection, write_participant_report
from bids_app.report.references import cited_references


def write_participant(
    *,
    job: dict[str, Any],
    settings: AnatomySettings,
    templates: TemplateFiles,
    bids_dir: str,
    output_dir: str,
    radiological: bool,
    bold: BoldSettings | None,
    provenance: Provenance | None,
    start: float,
    anat: Anatomy | None = None,
    **results: Any,
) -> list[str]:
    """Publish a session's outputs; returns their paths in OUT_DIR.

    `job`: the fields of a `ParticipantJob`. `provenance`: that of the run, which began at `start` (s since the epoch);
    with None only the page and its figures are published, with the stored record of the run that computed the outputs.
    `results`: the file of each `map_<name>`, the `WarpedAnatomy` of each `sources_<kind>` and the `ExcludedMask` as
    `excluded`; for BOLD the `CleanedRun` of each `run_<number>`, the files of each `bold_<number>_<map>` and the folder
    of each `atlas_<number>_<name>`.
    """
    planned, out = ParticipantJob(**job), Path(output_dir)
    session = (planned.participant, planned.session)
    content = _empty_content(planned)
    sections: list[RunSection] = []
    measures: Measures = {"source": planned.source}
    with outputs.staging(out) as stage:
        if anat is not None:
            anatomy = _collect_anatomy(planned, settings, anat, results)
            content = stage_anatomy(stage, anatomy, templates, Path(bids_dir), radiological=radiological)
            measures |= measure_anatomy(anatomy.tissues["volumes"], anatomy.sources, templates)
        if bold is not None:
            runs = _collect_runs(planned, bold, results)
            tissues = None if anat is None else results.get(f"sources_{bold['registration']}")
            sections = [stage_run(stage, session, run, templates, bold, tissues) for run in runs]
            measures |= measure_runs([run.cleaned for run in runs])
            texts = [content["methods"], describe_runs(runs, bold)]
            content["methods"] = "\n\n".join(text for text in texts if text)
        if provenance is None:
            about = read_record(out / outputs.log_file(*session, "provenance"))
            _write_page(stage, planned, content, sections, measures, about)
            return _publish_page(stage, out)
        about = _stage_provenance(stage, planned, provenance, logs=out / "logs", start=start)
        _write_page(stage, planned, content, sections, measures, about)
        outputs.clear_done(out, *session)
        files = outputs.publish(stage, out)
    outputs.mark_done(out, *session, planned.key, files)
    return files


def _collect_anatomy(
    job: ParticipantJob, settings: AnatomySettings, anat: Anatomy, results: dict[str, Any]
) -> ProcessedAnatomy:
    return ProcessedAnatomy(
        job,
        settings,
        anat,
        sources={kind: results[f"sources_{kind}"] for kind in job.registrations},
        maps={name: results[f"map_{name}"] for name in job.kinds},
        excluded=results.get("excluded"),
    )


def _collect_runs(job: ParticipantJob, bold: BoldSettings, results: dict[str, Any]) -> list[ProcessedRun]:
    """Each BOLD run with the results of its nodes."""
    return [
        ProcessedRun(
            run,
            results[f"run_{number}"],
            maps={name: results[key] for name in bold["maps"] if (key := f"bold_{number}_{name}") in results},
            atlases={label: results[f"atlas_{number}_{label}"] for label in bold["atlases"]},
        )
        for number, run in enumerate(job.runs)
    ]


def _empty_content(job: ParticipantJob) -> PageContent:
    """The content of a report without anatomy."""
    return {"figures": [], "facts": {"Preprocessed by": job.source}, "checks": [], "methods": ""}


def _stage_provenance(
    stage: Path, job: ParticipantJob, provenance: Provenance, *, logs: Path, start: float
) -> Provenance:
    """Stage the record with the warnings and errors in the participant's log after those about no participant."""
    names = dict.fromkeys((session_name(job.participant, None), job.name))
    logged = [message for name in names for _, message in run_log.read_problems(logs / f"{name}.log", start=start)]
    file = stage / outputs.log_file(job.participant, job.session, "provenance")
    file.parent.mkdir(parents=True, exist_ok=True)
    return write_record(file, {**provenance, "messages": [*provenance["messages"], *logged]})


def _publish_page(stage: Path, out: Path) -> list[str]:
    """Publish the page, its figures and its measures, those that differ from the published ones."""
    for file in (path for path in stage.rglob("*") if path.is_file()):
        published = out / file.relative_to(stage)
        if not outputs.is_report(file) or (published.is_file() and published.read_bytes() == file.read_bytes()):
            file.unlink()
    return outputs.publish(stage, out)


def _write_page(
    stage: Path,
    job: ParticipantJob,
    content: PageContent,
    sections: list[RunSection],
    measures: Measures,
    about: Provenance | None,
) -> None:
    """The page, and the measures that the index of OUT_DIR reads."""
    quality_file = stage / outputs.log_file(job.participant, job.session, "qc")
    quality_file.parent.mkdir(parents=True, exist_ok=True)
    outputs.write_json(quality_file, measures)
    write_participant_report(
        stage / f"{job.name}.html",
        participant=job.participant,
        session=job.session,
        **content,
        measures=measures,
        references=cited_references(content["methods"]),
        version=__version__,
        functional=sections,
        about=about,
    )
