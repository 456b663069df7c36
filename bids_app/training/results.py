"""The results of all folds combined: predictions, and heatmaps averaged over samples and folds."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_app.training.fold_files import FoldFiles

BINARY_CHECKS = ("finite", "not_all_zero")  # 1 where it is so


@dataclass(frozen=True)
class MeanHeatmap:
    """A mean heatmap of one cell, method and class, (voxels,); `people` is None for maps of the models themselves.

    `folds`: the mean of each fold that has such participants. `right`, `wrong`: the mean over correctly and incorrectly
    classified participants, None where there are none; `calls`: how many of each (once per repeat). `unit_mm`: the
    longest edge of the method's units, None for methods with a value per voxel. `checks`: each check over the averaged
    maps; `measured`: the results of --explainer-checks (`explainer_checks`), the mean over folds; `nulls`: the same map
    of untrained or label-shuffled models, by kind.
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
    unit_mm: float | None = None
    checks: Mapping[str, float] = field(default_factory=dict)
    measured: Mapping[str, float] = field(default_factory=dict)
    nulls: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


def read_predictions(folders: Sequence[Path]) -> pd.DataFrame:
    """Read the out-of-fold predictions of all cells and folds, one row per sample and repeat."""
    text = {"participant_id": str, "session_id": str, "true": str, "predicted": str}
    tables = [
        pd.read_csv(FoldFiles(folder).predictions, sep="\t", dtype=text, keep_default_na=False) for folder in folders
    ]
    return pd.concat(tables, ignore_index=True)


def average_heatmaps(folders: Sequence[Path], cell: str, classes: Sequence[str]) -> Iterator[MeanHeatmap]:
    """Yield the mean maps of one cell, whose folds are in `folders`.

    Methods that explain samples: for each class, the mean over the held-out samples of that class. Methods that
    describe models: the mean over folds, for each class but the reference. Each model's maps are first divided by their
    SD over its training samples, so that no fold dominates by its scale.
    """
    about = [json.loads(FoldFiles(folder).heatmaps.read_text()) for folder in folders]
    for method, metadata in about[0].items():
        if "refused" in metadata:
            continue
        of_people = metadata["scope"] in ("sample", "both")
        average = _average_samples if of_people else _average_models
        for index, name in enumerate(classes):
            of_method = [fold_metadata[method] for fold_metadata in about]
            mean = average(folders, of_method, cell, method, index, name) if index or of_people else None
            if mean is not None:
                yield replace(mean, measured=_average_measures(of_method), nulls=_average_nulls(folders, method, index))


def iterate_heatmaps(
    folders: Sequence[Path], mean: MeanHeatmap, classes: Sequence[str]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the maps (voxels,) that a mean heatmap averages, each with the index of its fold's folder."""
    folds = _class_heatmaps(folders, mean.method, classes.index(mean.explained), mean.explained)
    for number, (maps, _) in enumerate(folds):
        yield from ((number, heatmap) for heatmap in maps)


def _class_heatmaps(
    folders: Sequence[Path], method: str, index: int, name: str
) -> Iterator[tuple[Iterator[NDArray[np.float32]], pd.DataFrame]]:
    """Yield for each fold the maps of the held-out samples of a class, divided by the model's SD, and predictions."""
    for folder in folders:
        table = pd.read_csv(FoldFiles(folder).predictions, sep="\t", dtype=str, keep_default_na=False)
        of_class = table[table["true"] == name]
        spread = json.loads(FoldFiles(folder).heatmaps.read_text())[method]["person_sd"] or 1.0
        maps = np.load(FoldFiles(folder).heatmap(method), mmap_mode="r")
        yield (maps[row, index] / np.float32(spread) for row in of_class.index), of_class


def _average_samples(
    folders: Sequence[Path], about: list[Any], cell: str, method: str, index: int, name: str
) -> MeanHeatmap | None:
    sums: dict[bool, Any] = {True: 0.0, False: 0.0}
    calls, participants, checks, of_folds = {True: 0, False: 0}, set(), [], []
    for (maps, table), metadata in zip(_class_heatmaps(folders, method, index, name), about, strict=True):
        before = sums[True] + sums[False]
        for heatmap, right in zip(maps, table["predicted"] == name, strict=True):
            sums[right] = sums[right] + heatmap.astype(np.float64)
            calls[right] += 1
        of_folds += [_float32((sums[True] + sums[False] - before) / len(table))] if len(table) else []
        checks += [metadata["checks"][row][index] for row in table.index]
        participants |= set(table["participant_id"])
    if not sum(calls.values()):  # the folds of a --folds-file may hold out no participant of a class
        return None
    by_outcome = {right: _float32(sums[right] / calls[right]) if calls[right] else None for right in (True, False)}
    values = _float32((sums[True] + sums[False]) / sum(calls.values()))
    return MeanHeatmap(
        *(cell, method, name, len(participants), _unit(about[0]), about[0]["sign"], values, tuple(of_folds)),
        right=by_outcome[True],
        wrong=by_outcome[False],
        calls=(calls[True], calls[False]),
        unit_mm=about[0]["unit_mm"],
        checks=summarise_checks(checks),
    )


def summarise_checks(checks: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Summarise checks over maps: the minimum of binary checks, the median absolute value of deviations."""
    summary = {}
    for key in checks[0] if checks else ():
        values = [check[key] for check in checks]
        summary[key] = min(values) if key in BINARY_CHECKS else float(np.median(np.abs(values)))
    return summary


def _average_models(
    folders: Sequence[Path], about: list[Any], cell: str, method: str, index: int, name: str
) -> MeanHeatmap:
    each_fold = [
        _float32(np.load(FoldFiles(folder).model_heatmap(method), mmap_mode="r")[index] / (metadata["model_sd"] or 1.0))
        for folder, metadata in zip(folders, about, strict=True)
    ]
    values = _float32(np.mean(each_fold, axis=0))
    return MeanHeatmap(cell, method, name, None, _unit(about[0]), about[0]["sign"], values, tuple(each_fold))


def _average_measures(about: list[Any]) -> dict[str, float]:
    """Average the measures over folds."""
    return {
        key: float(np.mean([metadata["measured"][key] for metadata in about])) for key in about[0].get("measured", {})
    }


def _average_nulls(folders: Sequence[Path], method: str, index: int) -> dict[str, NDArray[np.float32]]:
    """Average each null model's map of a class over folds, each divided by its SD."""
    means = {}
    for file in sorted(folders[0].glob(f"null-*-{method}.npy")):
        maps = [np.load(folder / file.name)[index] for folder in folders]
        means[file.name.split("-")[1]] = _float32(
            np.mean([values / (values.std(dtype=np.float64) or 1) for values in maps], axis=0)
        )
    return means


def _float32(values: Any) -> NDArray[np.float32]:
    return np.asarray(values, np.float32)


def _unit(about: Mapping[str, Any]) -> str:
    return f"{about['unit']} (in SDs of the fold model)"
