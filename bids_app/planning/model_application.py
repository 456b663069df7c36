"""What applying a trained analysis will do, looked through before anything is computed."""

import hashlib
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bids_app import __version__
from bids_app.bids import inputs, outputs
from bids_app.dataset import covariates, training_list
from bids_app.errors import DataError, UsageError
from bids_app.planning import available_maps, cohort, group, ica, settings_from_model
from bids_app.settings import Group, Settings, option
from bids_app.training.feature_pipeline import SITE_COLUMN
from bids_app.training.model_metadata import find_models, read_cell_metadata

NAME, UNKNOWN = "applied", "not known"
MEANT = {  # the options of the group level that mean something when a model is applied
    "analysis", "label", "classes", "label_from_id", "phenotype", "sessions", "site", "max_mean_fd", "min_minutes",
    "training_list",
}  # fmt: skip


@dataclass(frozen=True)
class Application:
    """`cells`: the models, by cell: folder -> card; `about`: what all models of a cell share (`read_cell_metadata`).

    `samples` has everyone, with their true class where it is known; `used` whom the models are asked about, in the row
    order of `asked` (rows, models) and of `listed` (rows,), who is on the training list; None without a list.
    """

    name: str
    cells: dict[str, dict[Path, dict[str, Any]]]
    about: dict[str, dict[str, Any]]
    classes: tuple[str, ...]
    maps: dict[str, dict[str, Any]]
    samples: pd.DataFrame
    used: pd.DataFrame
    asked: np.ndarray
    listed: np.ndarray | None
    sites: tuple[str, ...] | None
    key: str


def make(dataset: inputs.Dataset, settings: Settings) -> Application:
    """Check the whole plan. Raises UsageError, DataError or MissingInputError, each with what to do."""
    _check_options(settings)
    cells = find_models(settings.both.model)
    cards_of = [next(iter(its.values())) for its in cells.values()]
    maps, classes = settings_from_model.maps(cells), _one(cells, "classes")
    about = {cell: read_cell_metadata(its) for cell, its in cells.items()}
    folds = _folds(cells)
    columns, keep = _columns(cards_of)
    levels = {name: its for card in cards_of for name, its in card["settings"]["levels"].items()}
    frame = cohort.frame(dataset, settings)
    true = _true(frame, classes, settings)
    needed = tuple(dict.fromkeys(_written(one, levels) for one in (*columns, *keep)))
    classed = _classed(frame, true, settings)
    samples = group.gather(dataset, frame, classed, settings, tuple(maps), needed)
    samples["class"] = samples["class"].replace(UNKNOWN, pd.NA)
    samples = _without_new_words(samples, {name: levels[name] for name in needed if name in levels})
    used = samples[samples["used"]].reset_index(drop=True)
    _check_used(used, samples, maps)
    asked, listed = _asked(used, folds, settings)
    if not asked.any(axis=1).all():
        samples = _without(samples, used[~asked.any(axis=1)], "every model was trained on this person")
        kept = asked.any(axis=1)
        used, asked, listed = used[kept].reset_index(drop=True), asked[kept], listed[kept]
        _check_used(used, samples, maps)
    used, _ = covariates.encode_covariates(used, needed, levels)
    sites = next((tuple(card["settings"]["sites"]) for card in cards_of if "combat_keep" in card), None)
    if sites is not None:
        used = used.assign(
            **{SITE_COLUMN: [sites.index(str(one)) if str(one) in sites else -1 for one in used["site"]]}
        )
    name = outputs.label(settings.group.analysis or NAME)
    if (settings.output_dir / "group" / name / "models").exists():
        raise UsageError(f"--analysis {name}: that is a trained analysis in OUT_DIR; give the new one another name")
    key = _key(cells, used, maps, settings)
    return Application(name, cells, about, tuple(classes), maps, samples, used, asked, listed, sites, key)


def _check_options(settings: Settings) -> None:
    unset = Group()
    idle = [one.name for one in fields(Group) if getattr(settings.group, one.name) != getattr(unset, one.name)]
    if wrong := [option(name) for name in idle if name not in MEANT]:
        raise UsageError(f"{', '.join(wrong)}: not with --model, which applies what was trained; leave it out")


def _one(cells: dict[str, dict[Path, Any]], key: str) -> Any:
    """What all models of all cells state alike."""
    stated = [card[key] for its in cells.values() for card in its.values()]
    if any(one != stated[0] for one in stated):
        raise DataError(f"--model: cells differ in {key}; give the models of one analysis, or one cell's folder")
    return stated[0]


def _folds(cells: dict[str, dict[Path, Any]]) -> tuple[list[tuple[int, int]], str]:
    """Repeat and fold of the models, which all cells share, and the hash of the table of folds."""
    each = [
        ([(card["repeat"], card["fold"]) for card in its.values()], card["settings"]["folds_sha256"])
        for its in cells.values()
        for card in [next(iter(its.values()))]
    ]
    if any(one != each[0] for one in each):
        raise DataError("--model: cells have different folds; give the models of one analysis, or one cell's folder")
    return each[0]


def _columns(cards_of: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """What is adjusted for, and what ComBat preserves, over all cells."""
    adjusted = [one for card in cards_of for columns in card["adjust"].values() for one in columns]
    kept = [one for card in cards_of for one in card.get("combat_keep", ())]
    return list(dict.fromkeys(adjusted)), list(dict.fromkeys(kept))


def _written(coded: str, levels: dict[str, list[str]]) -> str:
    """sex[M] -> sex, as participants.tsv has it."""
    return next((name for name, its in levels.items() if coded in {f"{name}[{one}]" for one in its}), coded)


def _true(frame: pd.DataFrame, classes: list[str], settings: Settings) -> "pd.Series[str] | None":
    """The true class of each person and session, NA for none of the model's; None without a label."""
    if cohort.label(settings) is None:
        return None
    if strange := sorted(set(settings.group.classes) - set(classes)):
        raise UsageError(f"--classes: the model knows {', '.join(classes)}, and not {', '.join(strange)}")
    labelled = cohort.classes(frame, settings)
    if not labelled.isin(classes).any():
        there = ", ".join(sorted(labelled.dropna().unique())[:10])
        raise DataError(
            f"--label: the values are {there or 'n/a'}, and the model tells {', '.join(classes)} apart; say which is "
            f"which with --classes {classes[0]}=VALUE {classes[1]}=VALUE"
        )
    return labelled.where(labelled.isin(classes))


def _classed(frame: pd.DataFrame, true: "pd.Series[str] | None", settings: Settings) -> "pd.Series[str]":
    """The true classes, and one for those who have none, who are predicted too.

    Where one session stands for a person, it is, as in training, one that has a class, if there is one.
    """
    if true is None:
        return pd.Series(UNKNOWN, index=frame.index)
    if settings.group.sessions == "all":
        return true.fillna(UNKNOWN)
    nowhere = true.isna().groupby(level=0).transform("all")
    return true.where(~nowhere, UNKNOWN)


def _without_new_words(samples: pd.DataFrame, levels: dict[str, list[str]]) -> pd.DataFrame:
    """Nobody is used whose word of an adjusted column did not occur in training."""
    for column, words in levels.items():
        strange = samples[samples["used"] & ~samples[column].astype(str).isin(words)]
        for value, rows in strange.groupby(column):
            samples = _without(samples, rows, f"{column} {value} did not occur in training, and is adjusted for")
    return samples


def _without(samples: pd.DataFrame, rows: pd.DataFrame, reason: str) -> pd.DataFrame:
    out = samples["participant_id"].isin(rows["participant_id"]) & samples["used"]
    return samples.assign(used=samples["used"] & ~out, reason=samples["reason"].where(~out, reason))


def _check_used(used: pd.DataFrame, samples: pd.DataFrame, maps: dict[str, Any]) -> None:
    """Raise DataError where nobody is left, or where maps are not those that the model was trained on."""
    command = "pellucid BIDS_DIR OUT_DIR participant --model DIR"
    if used.empty:
        reasons = samples["reason"].value_counts().head(3)
        why = "; ".join(f"{count} people: {reason}" for reason, count in reasons.items()) or "there is nobody"
        raise DataError(f"the model can be applied to nobody ({why}); make the maps first with\n  {command}")
    for name, its in maps.items():
        first = used[name].iloc[0][0]
        own = group.made(first)
        differ = [key for key in sorted({*own, *its["made"]}) if own.get(key) != its["made"].get(key)]
        if differ:
            told = "; ".join(f"{key} is {own.get(key)} here and {its['made'].get(key)} in training" for key in differ)
            todo = f"make them again with\n  {command}"
            if differ == ["WithoutRegionsFrom"]:
                todo = f"{todo}, and -d freesurfer=SUBJECTS_DIR (wmparc) or =none (the atlas)"
            if differ == ["Version"]:
                todo = f"use Pellucid {its['made']['Version']}, or train anew"
            raise DataError(f"the {name} maps are not made as those of the model: {told}; {todo}")
        if "ica" in its:
            ica.check_series(used, name, its["ica"]["components"])
        shape, affine = available_maps.grid(first)
        if list(shape) != its["grid"]["shape"] or not np.allclose(
            affine, np.array(its["grid"]["affine"]).ravel(), rtol=0, atol=1e-3
        ):
            raise DataError(f"the {name} maps do not lie on the model's grid; make them again with\n  {command}")


def _asked(
    used: pd.DataFrame, folds: tuple[list[tuple[int, int]], str], settings: Settings
) -> tuple[np.ndarray, np.ndarray | None]:
    if settings.group.training_list is None:
        return np.ones((len(used), len(folds[0])), bool), None
    places, digest = folds
    return training_list.eligible_models(
        settings.group.training_list, used["participant_id"].tolist(), places, digest=digest
    )


def _key(cells: dict[str, dict[Path, Any]], used: pd.DataFrame, maps: dict[str, Any], settings: Settings) -> str:
    """Hash of everything that the predictions depend on."""
    weights = [card["weights_sha256"] for its in cells.values() for card in its.values()]
    stamps = [
        (path.name, path.stat().st_size, path.stat().st_mtime_ns)
        for name in maps
        for files in used[name]
        for path in files
    ]
    people = used.drop(columns=list(maps)).to_csv(index=False)
    listed = settings.group.training_list
    told = "" if listed is None else listed.read_text()
    text = json.dumps([weights, stamps, people, told, settings.compute.omp_nthreads, __version__], default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
