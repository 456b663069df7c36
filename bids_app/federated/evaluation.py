"""Scores, permutation tests, calibration and the confound audit, from what sites send of held-out participants."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from bids_app.classifiers._slope import HIGHEST, LOWEST
from bids_app.evaluation import audit
from bids_app.federated.pipeline import MapQuestions
from bids_app.federated.protocol import Answers, Floats, Request, Transport, sum_answers
from bids_app.federated.questions import SEXES, VARIABLES
from bids_app.training.scores import balanced_accuracy_interval, wilson_interval

SLOPES_AT_ONCE = 65
UNEVEN_P = audit.UNEVEN_P


@dataclass(frozen=True, eq=False)
class RegionTest:
    """t (regions,) of the class difference in region means, and p (regions,) corrected by the largest |t|."""

    t: Floats
    p: Floats
    null: Floats


def score_sites(questions: MapQuestions) -> dict[str, Any]:
    """The scores of a classifier over the held-out participants of all sites that send scores.

    `balanced_accuracy` of the summed confusion matrix, with its interval; `auroc` over pairs within a fold and site,
    the sum of U over the sum of pairs; `silent`: the sites that sent none, with the reason. NaN if none did.
    """
    answers = questions.ask("scores", "scale")
    silent = {name: answer.declined for name, answer in answers.items() if answer.declined}
    if len(silent) == len(answers):
        unknown = ("balanced_accuracy", "balanced_accuracy_low", "balanced_accuracy_high", "auroc")
        return {"n": 0, **dict.fromkeys(unknown, math.nan), "silent": silent}
    confusion = sum_answers(answers, "confusion").astype(int)
    counts = [(int(confusion[label, label]), int(confusion[label].sum())) for label in (0, 1)]
    value, (low, high) = balanced_accuracy_interval(counts)
    row: dict[str, Any] = {"n": int(confusion.sum()), "balanced_accuracy": value}
    row |= {"balanced_accuracy_low": low, "balanced_accuracy_high": high}
    for name, (right, n) in zip(("specificity", "sensitivity"), counts, strict=True):
        row |= {
            name: right / n,
            f"{name}_low": wilson_interval(right, n)[0],
            f"{name}_high": wilson_interval(right, n)[1],
        }
    return row | {"auroc": float(sum_answers(answers, "order") / sum_answers(answers, "pairs")), "silent": silent}


def score_labellings(questions: MapQuestions) -> Floats:
    """The balanced accuracy (labellings,) under each labelling; empty if no site sends scores."""
    answers = questions.ask("permuted_scores", "scale")
    if all(answer.declined for answer in answers.values()):
        return np.zeros(0)
    confusion = sum_answers(answers, "confusion")
    recalls = [confusion[:, label, label] / confusion[:, label].sum(axis=1) for label in (0, 1)]
    return np.asarray(np.mean(recalls, axis=0))


def fit_slope(questions: MapQuestions, counts: NDArray[np.int64]) -> float:
    """The slope of `classifiers._slope.fit_slope`, from the decisions on held-out participants of all folds.

    counts (2,): participants by class, at the sites that send scores. Four rounds of many slopes replace a search.
    """
    low, high = math.log(LOWEST), math.log(HIGHEST)

    def losses(grid: Floats) -> Floats:
        answers = questions.ask("calibration_loss", "scale", {"slopes": np.exp(grid), "counts": counts})
        return sum_answers(answers, "loss")

    for _ in range(4):
        grid = np.linspace(low, high, SLOPES_AT_ONCE)
        best, step = int(np.argmin(losses(grid))), grid[1] - grid[0]
        low, high = max(grid[best] - step, math.log(LOWEST)), min(grid[best] + step, math.log(HIGHEST))
    return math.exp((low + high) / 2)


def compare_regions(questions: MapQuestions, counts: NDArray[np.int64]) -> RegionTest | None:
    """Student's t of region means of all participants, with labels permuted within sites; None if no site answers.

    counts (2,): by class, at the sites that answer. One round.
    """
    answers = questions.ask("region_statistics", "scale")
    if all(answer.declined for answer in answers.values()):
        return None
    total, squares = sum_answers(answers, "sum"), sum_answers(answers, "squares")
    sums = np.vstack([sum_answers(answers, "class_sum"), sum_answers(answers, "permuted_sums")])
    t = _student(sums, total, squares, counts)
    null = np.abs(t[1:]).max(axis=1)
    reached = (null[:, None] >= np.abs(t[0]) * (1 - 1e-9)).sum(axis=0)
    return RegionTest(t[0], (1 + reached) / (1 + len(null)), null)


def _student(sums: Floats, total: Floats, squares: Floats, counts: NDArray[np.int64]) -> Floats:
    """t (labellings, regions) from sums over the second class (labellings, regions), total sums and squares."""
    negatives, positives = (int(count) for count in counts)
    people = negatives + positives
    means = sums / positives, (total - sums) / negatives
    within = squares - positives * means[0] ** 2 - negatives * means[1] ** 2
    error = np.sqrt(np.maximum(within, 0) / (people - 2) * (1 / positives + 1 / negatives))
    difference = means[0] - means[1]
    return np.asarray(np.divide(difference, error, out=np.zeros_like(difference), where=error > 0))


def audit_confounds(
    transport: Transport, classes: Sequence[str], per_class: Mapping[str, Sequence[int]]
) -> list[dict[str, Any]]:
    """How classes differ in site, sex, age, motion, BOLD duration and brain size: rows as of `audit_classes`.

    per_class: participants by class, by site. Categories need counts alone, and are tested as in a pooled analysis.
    Numbers are tested by analysis of variance, since ranks (the pooled Kruskal-Wallis test) are no sums; effect:
    eta squared.
    """
    answers = transport.ask_all(Request("audit_sums"))
    if all(answer.declined for answer in answers.values()):
        return []
    sex = dict(zip(SEXES, sum_answers(answers, "sex").astype(int).tolist(), strict=True))
    total = np.sum(list(per_class.values()))
    rows = [*_audit_categories("site", per_class, classes), *_audit_categories("sex", sex, classes)]
    rows += _audit_numbers(transport, answers, classes)
    return [{**row, "lacking": int(total) - row["people"]} for row in rows]


def _audit_categories(column: str, counts: Mapping[str, Sequence[int]], classes: Sequence[str]) -> list[dict[str, Any]]:
    """The row of a category, tested by the pooled function on a table with the same counts by class."""
    records = [
        (value, name)
        for value, by_class in counts.items()
        for name, count in zip(classes, by_class, strict=True)
        for _ in range(count)
    ]
    people = pd.DataFrame(records, columns=[column, "class"]).assign(used=True)
    people["participant_id"] = people.index.astype(str)
    return audit.audit_classes(people, people, classes) if len(people) else []


def _audit_numbers(transport: Transport, answers: Answers, classes: Sequence[str]) -> list[dict[str, Any]]:
    people, sums = sum_answers(answers, "people"), sum_answers(answers, "sum")
    mean = np.divide(sums, people, out=np.zeros_like(sums), where=people > 0)
    squares = sum_answers(transport.ask_all(Request("audit_squares", arrays={"mean": mean})), "squares")
    rows = []
    for index, name in enumerate(VARIABLES):
        n = people[index]
        if n.min() < 2:
            continue
        grand = sums[index].sum() / n.sum()
        between, within = (n * (mean[index] - grand) ** 2).sum(), squares[index].sum()
        varies = between + within > 0
        ratio = between / (within / (n.sum() - 2)) if within > 0 else math.inf
        p = float(stats.f.sf(ratio, 1, n.sum() - 2)) if varies else None
        by_class = {
            label: {"mean": float(mean[index, i]), "sd": math.sqrt(squares[index, i] / (n[i] - 1))}
            for i, label in enumerate(classes)
        }
        row: dict[str, Any] = {"what": audit.NUMBERS[name], "people": int(n.sum()), "by_class": by_class}
        row |= {"test": "analysis of variance" if varies else "none (one value)", "p": p}
        row |= {"effect": float(between / (between + within)) if varies else 0.0}
        rows.append(row | {"uneven": p is not None and p < UNEVEN_P})
    return rows
