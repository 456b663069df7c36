"""A site: local values, and the sums of them with which it answers questions."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_app.dataset import adjust, combat, scale
from bids_app.errors import DataError
from bids_app.evaluation.permutation import shuffle_labels
from bids_app.federated import site_scores, site_sums
from bids_app.federated.outgoing import OutgoingFilter
from bids_app.federated.protocol import STEPS, Answer, Arrays, Floats, OtherSettingsError, Request

ANSWERS: dict[str, Callable[["Site", Request], Arrays]] = {**site_sums.ANSWERS, **site_scores.ANSWERS}


@dataclass(frozen=True, eq=False, kw_only=True)
class SiteData:
    """What a site computes from, and never sends; participants are rows.

    values: by map (n, voxels); y (n,): 0 for the reference class, 1 for the other; folds (n,): the fold, from 1, that
    holds each out; covariates: by name (n,), NaN where unknown; `sex`: F, M or empty. `adjust`: the covariates of each
    map; `keep`: those that ComBat preserves, None without ComBat. groups: by map, the cube and the region of each voxel
    (voxels,), -1 for none. units (n,): what is kept on one side of a fold. permutations: number of labellings.
    """

    values: Mapping[str, NDArray[np.float32]]
    y: NDArray[np.int64]
    folds: NDArray[np.int64]
    covariates: Mapping[str, Floats]
    sex: tuple[str, ...]
    adjust: Mapping[str, tuple[str, ...]]
    keep: tuple[str, ...] | None
    groups: Mapping[str, Mapping[str, NDArray[np.int_]]]
    units: tuple[str, ...]
    participants: tuple[str, ...]
    permutations: int = 0

    def design(self, columns: tuple[str, ...]) -> Floats:
        """The covariates (n, k)."""
        return np.array([self.covariates[name] for name in columns], float).reshape(len(columns), len(self.y)).T

    def sizes(self, map_name: str) -> dict[str, int]:
        """The length of each named dimension of the answers about a map."""
        groups = {name: int(labels.max(initial=-1)) + 1 for name, labels in self.groups[map_name].items()}
        features = sum(groups.values())
        adjusted, kept = len(self.adjust[map_name]), len(self.keep or ())
        return {
            "voxels": self.values[map_name].shape[1],
            "covariates": adjusted + kept,
            "combat covariates": kept,
            "map covariates": adjusted,
            "group features": features,
            "pairs of group features": features * (features + 1) // 2,
            "regions": groups.get("regions", 0),
            "labellings": self.permutations,
        }


@dataclass(eq=False)
class Site:
    """Answers questions about `data`; `folder` keeps what outlives a restart, `filter` passes what leaves.

    `settings`: the digest of the site's settings, which the coordinator's must equal.
    """

    data: SiteData
    folder: Path
    filter: OutgoingFilter
    settings: str = ""
    _features: dict[tuple[str, int, str], NDArray[np.float32]] = field(default_factory=dict)

    def answer(self, request: Request) -> Answer:
        """The answer to a question, through the filter.

        Raises DataError for a question that is not on the list, other settings, or an answer that the filter refuses.
        """
        if reason := self.filter.declines(request.name):
            return self.filter.decline(request, reason)
        return self.filter.release(request, self.compute(request))

    def compute(self, request: Request) -> Arrays:
        """The arrays that answer a question, before the filter. Raises OtherSettingsError for other settings."""
        if request.settings != self.settings:
            raise OtherSettingsError("the settings of this site differ from the coordinator's: use one settings file")
        self._keep_steps(request)
        return ANSWERS[request.name](self, request)

    def training_rows(self, fold: int) -> NDArray[np.int64]:
        """The rows that train in a fold; all rows for fold 0."""
        return np.flatnonzero(self.data.folds != fold)

    def held_out_rows(self, fold: int) -> NDArray[np.int64]:
        """The rows that a fold holds out."""
        return np.flatnonzero(self.data.folds == fold)

    def features(self, request: Request) -> NDArray[np.float32]:
        """Values (n, voxels) of all participants after the steps up to the stage of the request."""
        key = (request.map_name, request.fold, request.stage)
        if key not in self._features:
            self._features = {key: self._transform(request)}  # one at a time: each is a copy of the map
        return self._features[key]

    @cached_property
    def labellings(self) -> NDArray[np.int64]:
        """Labellings (permutations, n), shuffled within folds, from a random seed that never leaves the site.

        Whoever knew them could solve the sums that they give for the values of each participant.
        """
        file = self.folder / "labelling_seed"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(str(secrets.randbits(63)))
        data, seed = self.data, int(file.read_text())
        names = [""] * len(data.y)
        return shuffle_labels(
            data.y, data.folds.tolist(), data.units, names, count=data.permutations, seed=seed
        ).astype(np.int64)

    def stored(self, kind: str, request: Request) -> Path:
        """The file of the site's own results of one map, classifier and fold."""
        return self.folder / kind / f"{request.map_name}_{request.classifier}_{request.fold}.npz"

    def store(self, kind: str, request: Request, **arrays: NDArray[np.generic]) -> None:
        """Keep arrays in the site's folder."""
        file = self.stored(kind, request)
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, **arrays)  # type: ignore[arg-type]

    def _step_file(self, map_name: str, fold: int, step: str) -> Path:
        return self.folder / "steps" / f"{map_name}_{fold}_{step}.npz"

    def _keep_steps(self, request: Request) -> None:
        for step in STEPS:
            start = f"{step}."
            arrays = {name[len(start) :]: array for name, array in request.arrays.items() if name.startswith(start)}
            if arrays:
                file = self._step_file(request.map_name, request.fold, step)
                file.parent.mkdir(parents=True, exist_ok=True)
                np.savez(file, **arrays)  # type: ignore[arg-type]

    def _transform(self, request: Request) -> NDArray[np.float32]:
        map_name, fold, stage = request.map_name, request.fold, request.stage
        data, x = self.data, self.data.values[map_name]
        for step in STEPS[: STEPS.index(stage) + 1] if stage in STEPS else ():
            used = {"combat": data.keep is not None, "adjust": bool(data.adjust[map_name]), "scale": True}[step]
            if not used:
                continue
            file = self._step_file(map_name, fold, step)
            if not file.exists():
                raise DataError(f"the coordinator did not send {step} of {map_name}, fold {fold}")
            with np.load(file) as arrays:
                if step == "combat":
                    codes = np.full(len(x), request.site_number)
                    x = combat.transform(x, codes, data.design(data.keep or ()), arrays)
                elif step == "adjust":
                    x = adjust.transform(x, data.design(data.adjust[map_name]), arrays)
                else:
                    x = scale.transform(x, arrays)
        return x
