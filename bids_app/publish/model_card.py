"""The facts of the model card."""

from importlib.metadata import version
from typing import Any

import pandas as pd

from bids_app import __version__
from bids_app.bids import inputs
from bids_app.planning import cohort
from bids_app.planning.disclosure import SMALL, suppress_small_count
from bids_app.planning.group import GroupPlan
from bids_app.planning.permutations import count_labellings
from bids_app.publish.sharing import suppress_small_groups
from bids_app.report import audit as audits
from bids_app.report import methods
from bids_app.report.group import score_interval
from bids_app.report.page import RESEARCH_USE, number
from bids_app.results.verdicts import Judgement
from bids_app.settings import Settings
from bids_app.training.covariate_ranges import compute_ranges

LIBRARIES = ("antspyx", "nilearn", "numpy", "scikit-learn", "torch")
FIXED: dict[str, str | list[str]] = {
    "nobody": "Maps are computed; nobody has to judge them.",
    "predictors": "All voxels of a map in the template's tissue; none was chosen by these people.",
    "updating": "None.",
    "external": "None in this run.",
    "imbalance": "Classes weigh the same in training, and chance is judged by balanced accuracy. Probabilities are "
    "those of a population with classes of equal size; they are not recalibrated to a prevalence.",
    "output": "A probability for each class; called is the class with the largest. No threshold was tuned.",
    "applying": "pellucid BIDS_DIR OUT_DIR participant --model DIR, then group --model DIR: the mean probability over "
    "the cell's models.",
    "poor": "Maps that were made in another way or lie on another grid are refused; people outside the training "
    "people's ages, scanners or maps are marked; who lacks a covariate that is adjusted for is left out, by name.",
    "privacy": "Models name nobody, and tell ages to five years; pictures show only what lies in the brain mask.",
    "sharing": "Models, tables of people, and pages are private; share/ holds aggregates.",
    "disjoint": "People, and whatever --groups joins: no image of anybody is on both sides.",
    "measures": methods.MEASURES,
}
LIMITS = (
    "A heatmap shows what a model used, not where a disease is.",
    "The people are those of one data set: how a model does on others is not known from this.",
    "Intervals leave out of account that people share training sets.",
)


def model_card_facts(
    analysis: GroupPlan, judgement: Judgement, settings: Settings, *, shared: bool = False
) -> dict[str, str | list[str]]:
    """The facts by their names in checklists.toml; if `shared`, without numbers of small groups."""
    audit, count = (suppress_small_groups(judgement.audit), suppress_small_count) if shared else (judgement.audit, int)
    used, everyone = analysis.used, analysis.samples
    people = used.groupby("class")["participant_id"].nunique()
    known = {} if shared else compute_ranges(used, ())  # the oldest may be one person
    left = everyone[~everyone["used"]].drop_duplicates("participant_id")
    # whoever excludes people may write anything
    counts = left["reason"].str.replace("^excluded: .*", "excluded by hand", regex=True).value_counts()
    # of those who are few, reasons may tell of one person
    reasons = "" if shared or left.empty else f": {'; '.join(f'{n} {reason}' for reason, n in counts.items())}"
    split = cohort.describe_splits(settings)
    site = _describe_sites(analysis)
    rows = [row for row in audit["by_class"] if row["by_class"] != SMALL]
    shown = audits.shown({**audit, "by_class": rows})
    facts: dict[str, str | list[str]] = {
        "use": f"{RESEARCH_USE} It was trained to tell {', '.join(analysis.classes)} apart; whether it does, the "
        "verdict says.",
        "goal": "Development, with internal validation on people held out.",
        "data": f"BIDS data set {inputs.open_dataset(settings.bids_dir, validate=False).name}.",
        "sites": f"{used['site'].nunique()} sites." if used["site"].notna().any() else [],
        "maps": [
            f"{name}: {methods.about('maps', name)} {_describe_parameters(parameters)}"
            for name, parameters in analysis.map_parameters.items()
        ],
        "label": f"Column {cohort.label(settings)}: {_describe_classes(analysis, settings)}.",
        "size": f"As many as there were: no size was planned here. {_critical_scores(judgement.scores)}".strip(),
        "missing": "For classifiers of maps nothing was filled in: who lacks images, class or an adjusted covariate "
        f"was left out{reasons}.",
        "split": f"{split} All images of one person lie on one side.",
        "preparation": methods.preparation(analysis.smoothing, analysis.adjust, analysis.forms, analysis.keep),
        "models": [f"{cell.name}: {methods.about('classifiers', cell.classifier)}" for cell in analysis.cells],
        "training": f"{len(analysis.splits)} models a cell, one a fold and repeat; no augmentation. Networks: AdamW, "
        "cosine rate, class-weighted cross entropy; the last epoch is kept.",
        "selection": _describe_selection(settings),
        "seeds": f"Seed {settings.compute.random_seed}; that of each model is derived from it with cell, repeat and "
        f"fold. Threads a process: {settings.compute.omp_nthreads}; device: {settings.compute.device}.",
        "clusters": site,
        "differ": site,
        "uncertainty": _describe_chance(analysis, settings, judgement.audit),
        "code": f"Pellucid {__version__}, Apache-2.0, with "
        f"{', '.join(f'{name} {version(name)}' for name in LIBRARIES)}.",
        "flow": f"{count(int(people.sum()))} used, {count(len(left))} left out{reasons}.",
        "counts": ", ".join(f"{count(int(people[name]))} {name}" for name in analysis.classes) + ".",
        "people": [*_describe_ages(known), *(f"{row['what']}: {row['by class']}" for row in shown["by_class"])],
        "scores": [_describe_scores(row) for row in judgement.scores.to_dict("records")],
        "within": ["; ".join(f"{key} {value}" for key, value in row.items()) for row in shown["within_sites"]],
        "verdicts": [verdict.text for verdict in judgement.verdicts.values()],
        "limits": [*LIMITS, *shown["confounded"]],  # who looks like whom stands in the audit, which is private
        "heatmaps": [f"{name}: {methods.about('explainers', name)}" for name in settings.group.explainers],
    }
    return FIXED | facts


def _describe_ages(known: dict[str, Any]) -> list[str]:
    return [f"ages {known['age'][0]} to {known['age'][1]} years (to five years)"] if "age" in known else []


def _describe_sites(analysis: GroupPlan) -> str | list[str]:
    """Whether people held out are of sites that trained; nothing where sites are not known of all."""
    site = analysis.used["site"]
    if site.isna().any():
        return []
    new = [set(site.iloc[list(split.test)]) - set(site.iloc[list(split.train)]) for split in analysis.splits]
    if not any(new):
        return "People held out are of sites that also trained."
    return (
        "In every fold, people held out are of sites that did not train."
        if all(new)
        else ("In some folds people held out are of sites that did not train.")
    )


def _describe_chance(analysis: GroupPlan, settings: Settings, audit: dict[str, Any]) -> str | list[str]:
    permutations = {cell.name: count_labellings(cell, settings) for cell in analysis.cells}
    return methods.chance(permutations, list(audit["baselines"]), audit["baselines_left_out"]) or []


def _describe_selection(settings: Settings) -> str:
    if settings.group.inner_folds is None:
        return "None was selected: every cell that was run is reported."
    inner = f"by {settings.group.inner_folds} inner folds of its training people"
    return f"Every cell is reported; in each fold one was also chosen {inner} (row `chosen` of the scores)."


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
    return f"Least balanced accuracy with p of 0.05 or less: {critical}." if critical else ""


def _describe_scores(row: dict[Any, Any]) -> str:
    wanted = {"balanced_accuracy": "balanced accuracy", "auroc": "AUROC", "sensitivity": "sensitivity"}
    wanted |= {"specificity": "specificity", "brier": "Brier score", "calibration_slope": "calibration slope"}
    values = [f"{words} {score_interval(row, name)}" for name, words in wanted.items() if name in row]
    return f"{row['cell']}, repeat {row['repeat']}: {', '.join(values)}; p {number(row['p_corrected'])}"
