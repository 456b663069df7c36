"""The plan of applying a trained analysis, checked before anything is computed."""

import hashlib
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bids_app import __version__
from bids_app.bids import inputs, outputs
from bids_app.dataset import arrays, training_list
from bids_app.errors import DataError, UsageError
from bids_app.options.evidence import Group
from bids_app.planning import available_maps, cohort, group, ica, model_covariates, settings_from_model, sites
from bids_app.planning.settings_from_model import ModelMap
from bids_app.settings import Settings
from bids_app.training.model_metadata import find_models, read_cell_metadata
from bids_app.values import option

DEFAULT_NAME, UNKNOWN = "applied", "not known"
APPLICABLE_OPTIONS = {  # the group-level options that have a meaning when a model is applied
    "analysis", "label", "classes", "label_from_id", "phenotype", "sessions", "site", "max_mean_fd", "min_minutes",
    "training_list", "maps_from",
}  # fmt: skip


Card = dict[str, Any]
Models = dict[Path, Card]


@dataclass(frozen=True)
class ApplicationPlan:
    """`cells`: the models, by cell: folder -> card; `cell_facts`: shared by all models of a cell.

    `samples` has all participants, with their true class if known; `used` those to predict, in the row order of
    `eligible` (rows, models), the models that may predict each, and of `listed` (rows,), whether each is on the
    training list; None without a list.
    """

    name: str
    cells: dict[str, Models]
    cell_facts: dict[str, dict[str, Any]]
    classes: tuple[str, ...]
    maps: dict[str, ModelMap]
    samples: pd.DataFrame
    used: pd.DataFrame
    eligible: np.ndarray
    listed: np.ndarray | None
    sites: tuple[str, ...] | None
    key: str


def plan_application(dataset: inputs.Dataset, settings: Settings) -> ApplicationPlan:
    """Plan and check the run. Raises UsageError, DataError or MissingInputError, each with a remedy."""
    _check_options(settings)
    assert settings.shared.model is not None  # without it the group level trains
    cells = find_models(settings.shared.model)
    first_cards = [next(iter(models.values())) for models in cells.values()]
    maps, classes = settings_from_model.maps_of_models(cells), _common_value(cells, "classes")
    cell_facts = {cell: read_cell_metadata(models, root=settings.shared.model) for cell, models in cells.items()}
    folds = _folds(cells)
    levels = model_covariates.training_levels(first_cards)
    needed = model_covariates.needed_columns(first_cards)
    samples = _collect_samples(dataset, settings, tuple(maps), classes, needed, levels)
    used = samples[samples["used"]].reset_index(drop=True)
    _check_used(used, samples, maps)
    eligible, listed = _eligible_models(used, folds, settings)
    predictable = np.asarray(eligible.any(axis=1))
    if listed is not None and not predictable.all():
        samples = _exclude(samples, used[~predictable], "every fold model was trained on this participant")
        used, eligible, listed = used[predictable].reset_index(drop=True), eligible[predictable], listed[predictable]
        _check_used(used, samples, maps)
    used, sites = model_covariates.encode(used, first_cards)
    name = outputs.label(settings.group.analysis or DEFAULT_NAME)
    if (settings.output_dir / "group" / name / "models").exists():
        raise UsageError(f"--analysis {name} is a trained analysis in OUT_DIR; choose another name")
    key = _key(cells, used, maps, settings)
    return ApplicationPlan(name, cells, cell_facts, tuple(classes), maps, samples, used, eligible, listed, sites, key)


def _check_options(settings: Settings) -> None:
    unset = Group()
    changed = [
        field.name for field in fields(Group) if getattr(settings.group, field.name) != getattr(unset, field.name)
    ]
    if wrong := [option(name) for name in changed if name not in APPLICABLE_OPTIONS]:
        raise UsageError(f"{', '.join(wrong)} cannot be used with --model, which applies trained models; remove it")


def _common_value(cells: dict[str, Models], key: str) -> Any:
    """The value of a key that all models of all cells share."""
    values = [card[key] for models in cells.values() for card in models.values()]
    if any(value != values[0] for value in values):
        raise DataError(
            f"--model: models differ in {key}; specify the models of one analysis, or the folder of one model"
        )
    return values[0]


def _folds(cells: dict[str, Models]) -> tuple[list[tuple[int, int]], str]:
    """Repeat and fold of the models, shared by all cells, and the hash of the table of folds."""
    folds_by_cell = [
        (
            [(card["repeat"], card["fold"]) for card in models.values()],
            next(iter(models.values()))["settings"]["folds_sha256"],
        )
        for models in cells.values()
    ]
    if any(folds != folds_by_cell[0] for folds in folds_by_cell):
        raise DataError(
            "--model: models have different folds; specify the models of one analysis, or the folder of one model"
        )
    return folds_by_cell[0]


def _collect_samples(
    dataset: inputs.Dataset,
    settings: Settings,
    maps: tuple[str, ...],
    classes: list[str],
    needed: tuple[str, ...],
    levels: dict[str, list[str]],
) -> pd.DataFrame:
    """All participants with their maps, and their true class or NA."""
    frame = sites.participant_table(dataset, settings, needed=needed)
    labels = classes_to_collect(frame, _true_classes(frame, classes, settings), settings)
    samples = group.collect_samples(dataset, frame, labels, settings, maps, needed)
    samples["class"] = samples["class"].replace(UNKNOWN, pd.NA)
    return _exclude_new_levels(samples, {name: levels[name] for name in needed if name in levels})


def _true_classes(frame: pd.DataFrame, classes: list[str], settings: Settings) -> "pd.Series[str] | None":
    """The true class of each participant and session, NA for none of the model's; None without a label."""
    if cohort.label(settings) is None:
        return None
    if strange := sorted(set(settings.group.classes) - set(classes)):
        raise UsageError(f"--classes: the classes of the model are {', '.join(classes)}, not {', '.join(strange)}")
    labelled = cohort.read_classes(frame, settings)
    if not labelled.isin(classes).any():
        there = ", ".join(sorted(labelled.dropna().unique())[:10])
        raise DataError(
            f"--label: the values are {there or 'n/a'}, and the classes of the model are {', '.join(classes)}; "
            f"assign them with --classes {classes[0]}=VALUE {classes[1]}=VALUE"
        )
    return labelled.where(labelled.isin(classes))


def classes_to_collect(frame: pd.DataFrame, true: "pd.Series[str] | None", settings: Settings) -> "pd.Series[str]":
    """The true classes, with UNKNOWN for participants without one, who are predicted too.

    If one session represents a participant, it is, as in training, one with a class if there is one.
    """
    if true is None:
        return pd.Series(UNKNOWN, index=frame.index)
    if settings.group.sessions == "all":
        return true.fillna(UNKNOWN)
    nowhere = true.isna().groupby(level=0).transform("all")
    return true.where(~nowhere, UNKNOWN)


def _exclude_new_levels(samples: pd.DataFrame, levels: dict[str, list[str]]) -> pd.DataFrame:
    """Exclude participants with a value of a covariate that did not occur in training."""
    for column, words in levels.items():
        strange = samples[samples["used"] & ~samples[column].astype(str).isin(words)]
        for value, rows in strange.groupby(column):
            samples = _exclude(
                samples, rows, (f"covariate {column} has the value {value}, which did not occur in training")
            )
    return samples


def _exclude(samples: pd.DataFrame, rows: pd.DataFrame, reason: str) -> pd.DataFrame:
    out = samples["participant_id"].isin(rows["participant_id"]) & samples["used"]
    return samples.assign(used=samples["used"] & ~out, reason=samples["reason"].where(~out, reason))


def _check_used(used: pd.DataFrame, samples: pd.DataFrame, maps: dict[str, ModelMap]) -> None:
    """Raise DataError if no participant is left, or if the maps differ from those of the training."""
    command = "pellucid BIDS_DIR OUT_DIR participant --model DIR"
    if used.empty:
        reasons = samples["reason"].value_counts().head(3)
        why = "; ".join(f"{count} participants: {reason}" for reason, count in reasons.items()) or (
            "there are no participants"
        )
        raise DataError(
            f"the model cannot be applied to any participant ({why}); compute the maps first with\n  {command}"
        )
    for name, model_map in maps.items():
        _check_map(name, used, model_map, command)


def _check_map(name: str, used: pd.DataFrame, model_map: ModelMap, command: str) -> None:
    first = used[name].iloc[0][0]
    check_map_parameters(f"the {name} maps were", first, model_map, command)
    if "ica" in model_map:
        ica.check_series(used, name, model_map["ica"]["components"])
    (shape, affine), grid = available_maps.read_grid(first), model_map["grid"]
    if list(shape) != grid["shape"] or not np.allclose(affine, np.array(grid["affine"]).ravel(), rtol=0, atol=1e-3):
        raise DataError(f"the {name} maps are not on the grid of the model; compute them again with\n  {command}")


def check_map_parameters(title: str, file: Path, model_map: ModelMap, command: str) -> None:
    """Raise DataError, which begins with `title`, if a map was computed otherwise than those of the training."""
    here, trained = available_maps.read_map_parameters(file), model_map["map_parameters"]
    differing = [key for key in sorted({*here, *trained}) if here.get(key) != trained.get(key)]
    if differing:
        differences = "; ".join(
            f"{key} is {here.get(key)} here and {trained.get(key)} in training" for key in differing
        )
        todo = f"compute them again with\n  {command}"
        if differing == ["WithoutRegionsFrom"]:
            todo = f"{todo}, and -d freesurfer=SUBJECTS_DIR (wmparc) or =none (the atlas)"
        if differing == ["Version"]:
            todo = f"use Pellucid {trained['Version']}, or train again"
        raise DataError(f"{title} not computed like those of the model: {differences}; {todo}")


def _eligible_models(
    used: pd.DataFrame, folds: tuple[list[tuple[int, int]], str], settings: Settings
) -> tuple[np.ndarray, np.ndarray | None]:
    if settings.group.training_list is None:
        return np.ones((len(used), len(folds[0])), bool), None
    places, digest = folds
    return training_list.eligible_models(
        settings.group.training_list, used["participant_id"].tolist(), places, digest=digest
    )


def _key(cells: dict[str, Models], used: pd.DataFrame, maps: dict[str, ModelMap], settings: Settings) -> str:
    """Hash of everything that the predictions depend on."""
    weights = [card["weights_sha256"] for models in cells.values() for card in models.values()]
    stamps = [arrays.stamp_file(path, settings.work_dir) for name in maps for files in used[name] for path in files]
    table = used.drop(columns=list(maps)).to_csv(index=False)
    file = settings.group.training_list
    training_text = "" if file is None else file.read_text()
    text = json.dumps([weights, stamps, table, training_text, settings.compute.omp_nthreads, __version__], default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
