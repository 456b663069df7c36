"""The BOLD part of a participant's graph: one node per run to clean it, one per map, one per atlas."""

from nipype.pipeline.engine import Node, Workflow

from bids_app.atlases import atlas
from bids_app.atlases.templates import grid
from bids_app.bids import outputs
from bids_app.graphs.function_node import make_node
from bids_app.nodes.bold_maps import clean_series, make_bold_map, resample_atlas_to_run
from bids_app.nodes.bold_preprocessing import align_to_t1w, correct_motion, warp_run_to_template
from bids_app.planning import bold_runs
from bids_app.planning.bold_runs import atlases_by_label
from bids_app.planning.participant_records import BoldRun, ParticipantJob
from bids_app.settings import Settings


def run_inputs(job: ParticipantJob, settings: Settings) -> list[str]:
    """The inputs of a participant's last step from each run."""
    names: list[str] = []
    for number in range(len(job.runs)):
        names.append(f"run_{number}")
        names += [f"bold_{number}_{name}" for name in bold_runs.participant_level_maps(settings)]
        names += [f"atlas_{number}_{label}" for label in atlases_by_label(settings)]
    return names


def connect_runs(
    person: Workflow, finish: Node, anatomy: Node | None, job: ParticipantJob, settings: Settings
) -> list[str]:
    """Add the nodes of all runs to a participant's graph; returns the names of those that need the template."""
    needing = []
    for number, run in enumerate(job.runs):
        series = _series_node(number, run, settings)
        if bold_runs.is_raw(run):
            warped = _raw_nodes(person, anatomy, number, run, settings)
            person.connect([(warped, series, [("out", "run")])])
        person.connect([(series, finish, [("out", f"run_{number}")])])
        atlases = {
            label: _atlas_node(number, label, name, settings) for label, name in atlases_by_label(settings).items()
        }
        for label, node in atlases.items():
            person.connect([(series, node, [("out", "run")]), (node, finish, [("out", f"atlas_{number}_{label}")])])
            needing.append(node.name)
        for name in bold_runs.participant_level_maps(settings):
            node = _map_node(number, name, run, settings)
            first_atlas = bold_runs.atlas_names(settings.shared.atlas, name)[0]
            parcels = atlases[outputs.label(atlas.name(first_atlas))]
            person.connect([(series, node, [("out", "run")]), (parcels, node, [("out", "parcels")])])
            person.connect([(node, finish, [("out", f"bold_{number}_{name}")])])
    return needing


def _raw_nodes(person: Workflow, anatomy: Node | None, number: int, run: BoldRun, settings: Settings) -> Node:
    """Preprocess a raw run; returns the node that provides it in template space."""
    seed, gb = settings.compute.random_seed, run["gb"]
    corrected = make_node(f"motion_{number}", correct_motion, mem_gb=1 + 4 * gb, run=run)
    aligned = make_node(
        f"align_{number}", align_to_t1w, mem_gb=1.5 + 2 * gb, connected=("corrected", "anat"), seed=seed
    )
    shape, affine = grid(settings.participant.output_space, bold_runs.resolution(settings))
    warped = make_node(
        f"warp_{number}",
        warp_run_to_template,
        mem_gb=1.5 + 3 * gb,
        connected=("corrected", "aligned", "anat"),
        kind=bold_runs.registration(settings),
        grid=[list(shape), affine.tolist()],
    )
    person.connect([(corrected, aligned, [("out", "corrected")]), (corrected, warped, [("out", "corrected")])])
    person.connect([(aligned, warped, [("out", "aligned")])])
    person.connect([(anatomy, aligned, [("out", "anat")]), (anatomy, warped, [("out", "anat")])])
    return warped


def _series_node(number: int, run: BoldRun, settings: Settings) -> Node:
    onto, raw = None, bold_runs.is_raw(run)
    if settings.participant.resolution is not None and not raw:
        shape, affine = grid(settings.participant.output_space, settings.participant.resolution)
        onto = [list(shape), affine.tolist()]
    source = {"connected": ("run",)} if raw else {"run": bold_runs.preprocessed_run(run)}
    return make_node(
        f"series_{number}",
        clean_series,
        mem_gb=1 + 1.5 * run["gb"],
        settings=bold_runs.denoising_settings(settings),
        grid=onto,
        **source,
    )


def _atlas_node(number: int, label: str, name: str, settings: Settings) -> Node:
    return make_node(
        f"atlas_{number}_{label}",
        resample_atlas_to_run,
        mem_gb=2,
        connected=("run", "templates"),
        cache=str(settings.work_dir),
        atlas_name=name,
        stamp=atlas.stamp(name),
        space=settings.participant.output_space,
        seed=settings.compute.random_seed,
        sloppy=settings.participant.sloppy,
    )


def _map_node(number: int, name: str, run: BoldRun, settings: Settings) -> Node:
    return make_node(
        f"bold_{number}_{name}",
        make_bold_map,
        mem_gb=1 + run["gb"],
        connected=("run", "parcels"),
        map_name=name,
        parameters=bold_runs.map_options(settings, name),
    )
