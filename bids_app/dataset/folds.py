"""Splits of people into training and test; a split that leaks cannot be made."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from bids_app.errors import DataError, UsageError


@dataclass(frozen=True)
class Split:
    """Rows of the samples that train and that are held out; `groups` names the person (or family) of every row.

    Raises DataError when a row or a group is on both sides, or when a side is empty.
    """

    repeat: int
    fold: int
    train: tuple[int, ...]
    test: tuple[int, ...]
    groups: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.train or not self.test:
            raise DataError(f"repeat {self.repeat}, fold {self.fold}: training and test both need people")
        if len(set(self.train + self.test)) != len(self.train) + len(self.test):
            raise DataError(f"repeat {self.repeat}, fold {self.fold}: a row of the samples stands twice in the split")
        shared = {self.groups[row] for row in self.train} & {self.groups[row] for row in self.test}
        if shared:
            raise DataError(
                f"repeat {self.repeat}, fold {self.fold}: {', '.join(sorted(shared)[:5])} stand in training and test; "
                "keep every person, and every --keep-together group, on one side"
            )


def stratified(
    classes: Sequence[str], groups: Sequence[str] | None = None, *, folds: int, repeats: int = 1, seed: int = 0
) -> list[Split]:
    """Stratified k-fold splits, `repeats` times; no group (default: every row its own) is on both sides.

    Raises UsageError for fewer than two folds or one class, DataError for a class with fewer groups than folds.
    """
    names = tuple(groups) if groups is not None else tuple(str(row) for row in range(len(classes)))
    _check(classes, names, folds)
    splits = []
    for repeat in range(repeats):
        state = _state(seed, repeat)
        if len(set(names)) < len(names):
            parts = StratifiedGroupKFold(folds, shuffle=True, random_state=state).split(classes, classes, names)
        else:
            parts = StratifiedKFold(folds, shuffle=True, random_state=state).split(classes, classes)
        for fold, (train, test) in enumerate(parts, start=1):
            split = Split(repeat + 1, fold, tuple(train.tolist()), tuple(test.tolist()), names)
            _check_training(split, classes)
            splits.append(split)
    return splits


def _check(classes: Sequence[str], groups: tuple[str, ...], folds: int) -> None:
    if folds < 2:
        raise UsageError(
            f"--folds {folds}: at least 2 are needed, since people are tested by a model that has not seen them"
        )
    if len(groups) != len(classes):
        raise DataError(f"{len(classes)} samples have {len(groups)} group names; each needs one")
    if len(set(classes)) < 2:
        raise UsageError(
            f"only class {', '.join(set(classes)) or '(none)'} has people to be used; name two with --classes"
        )
    for name in sorted(set(classes)):
        count = len({group for group, one in zip(groups, classes, strict=True) if one == name})
        if count < folds:
            way_out = f"use --folds {count} or merge classes" if count > 1 else "merge it or leave it out"
            raise DataError(f"class {name} has {count} people, --folds {folds} needs at least {folds}: {way_out}")


def _check_training(split: Split, classes: Sequence[str]) -> None:
    lacking = set(classes) - {classes[row] for row in split.train}
    if lacking:
        raise DataError(
            f"fold {split.fold} would train without class {', '.join(sorted(lacking))}: few groups hold all of it; "
            "use fewer --folds or another --keep-together column"
        )


def _state(seed: int, repeat: int) -> int:
    digest = hashlib.sha256(f"folds {seed} {repeat}".encode()).digest()
    return int(np.frombuffer(digest[:4], dtype="<u4")[0])
