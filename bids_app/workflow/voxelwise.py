"""The voxelwise test of an analysis's maps (--voxelwise-test): what it needs, and its nodes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from nipype.pipeline.engine import Node, Workflow

from bids_app.bids import outputs
from bids_app.dataset.grid import Grid
from bids_app.errors import DataError, UsageError
from bids_app.evaluation import voxelwise
from bids_app.planning.group import Analysis
from bids_app.settings import Settings
from bids_app.training import seeds, tables
from bids_app.workflow import needs
from bids_app.workflow.call import node

CHUNK = 50  # permutations of a node
COPIES = 8  # of the people's values in float64, at the peak


def check(analysis: Analysis, settings: Settings) -> None:
    """Raise UsageError or DataError where the test cannot be made."""
    count = settings.group.voxelwise_test
    if not count:
        return
    if count < voxelwise.FEWEST:
        raise UsageError(
            f"--voxelwise-test {count}: p can be 0.05 with {voxelwise.FEWEST} permutations or more; ask for 1000"
        )
    classes = analysis.used.groupby("participant_id")["class"].nunique()
    if len(changed := classes.index[classes > 1]):
        raise DataError(
            f"--voxelwise-test: the class of sub-{changed[0]} differs between sessions; use --sessions first"
        )
    for name, one in comparisons(analysis):
        voxelwise.refuse(*_design(analysis.used, analysis.classes, one, analysis.adjust[name]))
    planned = [description(name, one) for name, one in comparisons(analysis)]
    if twice := sorted({name for name in planned if planned.count(name) > 1}):
        raise UsageError(f"two outputs would share the name desc-{twice[0]}; rename the classes")


def connect(graph: Workflow, analysis: Analysis, settings: Settings, stacks: dict[str, Node], work: Path) -> int:
    """Add a node for every fifty permutations of each comparison; returns how many nodes."""
    count = settings.group.voxelwise_test
    sizes = [len(part) for part in np.array_split(np.arange(count), parts(count))] if count else []
    for name, one in comparisons(analysis):
        values = len(analysis.used) * needs.BRAIN_MM3 / analysis.resolutions[name] ** 3
        for number, size in enumerate(sizes, start=1):
            made = node(
                f"voxelwise_{description(name, one)}_{number}",
                "bids_app.workflow.voxelwise:draw",
                mem_gb=0.5 + COPIES * values * 8e-9,
                connected=("array",),
                map_name=name,
                explained=one,
                classes=list(analysis.classes),
                columns=list(analysis.adjust[name]),
                permutations=size,
                seed=seeds.derive(settings.compute.random_seed, "voxelwise", number),  # the same for all comparisons
                number=number,
                work=str(work),
            )
            graph.connect([(stacks[name], made, [("out", "array")])])
    return len(sizes) * len(list(comparisons(analysis)))


def draw(
    *,
    array: str,
    map_name: str,
    explained: str,
    classes: list[str],
    columns: list[str],
    permutations: int,
    seed: int,
    number: int,
    work: str,
) -> str:
    """Some permutations of one comparison (`voxelwise.draw`) -> its file."""
    people = tables.read(Path(work) / "people.tsv")
    x = voxelwise.by_person(np.load(array, mmap_mode="r"), people["participant_id"].tolist())
    grid = Grid.read(Path(work) / f"grid_{map_name}.npz")
    design = _design(people, tuple(classes), explained, tuple(columns))
    found = voxelwise.draw(x, *design, grid, permutations=permutations, seed=seed)
    # not an argument: nipype hashes files that are there, and would compute again what it finds
    left = file(Path(work), map_name, explained, number)
    left.parent.mkdir(parents=True, exist_ok=True)
    np.savez(left, **vars(found))
    return str(left)


def parts(count: int) -> int:
    """How many nodes share the permutations of one comparison."""
    return -(-count // CHUNK)


def comparisons(analysis: Analysis) -> Iterator[tuple[str, str]]:
    """Every map with every class but the reference."""
    return ((name, one) for name in analysis.smoothing for one in analysis.classes[1:])


def file(work: Path, name: str, explained: str, number: int) -> Path:
    """Where a node leaves its permutations."""
    return work / "voxelwise" / name / f"{outputs.camel(explained)}_{number}.npz"


def description(name: str, explained: str) -> str:
    """The `desc` of an image: map and class."""
    return outputs.camel(name) + outputs.camel(explained)


def _design(
    people: pd.DataFrame, classes: tuple[str, ...], explained: str, columns: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """The column of a class (people,), and those of other classes and covariates (people, k); a row a person."""
    own = [(people["class"] == name).to_numpy(float) for name in classes[1:]]
    rows = np.column_stack([*own, *(people[name].to_numpy(float) for name in columns)])
    whole, at = voxelwise.by_person(rows, people["participant_id"].tolist()), classes.index(explained) - 1
    return whole[:, at], np.delete(whole, at, axis=1)
