"""The plan of a group run, checked before anything is computed: participants, classes, maps, folds and models."""

import hashlib
import itertools
import json
import re
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bids_app import __version__, catalogue
from bids_app.atlases import atlas
from bids_app.bids import inputs, labels, outputs, tables
from bids_app.dataset import arrays, covariates, samples
from bids_app.dataset.folds import Split
from bids_app.errors import DataError, UsageError
from bids_app.planning import available_maps, cohort, hyperparameters, pretrained_weights, sites
from bids_app.planning import ica as plan_ica
from bids_app.planning.exclusions import read_exclusions
from bids_app.settings import Settings, to_first_names

LINEAR = "svm"


@dataclass(frozen=True)
class ModelSpec:
    """One classifier on one or more maps as channels."""

    classifier: str
    maps: tuple[str, ...]

    @property
    def name(self) -> str:
        """As in tables: `svm/gm`."""
        return f"{self.classifier}/{'+'.join(self.maps)}"


@dataclass(frozen=True)
class GroupPlan:
    """One run of the group level. `samples`: all participants; `used`: those included, in row order of the arrays.

    `options`: those of --set, by classifier. `map_parameters`: those of each map's sidecar that are not null;
    `levels`: the values of categorical covariates. `resolutions` (mm) and `grids` are by map; a grid is named after
    the first map on it. `keep`: the covariates that ComBat preserves, None without ComBat; `sites`: with ComBat, their
    names by number; `ica`: if maps are fitted. `label_column`: the column of `used` that is the label, or None.
    """

    name: str
    classes: tuple[str, ...]
    cells: list[ModelSpec]
    options: dict[str, dict[str, Any]]
    samples: pd.DataFrame
    used: pd.DataFrame
    splits: list[Split]
    adjust: dict[str, tuple[str, ...]]
    keep: tuple[str, ...] | None
    sites: tuple[str, ...]
    smoothing: dict[str, float]
    forms: dict[str, str]
    atlases: dict[str, tuple[str, ...]]
    space: str
    map_parameters: dict[str, dict[str, Any]]
    levels: dict[str, tuple[str, ...]]
    resolutions: dict[str, float]
    grids: dict[str, str]
    sloppy: bool
    whole_grid: bool
    ica: plan_ica.IcaPlan | None
    label_column: str | None
    key: str


def plan_group(dataset: inputs.Dataset, settings: Settings) -> GroupPlan:
    """Plan and check the run. Raises UsageError, DataError or MissingInputError, each with a remedy."""
    group = settings.group
    for room in catalogue.KINDS:
        catalogue.check(room, getattr(settings.participant if room == "maps" else group, room))
    pretrained_weights.find_weights(settings)
    options = hyperparameters.classifier_options(settings)
    hyperparameters.explainer_options(settings)  # a wrong one stops the run here
    maps = sites.map_names(settings)
    parts = {name: catalogue.load("maps", name) for name in maps}
    atlases = {name: settings.shared.atlas or part.ATLASES for name, part in parts.items()}
    atlas.check(tuple(dict.fromkeys(itertools.chain(*atlases.values()))))
    frame = sites.participant_table(dataset, settings)
    labelled, label_column = cohort.read_classes(frame, settings), cohort.label_column(frame, settings)
    names = cohort.order_classes(labelled, settings)
    columns_by_map = {name: _columns(group.covariates, part.ADJUST_FOR) for name, part in parts.items()}
    covariate_columns = tuple(dict.fromkeys([*itertools.chain(*columns_by_map.values()), *group.combat_covariates]))
    needed = (*covariate_columns, *(["site"] if group.harmonize and "site" not in covariate_columns else []))
    everyone = collect_samples(dataset, frame, labelled, settings, maps, needed)
    if cohort.is_planning(settings):
        names, everyone = cohort.HALVES, cohort.assign_halves(everyone, settings)
    used = everyone[everyone["used"]].reset_index(drop=True)
    _check_people(used, everyone, names, maps)
    _check_target(group.explain_target, names)
    cohort.check_confounded(used, names, settings, label_column=label_column)
    cohort.check_covariates(used, covariate_columns)
    used, coded = covariates.encode_covariates(used, covariate_columns)
    used, site_names = cohort.number_sites(used, settings)
    adjust = {name: _select_coded(coded, columns) for name, columns in columns_by_map.items()}
    map_parameters = {name: available_maps.read_map_parameters(used[name][0][0]) for name in maps}
    ica = plan_ica.plan_ica(used, maps, settings)
    name = _analysis_name(settings)
    return GroupPlan(
        name=name,
        classes=names,
        cells=_cells(add_linear_classifiers(group.classifiers), maps, name, names),
        options=options,
        samples=everyone,
        used=used,
        splits=cohort.make_splits(used, cohort.fold_groups(used, frame, settings), settings),
        adjust=adjust,
        keep=tuple(itertools.chain(*(coded[name] for name in group.combat_covariates))) if group.harmonize else None,
        sites=site_names,
        smoothing={
            name: part.SMOOTHING_MM if group.smoothing is None else group.smoothing for name, part in parts.items()
        },
        forms={name: group.map_scaling or part.SCALING for name, part in parts.items()},
        atlases=atlases,
        space=settings.participant.output_space,
        map_parameters=map_parameters,
        levels={name: covariates.sorted_levels(used, name) for name, words in coded.items() if words != (name,)},
        resolutions={name: parameters["ResolutionMm"] for name, parameters in map_parameters.items()},
        grids=_grids(used, maps),
        sloppy=any(parameters["Sloppy"] for parameters in map_parameters.values()),
        whole_grid=group.no_crop,
        ica=ica,
        label_column=label_column,
        key=_key(used, maps, settings, ica.sha256 if ica else ""),
    )


def _select_coded(coded: dict[str, tuple[str, ...]], columns: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(itertools.chain(*(coded[column] for column in columns)))


def count_participants(analysis: GroupPlan) -> str:
    """A phrase: the number of participants in each class, and of those excluded."""
    counts = analysis.used.groupby("class")["participant_id"].nunique()
    classes = ", ".join(f"{counts[name]} {name}" for name in analysis.classes)
    return f"{classes}; {(~analysis.samples['used']).sum()} excluded"


def atlases_by_grid(analysis: GroupPlan) -> list[tuple[str, str]]:
    """Pairs of a grid and an atlas that is used for a map on that grid."""
    pairs = [(analysis.grids[map_name], name) for map_name, names in analysis.atlases.items() for name in names]
    return list(dict.fromkeys(pairs))


def parcellation(name: str, analysis: GroupPlan) -> str | None:
    """The atlas over whose regions a classifier of this map averages, if any."""
    for cell in analysis.cells:
        if name in cell.maps and catalogue.has("classifiers", cell.classifier, "ATLAS"):
            return str(catalogue.constant("classifiers", cell.classifier, "ATLAS"))
    return None


def collect_samples(
    dataset: inputs.Dataset,
    frame: pd.DataFrame,
    labelled: "pd.Series[str]",
    settings: Settings,
    maps: tuple[str, ...],
    needed: tuple[str, ...],
) -> pd.DataFrame:
    """All participants with their maps (`collect_samples`). Raises DataError for a missing column."""
    participants = (
        inputs.select(dataset, settings.select.participant_label) if settings.select.participant_label else None
    )
    site = settings.group.site
    if site is not None and site not in frame:
        raise DataError(f"--site: participants.tsv has no column {site}; it has {', '.join(map(str, frame.columns))}")
    known = {"age": "age", "sex": "sex", "site": site or "site"}
    known |= {name: name for name in needed if name not in (*known, "tiv")}
    for name, column in known.items():
        if name in needed and (column not in frame or frame[column].isna().all()):
            there = ", ".join(map(str, frame.columns))
            raise DataError(
                f"--covariates {name}: participants.tsv has no such column, or it has no value; columns: {there}"
            )
    for column in dict.fromkeys([str(cohort.label(settings)), *known.values()]):
        if column in frame:
            tables.warn_of_codes(frame[column].xs(labels.WHOLE, level=1), f"participants.tsv, {column}")
    images = sites.find_maps(settings, maps, set(participants) if participants else None)
    cohort.check_spellings(
        {*dataset.participants, *(participant for participant, _ in images)}, set(frame.index.unique(0))
    )
    collected = samples.collect_samples(
        frame,
        labelled,
        images,
        maps=maps,
        label=str(cohort.label(settings)),
        sessions=settings.group.sessions,
        covariates=known,
        excluded=read_exclusions(dataset, settings, described=[*images, *frame.index]),
        needed=needed,
        max_mean_fd=settings.group.max_mean_fd,
        min_minutes=settings.group.min_minutes,
    )
    return samples.limit_per_class(collected, most=settings.group.max_per_class, seed=settings.compute.random_seed)


def _grids(used: pd.DataFrame, maps: tuple[str, ...]) -> dict[str, str]:
    """For each map, the first map on the same grid."""
    first: dict[object, str] = {}
    return {name: first.setdefault(available_maps.read_grid(used[name][0][0]), name) for name in maps}


def _check_people(used: pd.DataFrame, everyone: pd.DataFrame, names: tuple[str, ...], maps: tuple[str, ...]) -> None:
    if len(names) < 2:
        raise UsageError(f"--classes: at least two classes are required, not {', '.join(names) or 'none'}")
    counts = used.groupby("class")["participant_id"].nunique()
    lacking = [name for name in names if counts.get(name, 0) < 2]
    if lacking:
        reasons = everyone.loc[~everyone["used"], "reason"].value_counts().head(3)
        why = "; ".join(f"{count} participants: {reason}" for reason, count in reasons.items())
        todo = "merge classes, or remove this one from --classes"
        if used.empty:
            wanted = " ".join(_participant_level_maps(maps))
            todo = f"compute the maps first with\n  pellucid BIDS_DIR OUT_DIR participant --maps {wanted}"
        few = f"class {lacking[0]} has {counts.get(lacking[0], 0)} participants with maps, too few for training"
        raise DataError(f"{few} ({why}); {todo}")


def _participant_level_maps(maps: tuple[str, ...]) -> list[str]:
    """The maps as known to the participant level: a map fitted later has no names yet."""
    return list(dict.fromkeys(name.partition("-")[0] if available_maps.is_fitted(name) else name for name in maps))


def _check_target(target: str, names: tuple[str, ...]) -> None:
    if target not in ("true", "predicted", *names):
        raise UsageError(f"--explain-target {target}: choose from true, predicted, {', '.join(names)}")


def _analysis_name(settings: Settings) -> str:
    name = settings.group.analysis or cohort.label(settings)
    return outputs.label(name or ("power" if cohort.is_planning(settings) else "analysis"))


def _cells(
    classifiers: tuple[str, ...], maps: tuple[str, ...], analysis: str, classes: tuple[str, ...]
) -> list[ModelSpec]:
    if nameless := [name for name in classes if not re.search("[0-9A-Za-z]", name)]:
        raise UsageError(
            f"class {nameless[0]!r} has no Latin letter or digit, which names of files require; name it with "
            f"--classes, as in --classes control={nameless[0]}"
        )
    cells = [ModelSpec(classifier, (name,)) for classifier in classifiers for name in maps]
    labels = [heatmap_label(analysis, cell.name, explained) for cell in cells for explained in classes]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise UsageError(f"two outputs would have the same name, desc-{twice[0]}; rename the classes or the analysis")
    return cells


def add_linear_classifiers(classifiers: tuple[str, ...]) -> tuple[str, ...]:
    """The classifiers, with a linear one added unless one of them is dense and linear."""
    dense = any(
        catalogue.has("classifiers", name, "decision_function") and not catalogue.has("classifiers", name, "SETS")
        for name in classifiers
    )
    return classifiers if dense else (*classifiers, LINEAR)


def heatmap_label(analysis: str, cell: str, explained: str) -> str:
    """The `desc` of a heatmap: analysis, cell and class explained."""
    return outputs.label(analysis) + outputs.camel(cell) + outputs.camel(explained)


def _columns(adjust_for: tuple[str, ...] | None, default: tuple[str, ...]) -> tuple[str, ...]:
    """The columns that a map is adjusted for."""
    if adjust_for is None:
        return default
    return () if adjust_for == ("none",) else adjust_for


def _key(used: pd.DataFrame, maps: tuple[str, ...], settings: Settings, networks: str) -> str:
    """Hash of everything that the models depend on; networks: hash of the networks matched with the ICA."""
    stamps = [arrays.stamp_file(path, settings.work_dir) for name in maps for files in used[name] for path in files]
    relevant_settings = [
        to_first_names(settings.group)
        # these change no trained model
        | dict.fromkeys(("permutations", "power", "inner_folds", "reference_map", "voxelwise_test")),
        settings.participant.sloppy,
        settings.compute.random_seed,
        settings.compute.omp_nthreads,
    ]
    table = used.drop(columns=list(maps)).to_csv(index=False)
    text = json.dumps([stamps, table, relevant_settings, networks, __version__], default=str, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
