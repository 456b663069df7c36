"""The plan of one side of a federated analysis: its part of the group level's settings, and the digest of them."""

import hashlib
import importlib.util
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from bids_app import __version__, catalogue
from bids_app.bids import inputs
from bids_app.dataset.grid import Grid
from bids_app.errors import DataError, UsageError
from bids_app.federated.linear import check_classifier
from bids_app.federated.pipeline import Steps
from bids_app.options.evidence import Group
from bids_app.planning.group import GroupPlan, plan_group
from bids_app.settings import Settings

CLASSIFIERS = ("model_averaging", "logistic")  # in place of the group level's default
PERMUTATIONS = 100
SEX = {"F": 0.0, "M": 1.0}
SPLITS = ("folds_file", "leave_site_out", "test_size", "n_test_per_class", "inner_folds")
ENGINE = "nvflare"
INSTALL = "pip install 'pellucid[federated]'"


@dataclass(frozen=True, eq=False)
class FederatedPlan:
    """The plan of a site's own participants, and what all sites share.

    steps: by map; permutations: the number of labellings.
    """

    analysis: GroupPlan
    classifiers: tuple[str, ...]
    steps: dict[str, Steps]
    permutations: int


def check_engine() -> None:
    """Raise UsageError, with the command that installs it, without NVIDIA FLARE."""
    if importlib.util.find_spec(ENGINE) is None:
        raise UsageError(f"--federated requires NVIDIA FLARE, which is not installed here: {INSTALL}")


def plan_federated(dataset: inputs.Dataset, settings: Settings) -> FederatedPlan:
    """Plan and check a side of the analysis. Raises as `plan_group`, and UsageError for what sums cannot do."""
    group = settings.group
    given = {"--maps-from": group.maps_from, "--model": settings.shared.model, "--power": group.power}
    if other := next((option for option, value in given.items() if value), None):
        raise UsageError(f"--federated cannot be combined with {other}; remove one of them")
    if settings.federated.kit is None:
        raise UsageError("--federated requires --kit DIR, the startup kit that `nvflare provision` made")
    if used := [name for name in SPLITS if getattr(group, name)] + ["repeats"] * (group.repeats > 1):
        raise UsageError(
            f"--{used[0].replace('_', '-')} is not available with --federated: folds are drawn at each site"
        )
    if "site" in (*(group.covariates or ()), *group.combat_covariates):
        raise UsageError("--federated cannot adjust for site; use --harmonize combat")
    default = group.classifiers == Group().classifiers
    classifiers = CLASSIFIERS if default else group.classifiers
    for name in classifiers:
        check_classifier(name)
    alone = replace(group, classifiers=classifiers, harmonize=None, combat_covariates=())
    analysis = plan_group(dataset, replace(settings, group=alone))
    if len(analysis.classes) != 2:
        raise UsageError(f"--federated compares two classes, not {len(analysis.classes)}; name two with --classes")
    if analysis.used["participant_id"].duplicated().any():
        raise UsageError("--federated takes one sample per participant: use --sessions first or mean")
    if analysis.ica is not None:
        raise UsageError("maps of an ICA are fitted to single participants' series; use other --maps with --federated")
    keep = group.combat_covariates if group.harmonize else None
    steps = {
        name: Steps(_code(_adjusted(name, group), analysis.used), keep if keep is None else _code(keep, analysis.used))
        for name in analysis.smoothing
    }
    number = PERMUTATIONS if group.permutations is None else group.permutations
    return FederatedPlan(analysis, classifiers, steps, number)


def covariate(used: pd.DataFrame, column: str) -> "pd.Series[float]":
    """A coded covariate of the included participants as numbers; sex is 1 for M."""
    return used["sex"].map(SEX) if column == "sex[M]" else pd.to_numeric(used[column], errors="coerce").astype(float)


def digest_settings(plan: FederatedPlan, settings: Settings, grids: dict[str, Path]) -> str:
    """The SHA-256 of all that must be the same at every site: settings, parameters of the maps, and voxels.

    grids: the file of each map's grid. Names of columns, folders and participants are not part of it.
    """
    analysis, voxels = plan.analysis, hashlib.sha256()
    for _, file in sorted(grids.items()):
        grid = Grid.read(file)
        for array in (grid.mask, grid.affine.round(4), grid.regions):
            voxels.update(b"" if array is None else array.tobytes())
    facts: dict[str, Any] = {
        "version": __version__,
        "classes": analysis.classes,
        "classifiers": plan.classifiers,
        "steps": {name: asdict(steps) for name, steps in plan.steps.items()},
        "folds": settings.group.folds,
        "permutations": plan.permutations,
        "smoothing": analysis.smoothing,
        "forms": analysis.forms,
        "map_parameters": analysis.map_parameters,
        "limits": [settings.group.max_mean_fd, settings.group.min_minutes],
        "voxels": voxels.hexdigest(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def _adjusted(map_name: str, group: Group) -> tuple[str, ...]:
    if group.covariates is None:
        return tuple(catalogue.constant("maps", map_name, "ADJUST_FOR"))
    return () if group.covariates == ("none",) else group.covariates


def _code(columns: tuple[str, ...], used: pd.DataFrame) -> tuple[str, ...]:
    """The names of covariates as numbers. Raises DataError or UsageError for those that have none."""
    coded = tuple("sex[M]" if column == "sex" else column for column in columns)
    for column, name in zip(columns, coded, strict=True):
        if column not in used:
            raise UsageError(f"--federated cannot adjust for {column}; use numbers and sex")
        if covariate(used, name).isna().any():
            raise DataError(f"{column} must be a number (sex: F or M) for every participant; correct or --exclude them")
    return coded
