"""The participants of a group analysis: their table, classes, sites and folds."""

import itertools
import logging
import re

import pandas as pd

from bids_app.bids import inputs, labels, participants
from bids_app.bids.matching import list_some, near_misses, spelling_variants
from bids_app.bids.names import participant_name
from bids_app.dataset import folds, folds_file
from bids_app.dataset.folds import Split
from bids_app.errors import DataError, UsageError
from bids_app.evaluation import audit
from bids_app.settings import Settings
from bids_app.training.feature_pipeline import SITE_COLUMN

log = logging.getLogger("pellucid")
MIN_PER_CLASS = 5  # with fewer, a covariate that has nothing to do with the class may separate them
NEARLY_ALL = 0.9
# words in the names of classes
CONTROLS = {"healthy", "normal", "control", "controls", "con", "ctrl", "ctl", "hc", "hv", "nc", "cn", "td", "tdc"}
HALVES = ("unchanged", "lowered")  # of the participants of a planned study


def participant_table(dataset: inputs.Dataset, settings: Settings) -> pd.DataFrame:
    """The table of participants, indexed by participant and session."""
    group = settings.group
    if group.label_from_id is None and group.phenotype is None and (group.label or not settings.shared.model):
        table = participants.read(dataset.root / "participants.tsv")
    else:
        table = labels.people(dataset.root, dataset.participants)
    if group.phenotype is not None:
        table = labels.with_phenotype(table, group.phenotype, site=dataset.site)
    if group.label_from_id is not None:
        table = labels.from_ids(table, group.label_from_id)
    if settings.select.participant_label:
        table = table[table.index.isin(inputs.select(dataset, settings.select.participant_label))]
    return labels.with_sessions(table, dataset.root, phenotype=group.phenotype, site=dataset.site)


def check_spellings(in_folders: set[str], in_table: set[str]) -> None:
    """Raise DataError where the table spells participants in another way than the folders do."""
    if near := near_misses(in_table, in_folders):
        pairs = [f"{label} for {participant_name(folder)}" for label, folder in near.items()]
        raise DataError(
            f"the table of participants spells participants in another way than their folders: {list_some(pairs)}. "
            "Correct participant_id in the table; letters, zeros and case must agree."
        )


def label(settings: Settings) -> str | None:
    """The column with the classes."""
    return settings.group.label or (labels.LABEL if settings.group.label_from_id else None)


def is_planning(settings: Settings) -> bool:
    """Whether the run only plans a study: --power without a label, or within one class."""
    return settings.group.power is not None and (label(settings) is None or len(settings.group.classes) == 1)


def assign_halves(everyone: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """The table of samples with a random half (`HALVES`) as the class of each included participant."""
    participant_ids = everyone.loc[everyone["used"], "participant_id"]
    people = pd.Series(participant_ids.unique()).sample(frac=1, random_state=settings.compute.random_seed)
    halves = participant_ids.map(dict(zip(people, itertools.cycle(HALVES), strict=False)))
    return everyone.assign(**{"class": halves.reindex(everyone.index).fillna(everyone["class"])})


def label_column(frame: pd.DataFrame, settings: Settings) -> str | None:
    """Which of age, sex and site the label is; None for any other column."""
    column, site = str(label(settings)), settings.group.site
    name = "site" if column == site else participants.standard_name(frame, column)
    return None if name == "site" and site not in (None, column) else name


def read_classes(frame: pd.DataFrame, settings: Settings) -> "pd.Series[str]":
    """The class of each participant and session, NA for none."""
    group, column = settings.group, label(settings)
    if column is None and is_planning(settings):
        return pd.Series(HALVES[0], frame.index, dtype="string")
    if column is None:
        raise UsageError(
            f"--label: specify the diagnosis column of participants.tsv; it has {', '.join(map(str, frame.columns))}"
        )
    if group.groups is not None and group.groups == column:
        raise UsageError("--groups is the label column: each class would be on one side of every fold")
    if keeps := {column, label_column(frame, settings)} & set(group.combat_covariates):
        raise UsageError(
            f"--combat-covariates {keeps.pop()} is the label, and harmonisation would leak it; choose other columns"
        )
    if tells := {column, label_column(frame, settings)} & set(group.covariates or ()):
        raise UsageError(f"--covariates {tells.pop()} is the label, and regressing it out would leak it")
    return participants.classes(frame, column=column, mapping=group.classes)


def order_classes(labelled: "pd.Series[str]", settings: Settings) -> tuple[str, ...]:
    """The classes, the reference first: as --classes has them, else controls by their name, then alphabetically."""
    if not settings.group.classes:
        return tuple(sorted(labelled.dropna().unique(), key=lambda name: (not _reads_like_controls(name), name)))
    first, *others = names = tuple(settings.group.classes)
    controls = [name for name in others if _reads_like_controls(name)]
    if controls and not _reads_like_controls(first):
        message = (
            "--classes: %s is the reference, so that heatmaps show the evidence for %s; if %s is meant, name it first"
        )
        log.warning(message, first, " and ".join(others), controls[0])
    return names


def _reads_like_controls(name: str) -> bool:
    return not CONTROLS.isdisjoint(re.split(r"[^a-z]+", name.lower()))


def fold_groups(used: pd.DataFrame, frame: pd.DataFrame, settings: Settings) -> list[str]:
    """The group of each sample that stays on one side of a fold: a participant, or a value of --groups."""
    column = settings.group.groups
    if column is None:
        return used["participant_id"].tolist()
    if column not in frame:
        raise DataError(
            f"--groups: participants.tsv has no column {column}; it has {', '.join(map(str, frame.columns))}"
        )
    group_values = used["participant_id"].map(frame.xs(labels.WHOLE, level=1)[column])
    return [
        participant_name(participant) if pd.isna(value) else f"{column} {value}"
        for participant, value in zip(used["participant_id"], group_values, strict=True)
    ]


def make_splits(used: pd.DataFrame, groups: list[str], settings: Settings) -> list[Split]:
    """The folds; `groups` (`fold_groups`) stay on one side."""
    group, names = settings.group, used["class"].tolist()
    schemes = {
        "--folds-file": group.folds_file is not None,
        "--leave-site-out": group.leave_site_out,
        "--test-size": group.test_size is not None,
        "--n-test-per-class": group.n_test_per_class is not None,
    }
    if sum(schemes.values()) > 1:
        options = " and ".join(name for name, is_set in schemes.items() if is_set)
        raise UsageError(f"{options} each define how participants are split; choose one")
    if group.folds_file is not None:
        return folds_file.read_folds(group.folds_file, used, groups)
    if group.leave_site_out:
        return folds.leave_site_out(names, used["site"].tolist(), groups)
    repeats, seed = group.repeats, settings.compute.random_seed
    if group.test_size is not None:
        return folds.hold_out(names, groups, share=group.test_size, repeats=repeats, seed=seed)
    if group.n_test_per_class is not None:
        people = used["participant_id"].tolist()
        return folds.balanced_folds(
            names, groups, people, number=group.n_test_per_class, folds=group.folds, repeats=repeats, seed=seed
        )
    return folds.stratified_folds(names, groups, folds=group.folds, repeats=repeats, seed=seed)


def describe_splits(settings: Settings) -> str:
    """A sentence on how the folds were created."""
    group = settings.group
    if group.folds_file is not None:
        return f"Folds were read from {group.folds_file.name}."
    if group.leave_site_out:
        return "Each fold held out the participants of one site."
    if group.test_size is not None:
        return f"{group.test_size:.0%} of each class was held out, drawn at random {_times(group.repeats)}."
    if group.n_test_per_class is not None:
        return (
            f"Each of {group.folds} folds held out {group.n_test_per_class} participants of each class, none "
            f"twice, drawn at random {_times(group.repeats)}."
        )
    return f"Participants were split into {group.folds} folds, stratified by class, {_times(group.repeats)}."


def count_tested(used: pd.DataFrame, splits: list[Split]) -> "pd.Series[int]":
    """The number of participants per class held out in the first repeat."""
    rows = sorted({row for split in splits if split.repeat == 1 for row in split.test})
    counts = used.iloc[rows].groupby("class")["participant_id"].nunique()
    return counts.reindex(sorted(used["class"].unique()), fill_value=0)


def describe_tested(used: pd.DataFrame, splits: list[Split], names: tuple[str, ...]) -> str:
    """The number of held-out participants per class, if not all are held out."""
    held, whole = count_tested(used, splits), used.groupby("class")["participant_id"].nunique()
    if held.eq(whole).all():
        return ""
    counts = ", ".join(f"{held[name]} of {whole[name]} {name}" for name in names)
    when = " in the first repeat" if any(split.repeat > 1 for split in splits) else ""
    return f"Tested{when}: {counts}; the others were used for training only."


def _times(repeats: int) -> str:
    return "once" if repeats == 1 else f"{repeats} times, with a new split each time"


def check_confounded(
    used: pd.DataFrame, names: tuple[str, ...], settings: Settings, *, label_column: str | None
) -> None:
    """Raise DataError if a class occurs at only one of several sites, unless allowed or sites are the label.

    UsageError if sites are the label and are to be harmonised.
    """
    if label_column == "site" and settings.group.harmonize:
        raise UsageError("--harmonize: the label is the site, so harmonisation would remove the effect of interest")
    for words in spelling_variants(used["site"].dropna().astype(str)):
        log.warning("the sites %s differ in spelling only and are treated as different sites", " and ".join(words))
    problems = audit.list_single_site_classes(used, names, label=label_column)
    if problems and not settings.group.allow_confounded:
        raise DataError(
            f"class and site are confounded: {'; '.join(problems)}. A classifier could rely on the scanner "
            "alone. Use sites that have participants of every class (--exclude the others), or continue with "
            "--allow-confounded, in which case no model is reported to distinguish the classes"
        )


def check_covariates(used: pd.DataFrame, columns: tuple[str, ...]) -> None:
    """Raise DataError where a covariate states the class of all participants; log one that states nearly all.

    Participants who are held out are adjusted by their own values, which would then bring their label into their maps.
    """
    one_each = used.drop_duplicates("participant_id")
    for column in columns:
        accuracy = audit.predict_class_from_covariate(one_each[column], one_each["class"])
        if accuracy > 1 - 1e-9 and one_each["class"].value_counts().min() >= MIN_PER_CLASS:
            raise DataError(
                f"--covariates {column} states the class of every participant, and regressing it out would leak the "
                "class into the maps; choose other columns"
            )
        if accuracy > NEARLY_ALL:
            log.warning(
                "--covariates %s alone predicts the class with a balanced accuracy of %.2f in these participants: "
                "regressing it out removes most of what distinguishes the classes, and may leak the class",
                column,
                accuracy,
            )


def number_sites(used: pd.DataFrame, settings: Settings) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The table with `site_number`, and the names of the sites in that order, if ComBat needs them; else none."""
    if settings.group.harmonize is None:
        if settings.group.combat_covariates:
            raise UsageError("--combat-covariates needs --harmonize combat")
        return used, ()
    sites = sorted(used["site"].astype(str).unique())
    if len(sites) < 2:
        raise UsageError("--harmonize combat: all participants are from one site; specify the site column with --site")
    return used.assign(**{SITE_COLUMN: [sites.index(str(site)) for site in used["site"]]}), tuple(sites)
