"""The results of all folds, put together: predictions, and maps averaged over people and folds."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

BINARY_CHECKS = ("finite", "not_all_zero")  # 1 where it is so


@dataclass(frozen=True)
class MeanHeatmap:
    """A mean heatmap of one cell, method and class, (voxels,); `people` is None for a model's own map, one a fold.

    `folds`: the mean of each fold alone, of those that have such people. `right` and `wrong`: the mean over those who
    were rightly and wrongly called, None where nobody was, and `calls`, how many each (a person once a repeat).
    `cell_mm`: the longest edge of the method's own cells, None where it gives every voxel a value of its own.
    `checks`: each check over the people's maps that it is the mean of; `measured`: what --explain-checks found
    (`explainer_checks`), the mean over folds; `nulls`: the same map of models that learnt nothing, by their kind.
    """

    cell: str
    method: str
    explained: str
    people: int | None
    unit: str
    sign: str
    values: NDArray[np.float32]
    folds: tuple[NDArray[np.float32], ...] = ()
    right: NDArray[np.float32] | None = None
    wrong: NDArray[np.float32] | None = None
    calls: tuple[int, int] = (0, 0)
    cell_mm: float | None = None
    checks: Mapping[str, float] = field(default_factory=dict)
    measured: Mapping[str, float] = field(default_factory=dict)
    nulls: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


def read_predictions(folders: Sequence[Path]) -> pd.DataFrame:
    """Out-of-fold predictions of all cells and folds, one row a sample and repeat."""
    text = {"participant_id": str, "session_id": str, "true": str, "predicted": str}
    tables = [
        pd.read_csv(folder / "predictions.tsv", sep="\t", dtype=text, keep_default_na=False) for folder in folders
    ]
    return pd.concat(tables, ignore_index=True)


def average_heatmaps(folders: Sequence[Path], cell: str, classes: Sequence[str]) -> Iterator[MeanHeatmap]:
    """Mean maps of one cell, its folds in `folders`.

    Of people: for each class the mean over the held-out people who belong to it, that class explained. Of models: the
    mean over folds, for each class but the reference. Each model's maps are first divided by that model's spread over
    its training people, so that no fold weighs more for its scale.
    """
    about = [json.loads((folder / "heatmaps.json").read_text()) for folder in folders]
    for method, its in about[0].items():
        if "refused" in its:
            continue
        of_people = its["of"] in ("person", "both")
        make = _average_samples if of_people else _average_models
        for index, name in enumerate(classes):
            own = [one[method] for one in about]
            found = make(folders, own, cell, method, index, name) if index or of_people else None
            if found is not None:
                yield replace(found, measured=_average_measures(own), nulls=_average_nulls(folders, method, index))


def iterate_heatmaps(
    folders: Sequence[Path], mean: MeanHeatmap, classes: Sequence[str]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The maps (voxels,) of the people whose mean it is, as they went into it, each with the number of its folder."""
    its = _class_heatmaps(folders, mean.method, classes.index(mean.explained), mean.explained)
    for number, (maps, _) in enumerate(its):
        yield from ((number, one) for one in maps)


def _class_heatmaps(
    folders: Sequence[Path], method: str, index: int, name: str
) -> Iterator[tuple[Iterator[NDArray[np.float32]], pd.DataFrame]]:
    """A fold's held-out people of a class: their maps, divided by the model's spread, and their predictions."""
    for folder in folders:
        table = pd.read_csv(folder / "predictions.tsv", sep="\t", dtype=str, keep_default_na=False)
        of_class = table[table["true"] == name]
        spread = json.loads((folder / "heatmaps.json").read_text())[method]["person_sd"] or 1.0
        maps = np.load(folder / f"heatmap_{method}.npy", mmap_mode="r")
        yield (maps[row, index] / np.float32(spread) for row in of_class.index), of_class


def _average_samples(
    folders: Sequence[Path], about: list[Any], cell: str, method: str, index: int, name: str
) -> MeanHeatmap | None:
    sums: dict[bool, Any] = {True: 0.0, False: 0.0}
    calls, people, checks, of_folds = {True: 0, False: 0}, set(), [], []
    for (maps, table), its in zip(_class_heatmaps(folders, method, index, name), about, strict=True):
        before = sums[True] + sums[False]
        for one, right in zip(maps, table["predicted"] == name, strict=True):
            sums[right] = sums[right] + one.astype(np.float64)
            calls[right] += 1
        of_folds += [_float32((sums[True] + sums[False] - before) / len(table))] if len(table) else []
        checks += [its["checks"][row][index] for row in table.index]
        people |= set(table["participant_id"])
    if not sum(calls.values()):  # folds of a file may hold nobody of a class out
        return None
    apart = {one: _float32(sums[one] / calls[one]) if calls[one] else None for one in (True, False)}
    values = _float32((sums[True] + sums[False]) / sum(calls.values()))
    return MeanHeatmap(
        *(cell, method, name, len(people), _unit(about[0]), about[0]["sign"], values, tuple(of_folds)),
        right=apart[True],
        wrong=apart[False],
        calls=(calls[True], calls[False]),
        cell_mm=about[0]["cell_mm"],
        checks=_summarise_checks(checks),
    )


def _summarise_checks(checks: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Over maps: of what has to hold (1) the least, of sums the median of what they miss, whatever its sign."""
    found = {}
    for key in checks[0] if checks else ():
        values = [one[key] for one in checks]
        found[key] = min(values) if key in BINARY_CHECKS else float(np.median(np.abs(values)))
    return found


def _average_models(
    folders: Sequence[Path], about: list[Any], cell: str, method: str, index: int, name: str
) -> MeanHeatmap:
    each_fold = [
        _float32(np.load(folder / f"model_{method}.npy", mmap_mode="r")[index] / (its["model_sd"] or 1.0))
        for folder, its in zip(folders, about, strict=True)
    ]
    values = _float32(np.mean(each_fold, axis=0))
    return MeanHeatmap(cell, method, name, None, _unit(about[0]), about[0]["sign"], values, tuple(each_fold))


def _average_measures(about: list[Any]) -> dict[str, float]:
    """The mean over folds of what was measured in each."""
    return {key: float(np.mean([its["measured"][key] for its in about])) for key in about[0].get("measured", {})}


def _average_nulls(folders: Sequence[Path], method: str, index: int) -> dict[str, NDArray[np.float32]]:
    """The mean over folds of each null's map of a class, each fold's divided by its own spread."""
    found = {}
    for file in sorted(folders[0].glob(f"null-*-{method}.npy")):
        maps = [np.load(folder / file.name)[index] for folder in folders]
        found[file.name.split("-")[1]] = _float32(
            np.mean([one / (one.std(dtype=np.float64) or 1) for one in maps], axis=0)
        )
    return found


def _float32(values: Any) -> NDArray[np.float32]:
    return np.asarray(values, np.float32)


def _unit(about: Mapping[str, Any]) -> str:
    return f"{about['unit']} (in SDs of its model)"
