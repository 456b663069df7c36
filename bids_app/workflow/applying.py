"""The graph that applies a trained analysis, and what it leaves: one node a map to stack, one a cell to ask."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from nipype.pipeline.engine import Node, Workflow
from safetensors.numpy import load_file

from bids_app.bids import outputs
from bids_app.dataset import arrays
from bids_app.dataset.grid import Grid
from bids_app.errors import FailedError
from bids_app.evaluation import external, permutation
from bids_app.nodes import ica
from bids_app.nodes.train import array
from bids_app.planning import available_maps
from bids_app.planning.model_application import Application
from bids_app.settings import Settings
from bids_app.training import cards, ranges, scores, seeds
from bids_app.workflow import execute
from bids_app.workflow.call import node

STEPS = "bids_app.workflow.applying"
PEOPLE, ASKED = "people.tsv", "asked.npy"


def run(planned: Application, settings: Settings) -> pd.DataFrame:
    """Ask every cell about everyone who is used -> rows of `training.apply.run`. Raises FailedError with the reason."""
    work = settings.work_dir / f"applied-{planned.name}-{planned.key}"
    (work / "log").mkdir(parents=True, exist_ok=True)
    written = planned.used.drop(columns=list(planned.maps)).assign(session_id=planned.used["session_id"].fillna("n/a"))
    written.to_csv(work / PEOPLE, sep="\t", index=False, na_rep="n/a")
    np.save(work / ASKED, planned.asked)
    graph = Workflow("nodes", base_dir=str(work))
    stacks = {
        name: node(
            f"stack_{outputs.label(name)}",
            f"{STEPS}:stack",
            mem_gb=1,
            folder=str(its["folder"]),
            files=[[str(path) for path in paths] for paths in planned.used[name]],
            smoothing_mm=its["smoothing_mm"],
            form=its["form"],
            work=str(work),
        )
        for name, its in planned.maps.items()
        if not available_maps.fitted(name)
    }
    refitted = _fitted(graph, planned, work)
    for number, (cell, models) in enumerate(planned.cells.items()):
        maps = next(iter(models.values()))["maps"]
        ask = node(
            f"apply_{number}",
            f"{STEPS}:ask",
            mem_gb=3,
            n_procs=settings.compute.omp_nthreads,
            connected=tuple(f"array_{name}" for name in maps if name in stacks)
            + tuple(f"fitted_{key}" for key in map(_key, models.values()) if set(maps) - set(stacks)),
            maps=list(maps),
            keys=[_key(card) for card in models.values()],
            folders=[str(folder) for folder in models],
            file=str(_file(work, cell)),
            device=settings.compute.device,
            threads=settings.compute.omp_nthreads,
        )
        graph.connect([(stacks[name], ask, [("out", f"array_{name}")]) for name in maps if name in stacks])
        if set(maps) - set(stacks):
            places = map(_key, models.values())
            graph.connect([(refitted[key], ask, [("out", f"fitted_{key}")]) for key in places])
    execute.keep_crashes(graph, work / "log")
    preload = ["bids_app.training.apply"]
    execute.run(graph, settings, last=("apply_",), total=len(planned.cells), what="cells applied", preload=preload)
    execute.nameless(work / "log", settings)
    if any((work / "log").glob("crash-*")):
        raise FailedError(f"the model was not applied: {execute.reason(work / 'log')}")
    text = dict.fromkeys(("participant_id", "session_id", "cell", "predicted"), str)
    return pd.concat(
        [pd.read_csv(_file(work, cell), sep="\t", dtype=text, keep_default_na=False) for cell in planned.cells],
        ignore_index=True,
    )


def _key(card: dict[str, Any]) -> str:
    return f"{card['repeat']}_{card['fold']}"


def _fitted(graph: Workflow, planned: Application, work: Path) -> dict[str, Node]:
    """A node a fold of the training for the maps that were fitted in it, by its models' own components."""
    names = [name for name in planned.maps if available_maps.fitted(name)]
    if not names:
        return {}
    folders: dict[str, dict[str, str]] = {}
    for models in planned.cells.values():
        for folder, card in models.items():
            folders.setdefault(_key(card), {}).update({name: str(folder) for name in card["maps"] if name in names})
    first = planned.maps[names[0]]
    series = node(
        "series",
        f"{STEPS}:series",
        mem_gb=2,
        folder=str(first["folder"]),
        files=[[str(path) for path in paths] for paths in planned.used[names[0]]],
        work=str(work),
    )
    plan = {
        "smoothing": {name: planned.maps[name]["smoothing_mm"] for name in names},
        "forms": {name: planned.maps[name]["form"] for name in names},
    }
    made = {}
    for key, its in folders.items():
        made[key] = node(
            f"maps_{key}", f"{STEPS}:refit", mem_gb=3, connected=("series",), key=key, folders=its, plan=plan,
            work=str(work),
        )  # fmt: skip
        graph.connect([(series, made[key], [("out", "series")])])
    return made


def series(*, folder: str, files: list[list[str]], work: str) -> list[list[str]]:
    """The series of people's runs in the model's mask, as arrays on disk."""
    return ica.on_disk(files, Grid(*cards.mask(Path(folder))), work)


def refit(*, series: list[list[str]], key: str, folders: dict[str, str], plan: dict[str, Any], work: str) -> str:
    """Everybody's maps by the components that the models of one fold keep; `folders`: a model's by map."""
    from bids_app.training import prepare

    own = {
        name: prepare.of_step(load_file(Path(folder) / cards.WEIGHTS), prepare.FITTED, name)
        for name, folder in folders.items()
    }
    place = Path(work) / "fitted" / key
    place.mkdir(parents=True, exist_ok=True)
    ica.write(place, own, series, Grid(*cards.mask(Path(next(iter(folders.values()))))), plan)
    return str(place)


def stack(*, folder: str, files: list[list[str]], smoothing_mm: float, form: str, work: str) -> str:
    """People's values of a map in the model's mask -> file of float32 (people, voxels), as in training."""
    grid = Grid(*cards.mask(Path(folder)))
    paths = [tuple(Path(path) for path in each) for each in files]
    return str(arrays.stack(paths, grid, Path(work), smoothing_mm=smoothing_mm, form=form))


def ask(
    *, maps: list[str], keys: list[str], folders: list[str], file: str, device: str, threads: int, **stacked: str
) -> str:
    """What the models of one cell say of everyone -> table."""
    from bids_app.training import apply

    work = Path(file).parent
    told = apply.run(
        [Path(folder) for folder in folders],
        arrays=[{name: array(name, key, stacked) for name in maps} for key in keys],
        people=work / PEOPLE,
        asked=np.load(work / ASKED),
        device=device,
        threads=threads,
    )
    told.to_csv(file, sep="\t", index=False)
    return file


def predictions(planned: Application, told: pd.DataFrame) -> pd.DataFrame:
    """The table of predictions: with the true class, who trained, and what of a person is outside the training."""
    parts = []
    for cell, rows in told.groupby("cell", sort=False):
        known = planned.about[str(cell)]["training"]
        people = planned.used.to_dict("records")
        flags = [
            [*ranges.outside(one, apart, known), *_not_harmonised(planned, one)]
            for one, apart in zip(people, rows["distance"], strict=True)
        ]
        parts.append(
            rows.drop(columns="distance").assign(
                true=planned.used["class"].to_numpy(),
                trained=_trained(planned),
                outside=["; ".join(each) or "nothing" for each in flags],
            )
        )
    return pd.concat(parts, ignore_index=True)


def scored(planned: Application, table: pd.DataFrame, settings: Settings) -> pd.DataFrame | None:
    """Scores of people who did not train and whose class is known, with `p`, and `p_holm` over cells.

    None where a class has nobody.
    """
    rows = table[table["true"].notna() & (table["trained"] != "yes")]
    if set(rows["true"]) != set(planned.classes):
        return None
    # one model, the mean of all, predicts everybody: all pairs of people count
    found = scores.table(rows.assign(repeat=1, fold=1), planned.classes, seed=settings.compute.random_seed)
    p = {}
    for cell, part in rows.assign(fold=1).groupby("cell"):
        people = scores.by_person(part, planned.classes)
        true, predicted = (
            np.array([planned.classes.index(name) for name in people[column]]) for column in ("true", "predicted")
        )
        seed = seeds.derive(settings.compute.random_seed, "external", str(cell))
        p[cell] = external.chance(true, predicted, len(planned.classes), seed=seed)
    of_cells = found["cell"].map(p)
    return found.drop(columns="repeat").assign(p=of_cells, p_holm=permutation.holm(of_cells.to_numpy(float)))


def _trained(planned: Application) -> list[str]:
    """Whether each person trained any of the models, as far as that could be checked."""
    if planned.listed is None:
        return ["not checked"] * len(planned.used)
    return ["yes" if one else "no" for one in planned.listed]


def _not_harmonised(planned: Application, person: dict[str, Any]) -> list[str]:
    if planned.sites is None or str(person["site"]) in planned.sites:
        return []
    return [f"site {'n/a' if pd.isna(person['site']) else person['site']} was not in training: not harmonised"]


def _file(work: Path, cell: str) -> Path:
    return work / f"applied_{outputs.camel(cell)}.tsv"
