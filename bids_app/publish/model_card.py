"""The facts of the model card."""

from importlib.metadata import version
from typing import Any

import pandas as pd

from bids_app import __version__
from bids_app.planning import cohort, sites
from bids_app.planning.disclosure import SMALL, suppress_small_count
from bids_app.planning.group import GroupPlan
from bids_app.planning.permutations import count_labellings
from bids_app.publish.sharing import suppress_small_groups
from bids_app.report.audit import format_audit
from bids_app.report.group import format_score
from bids_app.report.methods import MEASURES, describe_part, describe_permutations, describe_preparation
from bids_app.report.page import RESEARCH_USE, format_number
from bids_app.results.verdicts import Judgement
from bids_app.settings import Settings
from bids_app.training.covariate_ranges import compute_ranges

LIBRARIES = ("antspyx", "nilearn", "numpy", "scikit-learn", "torch")
FIXED: dict[str, str | list[str]] = {
    "nobody": "Not applicable: the maps are computed without human judgement.",
    "predictors": (
        "All voxels of a map in the corresponding tissue of the template; no voxel was selected using "
        "these participants."
    ),
    "updating": "None.",
    "external": "None in this run.",
    "imbalance": (
        "Classes have equal weight in training, and chance is judged by balanced accuracy. "
        "Probabilities refer to a population with classes of equal size; they are not recalibrated to "
        "a prevalence."
    ),
    "output": (
        "A probability for each class; the predicted class is the one with the largest. No threshold was tuned."
    ),
    "applying": (
        "pellucid BIDS_DIR OUT_DIR participant --model DIR, then group --model DIR: the mean "
        "probability over the fold models."
    ),
    "poor": (
        "Maps computed with other parameters or on another grid are rejected. Participants outside the "
        "range of ages, scanners or maps of the training set are flagged. Participants without a value of a "
        "covariate are excluded, and listed."
    ),
    "privacy": (
        "Models contain no participant identifiers, and ages only in steps of five years; figures show "
        "only the inside of the brain mask."
    ),
    "sharing": "Models, tables of participants and pages are private; share/ contains aggregates.",
    "disjoint": "Participants and --groups groups: no participant has images on both sides of a split.",
    "measures": MEASURES,
}
LIMITS = (
    "A heatmap shows what a model used, not where a disease is.",
    "The participants are from one data set: performance in other data sets is unknown.",
    "Intervals do not account for participants sharing training sets.",
)


def model_card_facts(
    analysis: GroupPlan, judgement: Judgement, settings: Settings, *, shared: bool = False
) -> dict[str, str | list[str]]:
    """The facts, named as in checklists.toml; if `shared`, without numbers of small groups."""
    audit, count = (suppress_small_groups(judgement.audit), suppress_small_count) if shared else (judgement.audit, int)
    used, everyone = analysis.used, analysis.samples
    class_counts = used.groupby("class")["participant_id"].nunique()
    known = {} if shared else compute_ranges(used, ())  # the maximum may belong to a single participant
    left = everyone[~everyone["used"]].drop_duplicates("participant_id")
    # users may write anything into an exclusion list
    counts = left["reason"].str.replace("^excluded: .*", "excluded manually", regex=True).value_counts()
    # in small groups, reasons may identify a participant
    reasons = "" if shared or left.empty else f": {'; '.join(f'{n} {reason}' for reason, n in counts.items())}"
    site = _describe_sites(analysis)
    rows = [row for row in audit["by_class"] if row["by_class"] != SMALL]
    shown = format_audit({**audit, "by_class": rows})
    facts: dict[str, str | list[str]] = {
        "use": (
            f"{RESEARCH_USE} The models were trained to distinguish the classes {', '.join(analysis.classes)}; "
            "the verdict states whether they do."
        ),
        "goal": "Development, with internal validation in held-out participants.",
        "data": sites.describe_dataset(settings),
        "sites": f"{used['site'].nunique()} sites." if used["site"].notna().any() else [],
        "maps": [
            f"{name}: {describe_part('maps', name)} {_describe_parameters(parameters)}"
            for name, parameters in analysis.map_parameters.items()
        ],
        "label": f"Column {cohort.label(settings)}: {_describe_classes(analysis, settings)}.",
        "size": (
            f"All available participants; no sample size was planned here. {_critical_scores(judgement.scores)}"
        ).strip(),
        "missing": (
            "Nothing was imputed for classifiers of maps: participants without images, class or a "
            f"covariate were excluded{reasons}."
        ),
        "clusters": site,
        "differ": site,
        "flow": f"{count(int(class_counts.sum()))} included, {count(len(left))} excluded{reasons}.",
        "counts": ", ".join(f"{count(int(class_counts[name]))} {name}" for name in analysis.classes) + ".",
        "people": [*_describe_ages(known), *(f"{row['variable']}: {row['by class']}" for row in shown["by_class"])],
        "scores": [_describe_scores(row) for row in judgement.scores.to_dict("records")],
        "within": [
            "; ".join(value if key == "model" else f"{key} {value}" for key, value in row.items())
            for row in shown["within_sites"]
        ],
        "verdicts": [verdict.text for verdict in judgement.verdicts.values()],
        "limits": [*LIMITS, *shown["confounded"]],  # the pairs are listed in the audit, which is private
    }
    return FIXED | facts | _training_facts(analysis, judgement, settings)


def _training_facts(analysis: GroupPlan, judgement: Judgement, settings: Settings) -> dict[str, str | list[str]]:
    """How the models were trained and evaluated."""
    return {
        "split": f"{cohort.describe_splits(settings)} All images of one participant are on the same side of a split.",
        "preparation": describe_preparation(analysis.smoothing, analysis.adjust, analysis.forms, analysis.keep),
        "models": [f"{cell.name}: {describe_part('classifiers', cell.classifier)}" for cell in analysis.cells],
        "training": (
            f"{len(analysis.splits)} fold models per model, one per fold and repeat; no augmentation. "
            "Networks: AdamW, cosine learning-rate schedule, class-weighted cross-entropy; the last "
            "epoch is kept."
        ),
        "selection": _describe_selection(settings),
        "seeds": (
            f"Seed {settings.compute.random_seed}; the seed of each fold model is derived from it and from "
            f"model, repeat and fold. Threads per process: {settings.compute.omp_nthreads}; device: "
            f"{settings.compute.device}."
        ),
        "uncertainty": _describe_chance(analysis, settings, judgement.audit),
        "code": f"Pellucid {__version__}, Apache-2.0, with "
        f"{', '.join(f'{name} {version(name)}' for name in LIBRARIES)}.",
        "heatmaps": [f"{name}: {describe_part('explainers', name)}" for name in settings.group.explainers],
    }


def _describe_ages(known: dict[str, Any]) -> list[str]:
    return [f"ages {known['age'][0]} to {known['age'][1]} years (in steps of five years)"] if "age" in known else []


def _describe_sites(analysis: GroupPlan) -> str | list[str]:
    """Whether held-out participants are from sites in the training set; empty unless all sites are known."""
    site = analysis.used["site"]
    if site.isna().any():
        return []
    new = [set(site.iloc[list(split.test)]) - set(site.iloc[list(split.train)]) for split in analysis.splits]
    if not any(new):
        return "All held-out participants are from sites that are also in the training set."
    return (
        "In every fold, held-out participants are from sites that are not in the training set."
        if all(new)
        else "In some folds, held-out participants are from sites that are not in the training set."
    )


def _describe_chance(analysis: GroupPlan, settings: Settings, audit: dict[str, Any]) -> str | list[str]:
    permutations = {cell.name: count_labellings(cell, settings) for cell in analysis.cells}
    return describe_permutations(permutations, list(audit["baselines"]), audit["baselines_omitted"]) or []


def _describe_selection(settings: Settings) -> str:
    if settings.group.inner_folds is None:
        return "No model was selected: every model that was run is reported."
    inner = f"by {settings.group.inner_folds} inner folds of its training participants"
    return f"Every model is reported; in each fold, one was also selected {inner} (row `chosen` of the scores)."


def _describe_parameters(parameters: dict[str, Any]) -> str:
    return f"({', '.join(f'{key} {_value_text(value)}' for key, value in parameters.items() if key != 'Map')})"


def _value_text(value: Any) -> str:
    return " to ".join(map(str, value)) if isinstance(value, list) else str(value)


def _describe_classes(analysis: GroupPlan, settings: Settings) -> str:
    values = settings.group.classes or {name: (name,) for name in analysis.classes}
    return "; ".join(f"{name} = {', '.join(words)}" for name, words in values.items())


def _critical_scores(scores: pd.DataFrame) -> str:
    rows = scores[scores["critical_score"].notna()]
    critical = ", ".join(f"{row['cell']} {row['critical_score']:.2f}" for row in rows.to_dict("records"))
    return f"Lowest balanced accuracy with p of 0.05 or less: {critical}." if critical else ""


def _describe_scores(row: dict[Any, Any]) -> str:
    wanted = {"balanced_accuracy": "balanced accuracy", "auroc": "AUROC", "sensitivity": "sensitivity"}
    wanted |= {"specificity": "specificity", "brier": "Brier score", "calibration_slope": "calibration slope"}
    values = [f"{words} {format_score(row, name)}" for name, words in wanted.items() if name in row]
    return f"{row['cell']}, repeat {row['repeat']}: {', '.join(values)}; p {format_number(row['p_corrected'])}"
