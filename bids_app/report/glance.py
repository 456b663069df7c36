"""The results of a group analysis at a glance: of each model a badge, one number, and where it lies beside chance."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bids_app import catalogue
from bids_app.evaluation.verdict import BETTER, CHANCE, NO_BETTER, UNJUDGED, Verdict, class_words

BADGES = {
    BETTER: "finding",
    NO_BETTER: "no finding: no better than a confound",
    CHANCE: "no finding: not above chance",
    UNJUDGED: "not judged",
}
NO_IMAGE = "comparison without images"


def summarise_models(
    scores: pd.DataFrame, verdicts: Mapping[str, Verdict], classes: Sequence[str], panels: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What the top of the report shows: rows of models and of classifiers that use no image, and the map of a finding.

    scores: those of scores.tsv, of which the first repeat counts; panels: those of `group`'s heatmaps. `low`, `value`
    and `high` of a row are percentages of the width of its plot, which shows balanced accuracy from 0 to 1.
    """
    first = scores[scores["repeat"] == scores["repeat"].min()].dropna(subset=["balanced_accuracy"])
    rows = [_row(row, verdicts.get(str(row["cell"]))) for row in first.to_dict("records")]
    chance = 1 / len(classes)
    return {
        "rows": sorted(rows, key=lambda row: row["kind"] == NO_IMAGE),
        "classes": class_words(classes),
        "chance": 100 * chance,
        "chance_text": f"{chance:.2f}",
        "map": next((panel for panel in panels if panel["cell"] in verdicts and verdicts[panel["cell"]].claim), None),
    }


def _row(row: Mapping[Any, Any], verdict: Verdict | None) -> dict[str, Any]:
    low, value, high = (float(row[f"balanced_accuracy{end}"]) for end in ("_low", "", "_high"))
    return {
        "model": str(row["cell"]),
        "title": "" if verdict is None else _describe_model(str(row["cell"])),
        "kind": NO_IMAGE if verdict is None else verdict.kind,
        "badge": NO_IMAGE if verdict is None else BADGES[verdict.kind],
        "text": f"{value:.2f} ({low:.2f} to {high:.2f})",
        "low": 100 * low,
        "value": 100 * value,
        "high": 100 * high,
    }


def _describe_model(cell: str) -> str:
    classifier, _, maps = cell.partition("/")
    if not maps:
        return ""  # the one selected in each fold
    titles = [catalogue.title("maps", name) for name in maps.split("+")]
    lowered = (title if title[:2].isupper() else title[0].lower() + title[1:] for title in dict.fromkeys(titles))
    return "; ".join([catalogue.title("classifiers", classifier), *lowered])
