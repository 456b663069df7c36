"""The part of a participant's graph that is about BOLD: one node a run to clean it, one a map, one an atlas."""

from typing import Any

from nipype.pipeline.engine import Node, Workflow

from bids_app.atlases import atlas
from bids_app.atlases.templates import grid
from bids_app.bids import outputs
from bids_app.graphs.function_node import make_node
from bids_app.nodes.bold_maps import clean_series, make_bold_map, resample_atlas_to_run
from bids_app.nodes.bold_preprocessing import align_to_t1w, correct_motion, warp_run_to_template
from bids_app.planning import bold_runs, participant
from bids_app.planning.bold_runs import atlases_by_label
from bids_app.settings import Settings


def run_inputs(job: participant.Job, settings: Settings) -> list[str]:
    """What the last step of a person gets of each run."""
    names: list[str] = []
    for number in range(len(job.runs)):
        names.append(f"run_{number}")
        names += [f"bold_{number}_{name}" for name in bold_runs.computed(settings)]
        names += [f"atlas_{number}_{label}" for label in atlases_by_label(settings)]
    return names


def connect_runs(
    person: Workflow, finish: Node, anatomy: Node | None, job: participant.Job, settings: Settings
) -> list[str]:
    """Add the nodes of all runs to a person's graph; returns the names of those that need the template."""
    needing = []
    for number, run in enumerate(job.runs):
        series = _series_node(number, run, settings)
        if bold_runs.is_raw(run):
            placed_run = _raw_nodes(person, anatomy, number, run, settings)
            person.connect([(placed_run, series, [("out", "run")])])
        person.connect([(series, finish, [("out", f"run_{number}")])])
        placed = {
            label: _atlas_node(number, label, name, settings) for label, name in atlases_by_label(settings).items()
        }
        for label, each in placed.items():
            person.connect([(series, each, [("out", "run")]), (each, finish, [("out", f"atlas_{number}_{label}")])])
            needing.append(each.name)
        for name in bold_runs.computed(settings):
            made = _map_node(number, name, run, settings)
            own = [outputs.label(atlas.name(each)) for each in bold_runs.atlas_names(settings.both.atlas, name)]
            person.connect([(series, made, [("out", "run")]), (placed[own[0]], made, [("out", "parcels")])])
            person.connect([(made, finish, [("out", f"bold_{number}_{name}")])])
    return needing


def _raw_nodes(person: Workflow, anatomy: Node | None, number: int, run: dict[str, Any], settings: Settings) -> Node:
    """Preprocess a raw run; returns the node that has it in template space."""
    seed = settings.compute.random_seed
    still = make_node(f"still_{number}", correct_motion, mem_gb=1 + 4 * run["gb"], run=run, seed=seed)
    aligned = make_node(
        f"align_{number}", align_to_t1w, mem_gb=1.5 + 2 * run["gb"], connected=("still", "anat"), seed=seed
    )
    shape, affine = grid(settings.participant.output_space, bold_runs.resolution(settings))
    placed = make_node(
        f"place_{number}",
        warp_run_to_template,
        mem_gb=1.5 + 3 * run["gb"],
        connected=("still", "aligned", "anat"),
        kind=bold_runs.registration(settings),
        grid=[list(shape), affine.tolist()],
    )
    person.connect([(still, aligned, [("out", "still")]), (still, placed, [("out", "still")])])
    person.connect([(aligned, placed, [("out", "aligned")])])
    person.connect([(anatomy, aligned, [("out", "anat")]), (anatomy, placed, [("out", "anat")])])
    return placed


def _series_node(number: int, run: dict[str, Any], settings: Settings) -> Node:
    onto, raw = None, bold_runs.is_raw(run)
    if settings.participant.resolution is not None and not raw:
        shape, affine = grid(settings.participant.output_space, settings.participant.resolution)
        onto = [list(shape), affine.tolist()]
    given = {"connected": ("run",)} if raw else {"run": run}
    return make_node(
        f"series_{number}",
        clean_series,
        mem_gb=1 + 1.5 * run["gb"],
        chosen=bold_runs.chosen(settings),
        grid=onto,
        **given,
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


def _map_node(number: int, name: str, run: dict[str, Any], settings: Settings) -> Node:
    return make_node(
        f"bold_{number}_{name}",
        make_bold_map,
        mem_gb=1 + run["gb"],
        connected=("run", "parcels"),
        map_name=name,
        parameters=bold_runs.parameters(settings, name),
    )
