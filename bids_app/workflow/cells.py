"""The graph of a group run: one node a map to stack, one a cell and fold to train, one an atlas to place."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from nipype.pipeline.engine import Node, Workflow

from bids_app.errors import FailedError
from bids_app.settings import Settings
from bids_app.workflow import execute
from bids_app.workflow.analysis import Analysis
from bids_app.workflow.call import node

STEPS = "bids_app.workflow.training"
PRELOAD = ["nilearn", "pandas", "sklearn.svm"]


def folder(analysis: Analysis, settings: Settings) -> Path:
    """Where everything of this analysis that can be computed again is kept."""
    return settings.work_dir / f"analysis-{analysis.name}-{analysis.key}"


def run(analysis: Analysis, settings: Settings) -> Path:
    """Train and explain every cell in every fold. Returns the folder; raises FailedError, which names the node that failed."""
    work = folder(analysis, settings)
    work.mkdir(parents=True, exist_ok=True)
    written = analysis.used.drop(columns=list(analysis.smoothing)).assign(session_id=analysis.used["session_id"].fillna("n/a"))
    written.to_csv(work / "people.tsv", sep="\t", index=False, na_rep="n/a")
    graph = Workflow("nodes", base_dir=str(work))
    template = _template(analysis, settings)
    for name in dict.fromkeys(name for chosen in analysis.atlases.values() for name in chosen):
        graph.connect([(template, _atlas(name, analysis, settings), [("out", "template")])])
    stacks = {name: _stack(name, analysis, work) for name in analysis.smoothing}
    for stack in stacks.values():
        graph.connect([(template, stack, [("out", "template")])])
    for cell in analysis.cells:
        for split in analysis.splits:
            train = _train(cell, split, analysis, settings, work)
            graph.connect([(stacks[name], train, [("out", f"array_{name}")]) for name in cell.maps])
    logs = work / "log"
    logs.mkdir(exist_ok=True)
    execute.keep_crashes(graph, logs)
    total = len(analysis.cells) * len(analysis.splits)
    execute.run(graph, settings, last="train_", total=total, what="folds trained", preload=PRELOAD)
    if any(logs.glob("crash-*")):
        raise FailedError(f"the analysis stopped: {execute.reason(logs)}; what is finished is kept in the work folder")
    return work


def _template(analysis: Analysis, settings: Settings) -> Node:
    return node(
        "template",
        "bids_app.workflow.templates:prepare",
        mem_gb=1.5,
        cache=str(settings.work_dir),
        space=analysis.space,
        resolution=analysis.resolution,
        sloppy=analysis.sloppy,
        seed=settings.compute.random_seed,
    )


def _atlas(name: str, analysis: Analysis, settings: Settings) -> Node:
    work = folder(analysis, settings)
    slug = "".join(letter for letter in Path(name).name if letter.isalnum())
    return node(
        f"atlas_{slug}",
        f"{STEPS}:place_atlas",
        mem_gb=2,
        connected=("template",),
        cache=str(settings.work_dir),
        atlas_name=name,
        link=str(work / "atlases" / slug),
        space=analysis.space,
        seed=settings.compute.random_seed,
        sloppy=analysis.sloppy,
    )


def _stack(name: str, analysis: Analysis, work: Path) -> Node:
    files = [[str(path) for path in paths] for paths in analysis.used[name]]
    return node(
        f"stack_{name}",
        f"{STEPS}:stack",
        mem_gb=1,
        connected=("template",),
        map_name=name,
        files=files,
        smoothing_mm=analysis.smoothing[name],
        work=str(work),
    )


def _train(cell: Any, split: Any, analysis: Analysis, settings: Settings, work: Path) -> Node:
    group = settings.group
    place = f"{cell.classifier}_{'_'.join(cell.maps)}_repeat_{split.repeat}_fold_{split.fold}"
    return node(
        f"train_{place}",
        f"{STEPS}:train",
        mem_gb=3,
        n_procs=settings.compute.omp_nthreads,
        connected=tuple(f"array_{name}" for name in cell.maps),
        cell=cell.name,
        classifier=cell.classifier,
        maps=list(cell.maps),
        classes=list(analysis.classes),
        split=asdict(split),
        explainers=list(group.explainers),
        target=group.explain_target,
        adjust={name: list(analysis.adjust[name]) for name in cell.maps},
        smoothing={name: analysis.smoothing[name] for name in cell.maps},
        analysis=analysis.name,
        space=analysis.space,
        resolution=analysis.resolution,
        seed=settings.compute.random_seed,
        device=settings.compute.device,
        threads=settings.compute.omp_nthreads,
        work=str(work),
        output_dir=str(settings.output_dir),
    )
