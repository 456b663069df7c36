"""Labels that mean nothing: what each cell scores under them. Nodes, and what they left."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from nipype.pipeline.engine import Node, Workflow
from numpy.typing import NDArray

from bids_app import catalogue
from bids_app.dataset.folds import Split
from bids_app.evaluation import permutation, sites
from bids_app.nodes.train import arguments
from bids_app.planning.group import Analysis, Cell
from bids_app.settings import Settings
from bids_app.training import scores
from bids_app.workflow import ica
from bids_app.workflow.call import node

Files = dict[str, Any]
STEPS = "bids_app.workflow.nulls"
LABELLINGS = "labellings.npy"


def is_linear(cell: Cell) -> bool:
    """Whether a cell decides by products of people, so that a thousand labellings take seconds."""
    return catalogue.offers("classifiers", cell.classifier, "decide")


def count(cell: Cell, settings: Settings) -> int:
    """How many labellings a cell is trained on."""
    wanted = settings.group.permutations
    if not is_linear(cell):
        return wanted or 0
    return permutation.LINEAR if wanted is None else max(wanted, permutation.LINEAR if wanted else 0)


def write_labellings(analysis: Analysis, settings: Settings, work: Path) -> None:
    """Codes of classes (1 + labellings, people), the true ones first."""
    y, *rest = exchanged(analysis, settings)
    most = max(count(cell, settings) for cell in analysis.cells)
    drawn = permutation.shuffles(y, *rest, count=most, seed=settings.compute.random_seed)
    np.save(work / LABELLINGS, np.concatenate([y[None].astype(drawn.dtype), drawn]))


def connect(
    graph: Workflow,
    cell: Cell,
    analysis: Analysis,
    sources: ica.Arrays,
    trained: list[Node],
    plan: Files,
    most: int,
) -> None:
    """Add the nodes of one cell: a linear one's follows its folds, a network's are trainings of their own."""
    safe = trained[0].name.partition("_repeat_")[0].removeprefix("train_")
    told = {"cell": cell.name, "classifier": cell.classifier, "plan": plan}
    splits = [vars(split) for split in judged(analysis)]
    if most and is_linear(cell):
        names = tuple(f"fold_{split['fold']}" for split in splits)
        made = node(f"null_{safe}", f"{STEPS}:linear", mem_gb=1, connected=names, splits=splits, most=most, **told)
        for name, each in zip(names, trained, strict=False):
            graph.connect([(each, made, [("out", name)])])
        return
    for number in range(1, most + 1):
        made = node(
            f"null_{safe}_{number}",
            f"{STEPS}:network",
            mem_gb=trained[0]._mem_gb,
            n_procs=plan["threads"],
            connected=sources.inputs(cell.maps, judged(analysis)),
            maps=list(cell.maps),
            splits=splits,
            number=number,
            **told,
        )
        sources.connect(graph, made, cell.maps, judged(analysis))


def linear(*, cell: str, classifier: str, plan: Files, splits: list[Files], most: int, **trained: str) -> str:
    """Scores of a linear cell under the true labels and `most` others -> the file of them, (1 + most,).

    Beside it `sites.json`: how well the same model tells the site, after ComBat and without it.
    """
    part, work = catalogue.load("classifiers", classifier), Path(plan["work"])
    kernels = {
        file: [
            permutation.Kernel(dict(np.load(path)), np.array(split["train"]), np.array(split["test"]))
            for split in splits
            if (path := Path(trained[f"fold_{split['fold']}"]) / f"{file}.npz").exists()
        ]
        for file in ("products", "products_of_sites")
    }
    labels = np.load(work / LABELLINGS)[: 1 + most]
    people = pd.read_csv(work / "people.tsv", sep="\t", dtype=str, keep_default_na=False)
    found = permutation.scores(
        kernels["products"], labels, people["participant_id"].tolist(), len(plan["classes"]), decide=part.decide
    )
    told = {file: sites.told(its, people["site"].tolist(), decide=part.decide) for file, its in kernels.items()}
    file = _kept(work / "nulls" / cell / "all.npy", found)
    Path(file).with_name("sites.json").write_text(json.dumps(told))
    return file


def network(
    *, cell: str, classifier: str, maps: list[str], plan: Files, splits: list[Files], number: int, **stacked: str
) -> str:
    """Score of a cell trained anew under one labelling -> its file, (1,)."""
    from bids_app.training import fold, results

    work = Path(plan["work"])
    labelling = np.load(work / LABELLINGS)[number].tolist()
    folders = []
    for split in splits:
        folders.append(Path.cwd() / f"fold-{split['fold']}")
        given = arguments(cell, classifier, maps, split, plan, stacked)
        fold.run(**given, labelling=labelling, folder=folders[-1])
    score = _balanced_accuracy(results.predictions(folders), plan["classes"])
    return _kept(work / "nulls" / cell / f"{number}.npy", np.array([score]))


def table(analysis: Analysis, settings: Settings, told: pd.DataFrame, work: Path) -> pd.DataFrame:
    """What was observed in predictions, and how often as much with labels that mean nothing (`permutation.table`)."""
    observed, null = {}, {}
    for cell in analysis.cells:
        folder, most = work / "nulls" / cell.name, count(cell, settings)
        if most and is_linear(cell):
            scored = np.load(folder / "all.npy")
            observed[cell.name], null[cell.name] = float(scored[0]), scored[1:]
        else:
            first = told[(told["cell"] == cell.name) & (told["repeat"] == 1)]
            observed[cell.name] = _balanced_accuracy(first, analysis.classes)
            null[cell.name] = np.array([np.load(folder / f"{number}.npy")[0] for number in range(1, most + 1)])
    others = permutation.distinct(*exchanged(analysis, settings)) - 1
    if others < permutation.FEWEST:  # drawn again and again they would pass for more than they are
        null = {name: its[:others] for name, its in null.items()}
    return permutation.table(observed, null, [cell.name for cell in analysis.cells if is_linear(cell)])


def exchanged(
    analysis: Analysis, settings: Settings
) -> tuple[NDArray[np.int64], list[int], tuple[str, ...], list[str]]:
    """Whose labels may change places: classes, the fold that holds each out, units, sites, as `shuffles` has them."""
    y = np.array([analysis.classes.index(name) for name in analysis.used["class"]])
    folds = np.zeros(len(y), int)
    for split in judged(analysis):
        folds[list(split.test)] = split.fold
    # where sites are the label, all people of one are of one class
    apart = settings.group.site is not None and analysis.label_column != "site"
    places = analysis.used["site"].astype(str).tolist() if apart else ["-"] * len(y)
    return y, folds.tolist(), analysis.splits[0].groups, places


def _balanced_accuracy(told: pd.DataFrame, classes: Sequence[str]) -> float:
    """Of people, from predictions of one repeat."""
    people = scores.by_person(told, classes)
    true, predicted = (
        np.array([list(classes).index(name) for name in people[column]]) for column in ("true", "predicted")
    )
    return permutation.balanced_accuracy(true, predicted, len(classes))


def sites_told(cell: Cell, work: Path) -> Files:
    """What `linear` found of sites: `products` as the classifier sees the maps, `products_of_sites` without ComBat."""
    file = work / "nulls" / cell.name / "sites.json"
    found: Files = json.loads(file.read_text()) if file.exists() else {}
    return {name: its for name, its in found.items() if its}


def judged(analysis: Analysis) -> list[Split]:
    """The folds by which chance is judged: those of the first repeat."""
    return [split for split in analysis.splits if split.repeat == 1]


def _kept(path: Path, found: NDArray[np.float64]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, found)
    return str(path)
