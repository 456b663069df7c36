"""Choosing among cells within each fold, by inner folds of its training people: what the choice itself scores."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from nipype.pipeline.engine import Workflow

from bids_app.bids import outputs
from bids_app.dataset import folds
from bids_app.dataset.folds import Split
from bids_app.evaluation import permutation
from bids_app.nodes.train import arguments
from bids_app.planning.group import Analysis
from bids_app.planning.ica import within
from bids_app.settings import Settings
from bids_app.training import scores, seeds
from bids_app.workflow import ica
from bids_app.workflow.call import node

Files = dict[str, Any]
CHOSEN = "chosen"


def check(analysis: Analysis, settings: Settings) -> None:
    """Raise DataError where a fold has too few people of a class to be split again."""
    if settings.group.inner_folds is not None:
        for split in analysis.splits:
            _inner(split, analysis, settings)


def inner(analysis: Analysis, settings: Settings) -> dict[str, list[Split]]:
    """The inner folds by `planning.ica.within` of the fold that they are in; nothing without --inner-folds."""
    if settings.group.inner_folds is None:
        return {}
    return {within(split): _inner(split, analysis, settings) for split in analysis.splits}


def connect(
    graph: Workflow,
    analysis: Analysis,
    settings: Settings,
    sources: ica.Arrays,
    plan: Files,
    memory: dict[str, float],
) -> None:
    """Add a node a cell and fold, where --inner-folds asks for it; memory: GB by cell."""
    if settings.group.inner_folds is None:
        return
    every = inner(analysis, settings)
    for cell in analysis.cells:
        for split in analysis.splits:
            its = every[within(split)]
            made = node(
                f"inner_{outputs.camel(cell.name)}_repeat_{split.repeat}_fold_{split.fold}",
                "bids_app.workflow.nested:score",
                mem_gb=memory[cell.name],
                n_procs=plan["threads"],
                connected=sources.inputs(cell.maps, its),
                cell=cell.name,
                classifier=cell.classifier,
                maps=list(cell.maps),
                splits=[vars(one) for one in its],
                seed=seeds.derive(plan["seed"], "inner", split.repeat, split.fold),
                plan=plan,
                outer=[split.repeat, split.fold],  # not the file: nipype would compute a node again once it is there
            )
            sources.connect(graph, made, cell.maps, its, within(split))


def score(
    *,
    cell: str,
    classifier: str,
    maps: list[str],
    splits: list[Files],
    seed: int,
    plan: Files,
    outer: list[int],
    **stacked: str,
) -> str:
    """Balanced accuracy of a cell over the inner folds of `outer`, a repeat and fold -> its file."""
    from bids_app.training import fold, results, tables

    classes = plan["classes"]
    codes = [classes.index(name) for name in tables.read(Path(plan["work"]) / "people.tsv")["class"]]
    folders = [Path.cwd() / f"inner-{split['fold']}" for split in splits]
    for folder, split in zip(folders, splits, strict=True):
        given = arguments(cell, classifier, maps, split, {**plan, "seed": seed}, stacked)
        fold.run(**given, labelling=codes, folder=folder)  # with labels given, the predictions are all that is kept
    people = scores.by_person(results.predictions(folders), classes)
    true, predicted = (np.array([classes.index(name) for name in people[one]]) for one in ("true", "predicted"))
    file = _file(Path(plan["work"]), cell, *outer)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(permutation.balanced_accuracy(true, predicted, len(classes))))
    return str(file)


def choices(analysis: Analysis, settings: Settings, work: Path) -> pd.DataFrame | None:
    """The inner balanced accuracy of every cell in each fold, and which is `chosen`: the best, the first of equals."""
    if settings.group.inner_folds is None:
        return None
    rows = []
    for split in analysis.splits:
        names = [cell.name for cell in analysis.cells]
        told = {name: json.loads(_file(work, name, split.repeat, split.fold).read_text()) for name in names}
        best = max(told, key=lambda name: told[name])
        rows += [
            {
                "repeat": split.repeat,
                "fold": split.fold,
                "cell": name,
                "inner_balanced_accuracy": its,
                CHOSEN: name == best,
            }
            for name, its in told.items()
        ]
    return pd.DataFrame(rows)


def predictions(told: pd.DataFrame, chosen: pd.DataFrame | None) -> pd.DataFrame:
    """What the chosen cell of each fold said of those held out, under the name `chosen`; nothing without choices."""
    if chosen is None:
        return told.iloc[:0]
    best = chosen.loc[chosen[CHOSEN], ["repeat", "fold", "cell"]]
    return told.merge(best, on=["repeat", "fold", "cell"])[told.columns].assign(cell=CHOSEN)


def _inner(split: Split, analysis: Analysis, settings: Settings) -> list[Split]:
    classes = analysis.used["class"].tolist()
    return folds.inner(split, classes, folds=settings.group.inner_folds, seed=settings.compute.random_seed)


def _file(work: Path, cell: str, repeat: int, fold: int) -> Path:
    return work / "inner" / cell / f"repeat-{repeat}_fold-{fold}.json"
