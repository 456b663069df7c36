"""The results of all folds, put together: predictions, and maps averaged over people and folds."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

LARGEST_RANDOMISED = 0.5  # rank correlation with the true map that a map of shuffled parameters may keep
HOLDS = ("finite", "not_all_zero", "relus_guided")


@dataclass(frozen=True)
class Mean:
    """A mean heatmap of one cell, method and class, (voxels,); `people` is None for a model's own map, one a fold.

    `checks`: the worst of each check over the people's maps that it is the mean of; `randomised`: the rank correlation
    of absolute values that is left when all parameters are shuffled, the mean over folds (`sanity.cascade`);
    `folds`: the mean of each fold alone, of those that have such people.
    """

    cell: str
    method: str
    explained: str
    people: int | None
    unit: str
    sign: str
    values: NDArray[np.float32]
    checks: Mapping[str, float] = field(default_factory=dict)
    randomised: float | None = None
    folds: tuple[NDArray[np.float32], ...] = ()


def predictions(folders: Sequence[Path]) -> pd.DataFrame:
    """Out-of-fold predictions of all cells and folds, one row a sample and repeat."""
    text = {"participant_id": str, "session_id": str, "true": str, "predicted": str}
    tables = [
        pd.read_csv(folder / "predictions.tsv", sep="\t", dtype=text, keep_default_na=False) for folder in folders
    ]
    return pd.concat(tables, ignore_index=True)


def means(folders: Sequence[Path], cell: str, classes: Sequence[str]) -> Iterator[Mean]:
    """Mean maps of one cell, its folds in `folders`.

    Of people: for each class the mean over the held-out people who belong to it, that class explained. Of models: the
    mean over folds, for each class but the reference. Each model's maps are first divided by that model's spread over
    its training people, so that no fold weighs more for its scale.
    """
    about = [json.loads((folder / "heatmaps.json").read_text()) for folder in folders]
    told = [pd.read_csv(folder / "predictions.tsv", sep="\t", dtype=str, keep_default_na=False) for folder in folders]
    for method, its in about[0].items():
        if "refused" in its:
            continue
        if its["of"] in ("person", "both"):
            for index, name in enumerate(classes):
                yield _of_people(folders, about, told, cell, method, index, name)
        else:
            for index, name in enumerate(classes):
                if index:
                    yield _of_models(folders, about, cell, method, index, name)


def _of_people(
    folders: Sequence[Path], about: list[Any], told: list[pd.DataFrame], cell: str, method: str, index: int, name: str
) -> Mean:
    parts, people, checks, of_folds = [], set(), [], []
    for folder, its, table in zip(folders, about, told, strict=True):
        rows = np.flatnonzero(table["true"] == name)
        maps = np.load(folder / f"heatmap_{method}.npy", mmap_mode="r")
        own = [(maps[row, index] / (its[method]["person_sd"] or 1.0)) for row in rows]
        parts += own
        of_folds += [np.mean(own, axis=0).astype(np.float32)] if own else []
        checks += [its[method]["checks"][row][index] for row in rows]
        people |= set(table["participant_id"].iloc[rows])
    values = np.asarray(np.mean(parts, axis=0), dtype=np.float32)
    unit, sign = _unit(about[0][method]), about[0][method]["sign"]
    left = [its[method]["randomised"][-1]["spearman_abs"] for its in about if "randomised" in its[method]]
    kept = float(np.mean(left)) if left else None
    return Mean(cell, method, name, len(people), unit, sign, values, _worst(checks), kept, tuple(of_folds))


def _worst(checks: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Over maps: of what has to hold (1) the least, of numbers the one furthest from 0."""
    found = {}
    for key in checks[0] if checks else ():
        values = [one[key] for one in checks]
        found[key] = min(values) if key in HOLDS else max(values, key=abs)
    return found


def _of_models(folders: Sequence[Path], about: list[Any], cell: str, method: str, index: int, name: str) -> Mean:
    each = [
        np.load(folder / f"model_{method}.npy", mmap_mode="r")[index] / (its[method]["model_sd"] or 1.0)
        for folder, its in zip(folders, about, strict=True)
    ]
    values = np.asarray(np.mean(each, axis=0), dtype=np.float32)
    unit, sign = _unit(about[0][method]), about[0][method]["sign"]
    return Mean(cell, method, name, None, unit, sign, values, folds=tuple(np.asarray(one, np.float32) for one in each))


def _unit(about: dict[str, Any]) -> str:
    return f"{about['unit']} (in SDs of its model)"
