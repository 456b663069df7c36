"""The graph of a participant run: one small workflow per participant, one node per map."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from nipype.pipeline.engine import Node, Workflow

from bids_app import run_log
from bids_app.atlases import templates
from bids_app.bids import outputs
from bids_app.bids.matching import list_failures
from bids_app.errors import MissingInputError
from bids_app.graphs.bold import connect_runs, run_inputs
from bids_app.graphs.computed import list_missing
from bids_app.graphs.function_node import make_node
from bids_app.graphs.run import failure_reason, run_graph, set_crash_folder
from bids_app.nodes.anatomical import (
    borrow_derivative,
    make_map,
    prepare_native,
    register_to_template,
    segment_tissues,
    warp_to_template,
)
from bids_app.nodes.excluded_regions import resample_excluded_regions
from bids_app.nodes.participant_outputs import write_participant
from bids_app.nodes.template import prepare_template
from bids_app.options.maps import map_parameters
from bids_app.planning import excluded_regions
from bids_app.planning.bold_runs import output_settings
from bids_app.planning.participant_records import ParticipantJob, ParticipantPlan
from bids_app.planning.provenance import PARTICIPANT_SOFTWARE, Provenance, describe_run
from bids_app.planning.reports_only import REMEDY
from bids_app.settings import Settings

PRELOAD = [
    "bids_app.nodes.template",
    "bids_app.nodes.bold_maps",
    "bids_app.nodes.participant_outputs",
    "bids_app.report.figures",
]
WITH_ANATOMY = ["bids_app.nodes.anatomical", "bids_app.nodes.anatomy_preloaded"]


def run_participant_graph(planned: ParticipantPlan, settings: Settings) -> dict[str, str]:
    """Compute all jobs of the plan; returns the reason of each failure by BIDS name."""
    if not planned.jobs:
        return {}
    whole = Workflow("participants", base_dir=str(settings.work_dir))
    template = _template_node(planned, settings)
    shared = settings.work_dir / "log"
    set_crash_folder(template, shared)
    logs, connections, workflows = {}, [], {}
    provenance = describe_run(settings, software=PARTICIPANT_SOFTWARE, templates=_template_files(planned, settings))
    for job in planned.jobs:
        workflow, needing = _participant_workflow(job, planned, settings, provenance)
        workflows[job.name] = workflow
        connections.append((template, workflow, [("out", f"{name}.templates") for name in needing]))
        logs[job.name] = outputs.folder(settings.output_dir, job.participant, job.session, "log")
        logs[job.name].mkdir(parents=True, exist_ok=True)
        set_crash_folder(workflow, logs[job.name])
    whole.connect(connections)  # at once: each call searches all participants
    lost = _remove_uncomputed(whole, workflows, planned, settings) if settings.other.reports_only else {}
    preload = [*PRELOAD, *(WITH_ANATOMY if any(job.registrations for job in planned.jobs) else [])]
    run_graph(whole, settings, last=("finish",), total=len(workflows), what="participants", preload=preload)
    failed = [
        job
        for job in planned.jobs
        if job.name in workflows
        and (
            any(logs[job.name].glob("crash-*"))  # of a page that is written again
            or not outputs.is_done(settings.output_dir, job.participant, job.session, job.key)
        )
    ]
    return lost | {job.name: failure_reason(logs[job.name], shared) for job in failed}


def _remove_uncomputed(
    whole: Workflow, workflows: dict[str, Workflow], planned: ParticipantPlan, settings: Settings
) -> dict[str, str]:
    """Remove the participants of whom something would be computed; returns why, by BIDS name.

    Raises MissingInputError if none is left.
    """
    if any(settings.work_dir.glob(f"template-{settings.participant.output_space}-*")):
        alone = Workflow(whole.name, base_dir=whole.base_dir)  # returns the folder, which may have another node's name
        alone.add_nodes([_template_node(planned, settings)])
        run_graph(alone, settings, last=(), total=0, what="template", preload=PRELOAD[:1])
    missing = {name.split(".")[1] for name in list_missing(whole, settings)}
    why = f"the work folder lacks intermediate results: delete %s.html from OUT_DIR and {REMEDY}"
    lost = {name: why % name for name, workflow in workflows.items() if workflow.name in missing}
    for name in lost:
        whole.remove_nodes([workflows.pop(name)])
    if not workflows:
        raise MissingInputError(f"--reports-only: no page can be written again:\n{list_failures(lost)}")
    return lost


def _template_node(planned: ParticipantPlan, settings: Settings) -> Node:
    return make_node(
        f"templates_{planned.jobs[0].inputs}",
        prepare_template,
        mem_gb=1.5,
        n_procs=settings.compute.omp_nthreads,
        cache=str(settings.work_dir),
        space=settings.participant.output_space,
        resolution=planned.resolution,
        box=list(settings.participant.bounding_box),
        anatomy=settings.participant.anatomy,
        sloppy=settings.participant.sloppy,
        seed=settings.compute.random_seed,
    )


def _template_files(planned: ParticipantPlan, settings: Settings) -> list[Path]:
    return [*templates.source_files(settings.participant.output_space), *map(Path, planned.head or ())]


def _participant_workflow(
    job: ParticipantJob, planned: ParticipantPlan, settings: Settings, provenance: Provenance
) -> tuple[Workflow, list[str]]:
    """One participant's nodes, and the names of those that need the template."""
    workflow = Workflow(f"{job.name.replace('-', '_')}_{job.inputs}")
    finish = _outputs_node(job, planned, settings, provenance)
    if not job.registrations:
        return workflow, [*connect_runs(workflow, finish, None, job, settings), finish.name]
    anatomy, needing = _anatomy_nodes(workflow, job, planned, settings)
    needing += connect_runs(workflow, finish, anatomy, job, settings)
    workflow.connect([(anatomy, finish, [("out", "anat")])])
    for kind in job.registrations:
        sources = make_node(
            f"to_template_{kind}", warp_to_template, mem_gb=2, connected=("anat", "templates"), kind=kind
        )
        workflow.connect([(anatomy, sources, [("out", "anat")]), (sources, finish, [("out", f"sources_{kind}")])])
        needing.append(sources.name)
        for name in (name for name, registration in job.kinds.items() if registration == kind):
            excluded = None
            if name == excluded_regions.MAP and job.excluded_regions:
                excluded = _excluded_regions_node(job, kind, settings)
                needing.append(excluded.name)
            node = make_node(
                f"map_{name}",
                make_map,
                mem_gb=1,
                connected=("sources", *(("excluded",) if excluded else ())),
                map_name=name,
                parameters=map_parameters(settings.participant, name),
            )
            workflow.connect([(sources, node, [("out", "sources")]), (node, finish, [("out", f"map_{name}")])])
            if excluded:
                to_excluded = (anatomy, excluded, [("out", "anat")])
                workflow.connect([to_excluded, *((excluded, to, [("out", "excluded")]) for to in (node, finish))])
    return workflow, [*needing, finish.name]


def _excluded_regions_node(job: ParticipantJob, kind: str, settings: Settings) -> Node:
    return make_node(
        "excluded",
        resample_excluded_regions,
        mem_gb=2,
        connected=("anat", "templates"),
        kind=kind,
        excluded=job.excluded_regions,
        cache=str(settings.work_dir),
        space=settings.participant.output_space,
        seed=settings.compute.random_seed,
        sloppy=settings.participant.sloppy,
    )


def _anatomy_nodes(
    person: Workflow, job: ParticipantJob, planned: ParticipantPlan, settings: Settings
) -> tuple[Node, list[str]]:
    """Native anatomy and its transforms, ours or a derivative's.

    Returns the last node, and the names of those that need the template.
    """
    common: dict[str, Any] = {"sloppy": settings.participant.sloppy, "anatomy": settings.participant.anatomy}
    seeded = {**common, "seed": settings.compute.random_seed}
    threads = settings.compute.omp_nthreads
    warps = make_node(
        "register",
        register_to_template,
        mem_gb=2.5,
        n_procs=threads,
        connected=("anat", "templates"),
        nonlinear="nonlinear" in job.registrations and not job.borrowed,
        **seeded,
    )
    if job.borrowed:
        native = make_node("borrow", borrow_derivative, mem_gb=2, **job.borrowed)
        if "affine" not in job.registrations:
            person.add_nodes([native])
            return native, []
        person.connect([(native, warps, [("out", "anat")])])
        return warps, [warps.name]
    native = make_node(
        "native",
        prepare_native,
        mem_gb=2.5,
        n_procs=threads,
        t1w=job.t1w,
        brain_mask=job.brain_mask,
        template=planned.head,
        **seeded,
    )
    tissues = make_node(
        "segment", segment_tissues, mem_gb=3, n_procs=threads, connected=("anat", "templates"), **common
    )
    person.connect([(native, warps, [("out", "anat")]), (warps, tissues, [("out", "anat")])])
    return tissues, [warps.name, tissues.name]


def _outputs_node(job: ParticipantJob, planned: ParticipantPlan, settings: Settings, provenance: Provenance) -> Node:
    options = settings.participant
    node = make_node(
        "finish",
        write_participant,
        mem_gb=1.5 + sum(2 * run["gb"] for run in job.runs),
        connected=(
            "templates",
            *(("anat",) if job.registrations else ()),
            *(("excluded",) if job.excluded_regions else ()),
            *(f"map_{name}" for name in job.kinds),
            *(f"sources_{kind}" for kind in job.registrations),
            *run_inputs(job, settings),
        ),
        job=asdict(job),
        settings={
            "output_space": options.output_space,
            "parameters": {name: map_parameters(options, name) for name in job.kinds},
            "anatomy": options.anatomy,
            "sloppy": options.sloppy,
            "bounding_box": options.bounding_box,
            "resolution": planned.resolution,
        },
        bids_dir=str(settings.bids_dir),
        output_dir=str(settings.output_dir),
        radiological=settings.other.radiological,
        bold=output_settings(settings) if job.runs else None,
        provenance=None if settings.other.reports_only else provenance,
        start=run_log.start_time(),
    )
    node.overwrite = True  # participants are in the plan only if outputs are missing, whatever the work folder contains
    return node
