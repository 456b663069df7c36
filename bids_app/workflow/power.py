"""What this study could have found (--power N): what it needs, its nodes, and what they left."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from nipype.pipeline.engine import Node, Workflow

from bids_app import catalogue
from bids_app.bids import outputs
from bids_app.dataset.grid import Grid
from bids_app.errors import UsageError
from bids_app.evaluation import permutation, power
from bids_app.planning.group import Analysis, Cell
from bids_app.settings import Settings
from bids_app.training import seeds
from bids_app.workflow import needs, nulls
from bids_app.workflow.call import node

CHUNK = 5  # studies of a node
COPIES = 6  # of the people's values in float32, at the peak
LABELLINGS, FOLDER = "labellings_power.npy", "power"


def check(analysis: Analysis, settings: Settings) -> None:
    """Raise UsageError where nothing can be planted."""
    if settings.group.power is None:
        return
    if len(analysis.classes) != 2:
        raise UsageError("--power plants a difference between two classes; name two by --classes")
    if not list(_maps(analysis)):
        raise UsageError("--power needs a linear classifier on a map that is not fitted within folds (ica)")
    if settings.group.permutations == 0:
        raise UsageError("--power needs permutations to say what is found; leave --permutations 0 out")


def connect(
    graph: Workflow,
    analysis: Analysis,
    settings: Settings,
    stacks: dict[str, Node],
    placed: dict[tuple[str, str], Node],
    plan: dict[str, Any],
    work: Path,
) -> int:
    """Add the nodes, CHUNK simulated studies each; returns how many. placed: atlases by grid and name."""
    count = settings.group.power
    if count is None:
        return 0
    _write_labellings(analysis, settings, work)
    made = 0
    for name, cells in _maps(analysis):
        atlas = analysis.grids[name], analysis.atlases[name][0]
        values = len(analysis.used) * needs.BRAIN_MM3 / analysis.resolutions[name] ** 3
        for first in range(0, count, CHUNK):
            simulated = node(
                f"power_{outputs.label(name)}_{first}",
                "bids_app.workflow.power:simulate",
                mem_gb=needs.LIBRARIES_GB + COPIES * values * 4e-9,
                connected=("array", "atlas"),
                map_name=name,
                cells=[cell.classifier for cell in cells],
                splits=[vars(split) for split in nulls.judged(analysis)],
                studies=[first, min(first + CHUNK, count)],
                sizes=power.sizes(counts(analysis)),
                plan=plan,
            )
            graph.connect(
                [(stacks[name], simulated, [("out", "array")]), (placed[atlas], simulated, [("out", "atlas")])]
            )
            made += 1
    return made


def simulate(
    *,
    array: str,
    atlas: str,
    map_name: str,
    cells: list[str],
    splits: list[dict[str, Any]],
    studies: list[int],
    sizes: dict[str, list[float]],
    plan: dict[str, Any],
) -> str:
    """Scores of linear classifiers in some simulated studies -> their file.

    `scores` (studies, patterns, sizes, cells), balanced accuracy out of fold; `percent` (studies, patterns): the shift
    of d = 1 in % of the map's mean in the place, NaN for maps with values below 0.
    """
    from bids_app.dataset import drawing
    from bids_app.training import planting, tables

    work, keep = Path(plan["work"]), None if plan["keep"] is None else tuple(plan["keep"])
    table, columns = tables.read(work / "people.tsv"), tuple(plan["adjust"][map_name])
    everyone = tables.people(table, {map_name: Path(array)}, {map_name: columns}, keep)
    grid = Grid.read(work / f"grid_{map_name}.npz")
    labels = np.asarray(nib.load(Path(atlas) / "labels.nii.gz").dataobj)
    numbers = range(*studies)
    drawn: dict[tuple[int, str], tuple[np.ndarray, float]] = {}
    for number in numbers:
        for pattern in sizes:
            random = np.random.default_rng(seeds.derive(plan["seed"], "power", map_name, pattern, number))
            volumes = drawing.draw(pattern, labels, grid, random)
            shifts = [
                planting.shift_of(everyone, map_name, one, grid, columns, plan["smoothing"][map_name])
                for one in volumes
            ]
            drawn[number, pattern] = sum(one for one, _ in shifts), float(np.median([share for _, share in shifts]))
    scores = planting.scores(
        everyone,
        map_name,
        splits,
        cells,
        np.load(work / LABELLINGS)[numbers.start : numbers.stop] == 1,
        [[drawn[number, pattern][0] for pattern in sizes] for number in numbers],
        list(sizes.values()),
        columns=columns,
        keep=keep,
        grid=grid,
        people=table["participant_id"].tolist(),
    )
    file = work / FOLDER / map_name / f"{numbers.start}.npz"
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, scores=scores, percent=[[drawn[number, pattern][1] for pattern in sizes] for number in numbers])
    return str(file)


def judges_by_products(classifier: str) -> bool:
    """Whether a classifier can be trained on a simulated study: a linear one."""
    return catalogue.offers("classifiers", classifier, "decide")


def table(analysis: Analysis, settings: Settings, work: Path) -> pd.DataFrame | None:
    """The rows of `power.table` of every map; None without --power."""
    count = settings.group.power or 0
    if not count:
        return None
    linear = [cell for cell in analysis.cells if nulls.is_linear(cell)]
    least = power.critical([np.load(work / "nulls" / cell.name / "all.npy")[1:] for cell in linear])
    parts = []
    for name, cells in _maps(analysis):
        loaded = [np.load(work / FOLDER / name / f"{first}.npz") for first in range(0, count, CHUNK)]
        scores, percent = (np.concatenate([one[key] for one in loaded]) for key in ("scores", "percent"))
        names = [cell.name for cell in cells]
        planted = power.sizes(counts(analysis))
        seed = settings.compute.random_seed
        parts.append(power.table(name, names, scores, percent, planted, least, seed=seed))
    return pd.concat(parts, ignore_index=True)


def _maps(analysis: Analysis) -> Iterator[tuple[str, list[Cell]]]:
    """Every map that is the same in all folds, with the linear cells on it alone."""
    fitted = analysis.ica.maps if analysis.ica else ()
    for name in analysis.smoothing:
        cells = [cell for cell in analysis.cells if cell.maps == (name,) and nulls.is_linear(cell)]
        if cells and name not in fitted:
            yield name, cells


def counts(analysis: Analysis) -> Sequence[int]:
    people = analysis.used.groupby("class")["participant_id"].nunique()
    return [int(people[name]) for name in analysis.classes]


def _write_labellings(analysis: Analysis, settings: Settings, work: Path) -> None:
    """Who is planted in, (studies, people): the classes exchanged as in permutations, by a seed of its own."""
    exchanged = nulls.exchanged(analysis, settings)
    seed = seeds.derive(settings.compute.random_seed, "power")
    np.save(work / LABELLINGS, permutation.shuffles(*exchanged, count=settings.group.power or 0, seed=seed))
