"""How classes differ in potential confounds: site, scanner, sex, age, motion, brain size, exclusions."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

CATEGORIES = {"site": "site", "sex": "sex", "source": "preprocessing source"}
NUMBERS = {"age": "age", "mean_fd": "motion (mean FD)", "minutes": "BOLD duration (minutes)", "tiv": "brain size (TIV)"}
UNEVEN_P = 0.05
MAX_CATEGORIES = 10


def audit_classes(
    people: pd.DataFrame, everyone: pd.DataFrame, classes: Sequence[str], *, label: str | None = None
) -> list[dict[str, Any]]:
    """Return one row per known variable: how it differs between classes, with a test against chance.

    The column `label`, which holds the classes themselves, has no row. people: one row per included participant, with
    `class` and the columns above; everyone: including those left out (`used`). Categories: Fisher's exact test (2 x 2)
    or chi squared, effect: Cramer's V; numbers: Kruskal-Wallis, effect: epsilon squared. `lacking`: participants
    without a value. p is not corrected for the number of rows: a row is a warning, not a finding.
    """
    rows = []
    for column, what in {**CATEGORIES, **NUMBERS}.items():
        if column == label or column not in people or people[column].isna().all():
            continue
        known = people[people[column].notna()]
        test = (
            _test_categories(known, column, classes) if column in CATEGORIES else _test_numbers(known, column, classes)
        )
        rows.append({"what": what, "people": len(known), "lacking": len(people) - len(known), **test})
    labelled = everyone[everyone["class"].notna()].drop_duplicates("participant_id")
    if not labelled["used"].all():
        spelled = labelled.assign(used=np.where(labelled["used"], "included", "excluded"))
        rows.append(
            {"what": "exclusion", "people": len(labelled), "lacking": 0, **_test_categories(spelled, "used", classes)}
        )
    return [{**row, "uneven": row["p"] is not None and row["p"] < UNEVEN_P} for row in rows]


def list_single_site_classes(people: pd.DataFrame, classes: Sequence[str], *, label: str | None = None) -> list[str]:
    """Return a sentence for each class that occurs at one site only, so that class and site are confounded.

    Empty for a single site, unknown sites, or where the site is the `label` itself.
    """
    if label == "site" or "site" not in people or people["site"].nunique() < 2:
        return []
    sentences = []
    for name in classes:
        where = sorted(people.loc[people["class"] == name, "site"].dropna().astype(str).unique())
        if len(where) == 1:
            sentences.append(f"all participants of class {name} are from site {where[0]}")
    return sentences


def predict_class_from_covariate(values: "pd.Series[Any]", classes: "pd.Series[str]") -> float:
    """Return how well a covariate alone states the class: the balanced accuracy of the best rule in these participants.

    values, classes: a row per participant. Up to ten values, or words, are categories: each stands for the class in
    which it is most frequent. Other numbers: the best threshold between a class and the others, for the class for which
    it is best. 0.5 (categories: 1 / classes) where the covariate has nothing to do with the class; in few participants
    somewhat more.
    """
    known = values.notna()
    values, classes = values[known], classes[known]
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.isna().any() or numbers.nunique() <= MAX_CATEGORIES:
        shares = pd.crosstab(values.astype(str), classes, normalize="columns")
        return float(shares.max(axis=1).sum() / shares.shape[1])
    steps = []
    for name in classes.unique():
        inside, others = np.sort(numbers[classes == name]), np.sort(numbers[classes != name])
        at = np.unique(numbers)
        below = [np.searchsorted(side, at, side="right") / len(side) for side in (inside, others)]
        steps.append(np.abs(below[0] - below[1]).max())
    return float(0.5 + max(steps) / 2)


def _test_categories(known: pd.DataFrame, column: str, classes: Sequence[str]) -> dict[str, Any]:
    counts = pd.crosstab(known[column].astype(str), known["class"])
    counts = counts[[name for name in classes if name in counts]]
    distribution = {
        "by_class": {
            str(name): {str(k): int(v) for k, v in column_counts.items()} for name, column_counts in counts.items()
        }
    }
    if min(counts.shape) < 2:
        return {**distribution, "test": "none (one value)", "p": None, "effect": 0.0}
    chi2 = stats.chi2_contingency(counts, correction=False)
    effect = math.sqrt(chi2.statistic / (counts.to_numpy().sum() * (min(counts.shape) - 1)))
    exact = counts.shape == (2, 2)
    p = stats.fisher_exact(counts.to_numpy()).pvalue if exact else chi2.pvalue
    return {**distribution, "test": "Fisher's exact" if exact else "chi-squared", "p": float(p), "effect": effect}


def _test_numbers(known: pd.DataFrame, column: str, classes: Sequence[str]) -> dict[str, Any]:
    values = {name: known.loc[known["class"] == name, column].to_numpy(float) for name in classes}
    distribution = {
        "by_class": {
            name: {
                "mean": float(class_values.mean()) if class_values.size else None,
                "sd": float(class_values.std(ddof=1)) if class_values.size > 1 else None,
            }
            for name, class_values in values.items()
        }
    }
    groups = [class_values for class_values in values.values() if class_values.size]
    everything = np.concatenate(groups)
    if len(groups) < 2 or np.ptp(everything) == 0:
        return {**distribution, "test": "none (one value)", "p": None, "effect": 0.0}
    test = stats.kruskal(*groups)
    effect = float(test.statistic) / (len(everything) - 1)
    return {**distribution, "test": "Kruskal-Wallis", "p": float(test.pvalue), "effect": effect}
