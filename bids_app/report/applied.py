"""The report of a trained analysis applied to people: what the models are worth, then what they say of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bids_app.evaluation import external
from bids_app.report import curves, people
from bids_app.report.group import MORE, score_interval
from bids_app.report.page import number, render, save

NO_LABELS = "No true classes were given (--label), so nothing can be said of how well the models do on these people."
NOT_SCORED = "Not every class has people here who did not train the models, so no score is given."
NOT_CHECKED = (
    "Whether any of these people trained the models could not be checked: no --training-list was given. A model knows "
    "whom it was trained on, so what it says of them is no prediction."
)
TRAINED = (
    "{count} samples are of people on the training list: they were predicted only by models that had held them out, "
    "and count in no score below."
)


@dataclass(frozen=True)
class Cell:
    """What is known of a cell from its training: its verdict, whether that is a claim, how many models and people, the
    share of each class among them, and which of age and scanner could not be compared here."""

    verdict: str
    claim: bool
    models: int
    prevalence: Mapping[str, float]
    people: int
    unknown: Sequence[str]


def write(
    path: Path,
    *,
    analysis: str,
    cells: Mapping[str, Cell],
    classes: Sequence[str],
    samples: pd.DataFrame,
    predictions: pd.DataFrame,
    scores: pd.DataFrame | None,
    labelled: bool,
    checked: bool,
    settings_toml: str,
    version: str = "",
) -> None:
    """Write the page, and pictures of the scores into `figures/` beside it.

    predictions: participant_id, session_id, cell, models, predicted, probability_<class>, true, trained (yes, no, not
    checked), outside (words); scores: rows of the score table with `p_holm`, or None; labelled: whether any true class
    is known; checked: whether there was a training list.
    """
    folder = path.parent / "figures"
    if scores is not None:
        known = predictions[predictions["true"].notna() & (predictions["trained"] != "yes")].assign(repeat=1, fold=1)
        curves.roc(known, classes, folder / "roc.png", note="One model for everybody: the mean over a cell's models.")
        curves.confusion(known, classes, folder / "confusion.png", note="People; in brackets the share of their class.")
    page = render(
        "applied.html",
        title=f"{analysis} - Pellucid",
        analysis=analysis,
        findings=_findings(scores, classes, labelled=labelled, checked=checked),
        warnings=_warnings(predictions, checked=checked),
        cells=[_cell(name, its, predictions, classes) for name, its in cells.items()],
        left_out=people.left_out(samples),
        scores=[] if scores is None else [_scores(row) for row in scores.to_dict("records")],
        settings=settings_toml,
        methods=methods(cells, checked=checked, version=version),
        version=version,
    )
    save(path, page)


def methods(cells: Mapping[str, Cell], *, checked: bool, version: str) -> str:
    """How the models were applied, as paragraphs."""
    told = "; ".join(f"{name}: {its.models} models of {its.people} people" for name, its in cells.items())
    return "\n\n".join(
        [
            f"Trained models ({told}) were applied with Pellucid {version}, to maps made with the parameters of their "
            "training maps. Smoothing, adjustment, harmonisation and scaling were those fitted on the training people. "
            "The probability of a class is the mean over a cell's models; it is that of a population in which the "
            "classes are of equal size.",
            "People who stand in the training list were asked about only of models that had held them out, and count "
            "in no score."
            if checked
            else "Whether anybody trained the models was not checked.",
            "People are marked who lie outside the training people's age (told to five years) or scanners, or whose "
            "map is further from the training mean than that of anybody whom the models had not seen in training "
            "(mean squared z over voxels).",
            "Where true classes were given: balanced accuracy as the mean of the classes' shares, its interval by "
            "variance estimates recovery (Zou & Donner 2008) from intervals of the shares (Wilson 1927); p by "
            "exchanging the labels of these people 1000 times, the predictions fixed (Phipson & Smyth 2010), "
            "corrected over cells after Holm (1979).",
        ]
    )


def _findings(scores: pd.DataFrame | None, classes: Sequence[str], *, labelled: bool, checked: bool) -> list[str]:
    if scores is None:
        return [NOT_SCORED if labelled else NO_LABELS]
    return [external.describe_performance(row, classes, checked=checked) for _, row in scores.iterrows()]


def _warnings(predictions: pd.DataFrame, *, checked: bool) -> list[str]:
    if not checked:
        return [NOT_CHECKED]
    count = int(
        predictions.loc[predictions["trained"] == "yes", ["participant_id", "session_id"]].drop_duplicates().shape[0]
    )
    return [TRAINED.format(count=count)] if count else []


def _cell(name: str, its: Cell, predictions: pd.DataFrame, classes: Sequence[str]) -> dict[str, Any]:
    rows = predictions[predictions["cell"] == name]
    share = ", ".join(f"{one} {part:.0%}" for one, part in its.prevalence.items())
    strange = int((rows["outside"] != "nothing").sum())
    notes = [
        f"In training there were {its.people} people: {share}. Probabilities are as if the classes were of equal size: "
        "where a class is rarer, so is it among those who are called so.",
        f"{strange} of {len(rows)} samples lie outside the range of the training people; what is said of them is less "
        "sure than it looks."
        if strange
        else f"None of {len(rows)} samples lies outside the range of the training people.",
    ]
    if its.unknown:
        notes.append(f"Not compared, since not known of everybody: {' and '.join(its.unknown)}.")
    return {
        "name": name,
        "verdict": its.verdict,
        "claim": its.claim,
        "notes": notes,
        "people": [_person(row, classes) for row in rows.to_dict("records")],
    }


def _person(row: Mapping[Any, Any], classes: Sequence[str]) -> dict[str, str]:
    session = "" if row["session_id"] in ("n/a", "") else f" {row['session_id']}"
    return {
        "person": f"{row['participant_id']}{session}",
        **{f"probability of {name}": f"{row[f'probability_{name}']:.3f}" for name in classes},
        "called": str(row["predicted"]),
        "true": number(row["true"]),
        "trained": str(row["trained"]),
        "models": str(row["models"]),
        "outside the training": str(row["outside"]),
    }


def _scores(row: Mapping[Any, Any]) -> dict[str, str]:
    names = {"balanced_accuracy": "balanced accuracy (95 % interval)", "auroc": "AUROC"}
    names |= {"sensitivity": "sensitivity", "specificity": "specificity"} | MORE
    told = {heading: score_interval(row, name) for name, heading in names.items() if name in row}
    return {"cell": str(row["cell"]), "people": number(row["n"]), "p": number(row["p_holm"]), **told}
