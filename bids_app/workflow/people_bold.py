"""The part of a person's graph that is about BOLD: one node a run to clean it, one a map, one an atlas."""

from typing import Any

from nipype.pipeline.engine import Node, Workflow

from bids_app.atlases import atlas
from bids_app.atlases.templates import grid
from bids_app.bids import outputs
from bids_app.planning import bold_runs, participant
from bids_app.settings import Settings
from bids_app.workflow.call import node

STEPS = "bids_app.nodes.bold_maps"
RAW = "bids_app.nodes.bold_preprocessing"


def chosen(settings: Settings) -> dict[str, Any]:
    """What the outputs of BOLD state of the settings."""
    return {
        **bold_runs.chosen(settings),
        "maps": list(bold_runs.maps(settings)),
        "parameters": bold_runs.parameters(settings),
        "atlases": _atlases(settings),
        "space": settings.participant.output_space,
        "sloppy": settings.participant.sloppy,
        "registration": bold_runs.registration(settings),
        "resampled": settings.participant.resolution is not None,
        "save_series": settings.participant.save_series or bold_runs.computed(settings) != bold_runs.maps(settings),
        "radiological": settings.other.radiological,
    }


def inputs(job: participant.Job, settings: Settings) -> list[str]:
    """What the last step of a person gets of each run."""
    names: list[str] = []
    for number in range(len(job.runs)):
        names.append(f"run_{number}")
        names += [f"bold_{number}_{name}" for name in bold_runs.computed(settings)]
        names += [f"atlas_{number}_{label}" for label in _atlases(settings)]
    return names


def connect(
    person: Workflow, finish: Node, anatomy: Node | None, job: participant.Job, settings: Settings
) -> list[str]:
    """Add the nodes of all runs to a person's graph; returns the names of those that need the template."""
    needing = []
    for number, run in enumerate(job.runs):
        series = _series(number, run, settings)
        if bold_runs.is_raw(run):
            placed_run = _raw(person, anatomy, number, run, settings)
            person.connect([(placed_run, series, [("out", "run")])])
        person.connect([(series, finish, [("out", f"run_{number}")])])
        placed = {label: _atlas(number, label, name, settings) for label, name in _atlases(settings).items()}
        for label, each in placed.items():
            person.connect([(series, each, [("out", "run")]), (each, finish, [("out", f"atlas_{number}_{label}")])])
            needing.append(each.name)
        for name in bold_runs.computed(settings):
            made = _map(number, name, run, settings)
            own = [outputs.label(atlas.name(each)) for each in bold_runs.atlas_names(settings.both.atlas, name)]
            person.connect([(series, made, [("out", "run")]), (placed[own[0]], made, [("out", "parcels")])])
            person.connect([(made, finish, [("out", f"bold_{number}_{name}")])])
    return needing


def _raw(person: Workflow, anatomy: Node | None, number: int, run: dict[str, Any], settings: Settings) -> Node:
    """Preprocess a raw run; returns the node that has it in template space."""
    seed = settings.compute.random_seed
    still = node(f"still_{number}", f"{RAW}:still", mem_gb=1 + 4 * run["gb"], run=run, seed=seed)
    aligned = node(
        f"align_{number}", f"{RAW}:align", mem_gb=1.5 + 2 * run["gb"], connected=("still", "anat"), seed=seed
    )
    shape, affine = grid(settings.participant.output_space, bold_runs.resolution(settings))
    placed = node(
        f"place_{number}",
        f"{RAW}:to_template",
        mem_gb=1.5 + 3 * run["gb"],
        connected=("still", "aligned", "anat"),
        kind=bold_runs.registration(settings),
        grid=[list(shape), affine.tolist()],
    )
    person.connect([(still, aligned, [("out", "still")]), (still, placed, [("out", "still")])])
    person.connect([(aligned, placed, [("out", "aligned")])])
    person.connect([(anatomy, aligned, [("out", "anat")]), (anatomy, placed, [("out", "anat")])])
    return placed


def _series(number: int, run: dict[str, Any], settings: Settings) -> Node:
    onto, raw = None, bold_runs.is_raw(run)
    if settings.participant.resolution is not None and not raw:
        shape, affine = grid(settings.participant.output_space, settings.participant.resolution)
        onto = [list(shape), affine.tolist()]
    given = {"connected": ("run",)} if raw else {"run": run}
    return node(
        f"series_{number}",
        f"{STEPS}:series",
        mem_gb=1 + 1.5 * run["gb"],
        chosen=bold_runs.chosen(settings),
        grid=onto,
        **given,
    )


def _atlas(number: int, label: str, name: str, settings: Settings) -> Node:
    return node(
        f"atlas_{number}_{label}",
        f"{STEPS}:place_atlas",
        mem_gb=2,
        connected=("run", "templates"),
        cache=str(settings.work_dir),
        atlas_name=name,
        stamp=atlas.stamp(name),
        space=settings.participant.output_space,
        seed=settings.compute.random_seed,
        sloppy=settings.participant.sloppy,
    )


def _map(number: int, name: str, run: dict[str, Any], settings: Settings) -> Node:
    return node(
        f"bold_{number}_{name}",
        f"{STEPS}:make_map",
        mem_gb=1 + run["gb"],
        connected=("run", "parcels"),
        map_name=name,
        parameters=bold_runs.parameters(settings),
    )


def _atlases(settings: Settings) -> dict[str, str]:
    """The atlases of all maps that are made, by a name that nodes can have."""
    names = [name for one in bold_runs.computed(settings) for name in bold_runs.atlas_names(settings.both.atlas, one)]
    return {outputs.label(atlas.name(name)): name for name in dict.fromkeys(names)}
