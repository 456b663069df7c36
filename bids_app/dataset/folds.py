"""Splits of samples into training and test sets; a split that leaks raises an error."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from bids_app.errors import DataError, UsageError

FEW_GROUPS = "a few groups contain the whole class; use fewer folds or another --groups column"
MAX_TRIES = 1000  # orders of groups


@dataclass(frozen=True)
class Split:
    """Training rows and held-out rows of the samples; `groups` names the participant (or family) of every row.

    Raises DataError when a row or a group is on both sides, or when a side is empty.
    """

    repeat: int
    fold: int
    train: tuple[int, ...]
    test: tuple[int, ...]
    groups: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.train or not self.test:
            raise DataError(f"repeat {self.repeat}, fold {self.fold}: training and test set both need participants")
        if len(set(self.train + self.test)) != len(self.train) + len(self.test):
            raise DataError(f"repeat {self.repeat}, fold {self.fold}: a row of the samples is twice in the split")
        shared = {self.groups[row] for row in self.train} & {self.groups[row] for row in self.test}
        if shared:
            raise DataError(
                f"repeat {self.repeat}, fold {self.fold}: {', '.join(sorted(shared)[:5])} are in training and "
                "test; keep every participant, and every group of --groups, on one side"
            )


def stratified_folds(
    classes: Sequence[str], groups: Sequence[str] | None = None, *, folds: int, repeats: int = 1, seed: int = 0
) -> list[Split]:
    """Return stratified k-fold splits, `repeats` times; no group (default: every row its own) is on both sides.

    Raises UsageError for fewer than two folds or one class, DataError for a class with fewer groups than folds.
    """
    names = _group_names(classes, groups)
    _check_fold_count(classes, names, folds)
    splits = []
    for repeat in range(repeats):
        state = _derive_state(seed, repeat)
        if len(set(names)) < len(names):
            parts = StratifiedGroupKFold(folds, shuffle=True, random_state=state).split(classes, classes, names)
        else:
            parts = StratifiedKFold(folds, shuffle=True, random_state=state).split(classes, classes)
        for fold, (train, test) in enumerate(parts, start=1):
            split = Split(repeat + 1, fold, tuple(train.tolist()), tuple(test.tolist()), names)
            check_training(split, classes)
            splits.append(split)
    return splits


def leave_site_out(
    classes: Sequence[str], sites: Sequence[str | None], groups: Sequence[str] | None = None
) -> list[Split]:
    """Return one fold per site, in alphabetical order of the sites; the held-out samples may be of a single class.

    Raises UsageError for fewer than two sites or one class; DataError for a missing site, a group at two sites, and a
    class that occurs at one site only.
    """
    names = _group_names(classes, groups)
    _check_classes(classes, names)
    known = _check_sites(sites, names)
    splits = []
    for fold, site in enumerate(sorted(set(known)), start=1):
        train = tuple(row for row, row_site in enumerate(known) if row_site != site)
        test = tuple(row for row, row_site in enumerate(known) if row_site == site)
        split = Split(1, fold, train, test, names)
        check_training(split, classes, why=f"it occurs at site {site} only; remove it from --classes, or use --folds")
        splits.append(split)
    return splits


def hold_out(
    classes: Sequence[str], groups: Sequence[str] | None = None, *, share: float, repeats: int, seed: int
) -> list[Split]:
    """Hold out about `share` (0 to 1) of every class, sampled independently in each of `repeats`; one fold per repeat.

    Groups (default: every row its own) are whole, and every class is on both sides. Raises UsageError for another
    share or one class, DataError where a class has too few groups.
    """
    if not 0 < share < 1:
        raise UsageError(f"the proportion that is held out must be between 0 and 1, such as 0.2, not {share}")
    names = _group_names(classes, groups)
    _check_classes(classes, names)
    count, fewest = _smallest_class(classes, names)
    if count < 2:
        raise DataError(
            f"class {fewest} has 1 participant, too few for training and test: merge the class or remove it"
        )
    group = np.unique(names, return_inverse=True)[1]
    kinds, kind = np.unique(classes, return_inverse=True)
    counts = np.zeros((group.max() + 1, len(kinds)), int)
    np.add.at(counts, (group, kind), 1)
    splits = []
    for repeat in range(repeats):
        order = np.random.default_rng(_derive_state(seed, repeat)).permutation(len(counts))
        held = np.isin(group, order[_choose_held_out(counts[order], kinds.tolist(), share)])
        train, test = np.flatnonzero(~held).tolist(), np.flatnonzero(held).tolist()
        splits.append(Split(repeat + 1, 1, tuple(train), tuple(test), names))
    return splits


def balanced_folds(
    classes: Sequence[str],
    groups: Sequence[str] | None = None,
    people: Sequence[str] | None = None,
    *,
    number: int,
    folds: int,
    repeats: int = 1,
    seed: int = 0,
) -> list[Split]:
    """Return `folds` that each hold out `number` random participants per class, none twice in a repeat; others train.

    Groups (default: every row its own) are whole; people: of each row (default: its group). Raises UsageError for one
    class, DataError where a class has too few participants, or where groups cannot be combined to that number.
    """
    names = _group_names(classes, groups)
    _check_classes(classes, names)
    kinds, units = sorted(set(classes)), sorted(set(names))
    pairs = Counter((name, kind) for name, kind, _ in {*zip(names, classes, people or names, strict=True)})
    sizes = np.array([[pairs[name, kind] for kind in kinds] for name in units])
    count, fewest = min(zip(sizes.sum(axis=0).tolist(), kinds, strict=True))
    if count < number * folds:
        ways_out = [f"use --n-test-per-class {count // folds}, or "] * (count >= folds)
        ways_out += [f"use --folds {count // number}, or "] * (count // number > 1)
        why = f"too few for {folds} folds that each hold out {number} of every class"
        raise DataError(f"class {fewest} has {count} participants, {why}: {''.join(ways_out)}merge classes")
    splits = []
    for repeat in range(repeats):
        place = dict(zip(units, _assign_folds(sizes, number, folds, _derive_state(seed, repeat)), strict=True))
        for fold in range(1, folds + 1):
            train, test = ([row for row, name in enumerate(names) if (place[name] == fold) == held] for held in (0, 1))
            split = Split(repeat + 1, fold, tuple(train), tuple(test), names)
            check_training(split, classes, why="all its participants are held out; hold out fewer")
            splits.append(split)
    return splits


def inner_folds(split: Split, classes: Sequence[str], *, folds: int, seed: int) -> list[Split]:
    """Return stratified folds of a split's training rows, for nested cross-validation.

    classes: of all rows; the rows of the inner splits refer to the whole table. Raises as `stratified_folds`.
    """
    train_classes, names = [classes[row] for row in split.train], [split.groups[row] for row in split.train]
    count, fewest = _smallest_class(train_classes, names)
    if count < folds:
        way_out = f"use {count} inner folds, or merge classes" if count > 1 else "merge the class or remove it"
        raise DataError(
            f"repeat {split.repeat}, fold {split.fold}: class {fewest} has {count} training participants, too "
            f"few for {folds} inner folds: {way_out}"
        )
    parts = stratified_folds(train_classes, names, folds=folds, seed=_derive_state(seed, split.repeat, split.fold))
    return [
        replace(
            part,
            train=tuple(split.train[row] for row in part.train),
            test=tuple(split.train[row] for row in part.test),
            groups=split.groups,
        )
        for part in parts
    ]


def digest(rows: Iterable[tuple[str, int, int, str]]) -> str:
    """Return a hash of rows of participant, repeat, fold and role, in any order.

    It identifies the table as a whole, but no participant.
    """
    return hashlib.sha256("\n".join(sorted({"\t".join(map(str, row)) for row in rows})).encode()).hexdigest()


def check_training(split: Split, classes: Sequence[str], *, why: str = FEW_GROUPS) -> None:
    """Raise DataError, with `why` and what to do, where a split would train without one of the classes of all rows."""
    lacking = set(classes) - {classes[row] for row in split.train}
    if lacking:
        raise DataError(
            f"repeat {split.repeat}, fold {split.fold} would train without class {', '.join(sorted(lacking))}: {why}"
        )


def _group_names(classes: Sequence[str], groups: Sequence[str] | None) -> tuple[str, ...]:
    return tuple(groups) if groups is not None else tuple(str(row) for row in range(len(classes)))


def _check_fold_count(classes: Sequence[str], groups: tuple[str, ...], folds: int) -> None:
    if folds < 2:
        raise UsageError(
            f"--folds {folds}: at least 2 are required, so that no model is tested on its training participants"
        )
    _check_classes(classes, groups)
    count, name = _smallest_class(classes, groups)
    if count < folds:
        way_out = f"use --folds {count}, or merge classes" if count > 1 else "merge the class or remove it"
        raise DataError(f"class {name} has {count} participants; --folds {folds} requires at least {folds}: {way_out}")


def _check_classes(classes: Sequence[str], groups: tuple[str, ...]) -> None:
    if len(groups) != len(classes):
        raise DataError(f"{len(classes)} samples have {len(groups)} group names; each sample needs one")
    if len(set(classes)) < 2:
        raise UsageError(
            f"only class {', '.join(set(classes)) or '(none)'} has participants; specify two with --classes"
        )


def _smallest_class(classes: Sequence[str], groups: Sequence[str]) -> tuple[int, str]:
    """Return the number of groups of the smallest class, and that class."""
    counts = Counter(name for name, _ in set(zip(classes, groups, strict=True)))
    return min((count, name) for name, count in counts.items())


def _assign_folds(sizes: NDArray[np.int_], number: int, folds: int, seed: int) -> list[int]:
    """Assign each group to the first held-out fold with room, 0 for none. sizes: participants by group and class."""
    random = np.random.default_rng(seed)
    for _ in range(MAX_TRIES):
        place, filled = [0] * len(sizes), np.zeros((folds, sizes.shape[1]), int)
        for group in random.permutation(len(sizes)):
            fits = np.flatnonzero((filled + sizes[group] <= number).all(axis=1))
            if fits.size:
                place[group] = int(fits[0]) + 1
                filled[fits[0]] += sizes[group]
        if (filled == number).all():
            return place
    raise DataError(
        f"no {folds} folds were found that hold out {number} participants of each class without splitting "
        "groups: use another number, fewer folds, or another --groups column"
    )


def _check_sites(sites: Sequence[str | None], groups: tuple[str, ...]) -> list[str]:
    """Return the sites after checking that none is missing, there are at least two, and each group has one."""
    known = ["" if pd.isna(site) else str(site) for site in sites]
    sites_by_group: dict[str, set[str]] = {}
    for name, site in zip(groups, known, strict=True):
        sites_by_group.setdefault(name, set()).add(site)
    lacking = sum("" in group_sites for group_sites in sites_by_group.values())
    if lacking:
        raise DataError(
            f"--leave-site-out: {lacking} of {len(sites_by_group)} participants have no site; fill it in in "
            "participants.tsv, or exclude them with --exclude"
        )
    if len(set(known)) < 2:
        raise UsageError(f"--leave-site-out requires two sites, and all participants are from {known[0]}; use --folds")
    several = [(name, sorted(seen)) for name, seen in sorted(sites_by_group.items()) if len(seen) > 1]
    if several:
        listed = "; ".join(f"{name} ({', '.join(seen)})" for name, seen in several[:5])
        raise DataError(
            f"--leave-site-out: {listed} would be in training and test; keep one site of each and --exclude the "
            "others, or give the same name to sites that share participants"
        )
    return known


def _choose_held_out(counts: NDArray[np.int_], kinds: Sequence[str], share: float) -> NDArray[np.bool_]:
    """Choose the held-out groups greedily: each in turn changes sides if that lowers the cost, until none does.

    counts: rows of each group and class (groups, classes). The cost is the number of classes absent from a side, then
    the squared deviation of the classes from their share. Raises DataError where a class remains absent.
    """
    total, tested, held = counts.sum(axis=0), np.zeros(len(kinds), int), np.zeros(len(counts), bool)

    def cost(rows: NDArray[np.int_]) -> tuple[int, float]:
        return int(((rows == 0) | (rows == total)).sum()), float(((rows / total - share) ** 2).sum())

    settled = False
    while not settled:
        settled = True
        for group, rows in enumerate(counts):
            other = tested - rows if held[group] else tested + rows
            if cost(other) < cost(tested):
                tested, held[group], settled = other, not held[group], False
    for name, rows, whole in zip(kinds, tested, total, strict=True):
        if rows in (0, whole):
            raise DataError(
                f"class {name} cannot be both in training and held out: a few groups contain the whole class; "
                "use another --groups column or --random-seed"
            )
    return held


def _derive_state(*numbers: int) -> int:
    digest = hashlib.sha256(" ".join(("folds", *map(str, numbers))).encode()).digest()
    return int(np.frombuffer(digest[:4], dtype="<u4")[0])
