"""The report of trained models applied to participants: how good the models are, then each prediction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bids_app.evaluation import external
from bids_app.report.curves import draw_confusion, draw_roc
from bids_app.report.group import MORE_SCORES, format_score
from bids_app.report.page import format_number, render_page, save_page
from bids_app.report.participants import tabulate_excluded

NO_LABELS = "No true classes were given (--label), so the accuracy of the models in these participants is unknown."
NOT_SCORED = "No score is given: not every class has participants here who were not in the training set."
NOT_CHECKED = (
    "No --training-list was given, so it could not be checked whether any of these participants were in the training "
    "set. A model's output for a participant on whom it was trained is not a prediction."
)
IN_TRAINING = (
    "{count} samples are of participants on the training list: they were predicted only by models that had held them "
    "out, and are not included in any score below."
)


@dataclass(frozen=True)
class AppliedModel:
    """Facts about a model from its training.

    `verdict` and whether it is a claim; the number of fold models and of training participants; `prevalence`: the
    share of each class among them; `unknown`: which of age and scanner could not be compared here.
    """

    verdict: str
    claim: bool
    models: int
    prevalence: Mapping[str, float]
    people: int
    unknown: Sequence[str]


def write_application_report(
    path: Path,
    *,
    analysis: str,
    cells: Mapping[str, AppliedModel],
    classes: Sequence[str],
    samples: pd.DataFrame,
    predictions: pd.DataFrame,
    scores: pd.DataFrame | None,
    labelled: bool,
    checked: bool,
    settings_toml: str,
    about: Mapping[str, Any] | None = None,
    version: str = "",
) -> None:
    """Write the page, and figures of the scores into `figures/` beside it.

    predictions: participant_id, session_id, cell, models, predicted, probability_<class>, true, trained (yes, no, not
    checked), outside (text); scores: rows of the score table with `p_holm`, or None; labelled: whether any true class
    is known; checked: whether there was a training list; about: a `Provenance`.
    """
    folder = path.parent / "figures"
    if scores is not None:
        known = predictions[predictions["true"].notna() & (predictions["trained"] != "yes")].assign(repeat=1, fold=1)
        draw_roc(known, classes, folder / "roc.png", note="Mean probability over the fold models of each model.")
        draw_confusion(
            known, classes, folder / "confusion.png", note="Participants; in brackets the proportion of their class."
        )
    page = render_page(
        "model_application.html",
        title=f"{analysis} - Pellucid",
        analysis=analysis,
        findings=_findings(scores, classes, labelled=labelled, checked=checked),
        warnings=_warnings(predictions, checked=checked),
        models=[_model_section(name, model, predictions, classes) for name, model in cells.items()],
        excluded=tabulate_excluded(samples),
        scores=[] if scores is None else [_score_rows(row) for row in scores.to_dict("records")],
        settings=settings_toml,
        about=about,
        methods=describe_application(cells, checked=checked, version=version),
        version=version,
    )
    save_page(path, page)


def describe_application(cells: Mapping[str, AppliedModel], *, checked: bool, version: str) -> str:
    """How the models were applied, as paragraphs."""
    models = "; ".join(
        f"{name}: {model.models} fold models, {model.people} training participants" for name, model in cells.items()
    )
    return "\n\n".join(
        [
            f"Trained models ({models}) were applied with Pellucid {version} to maps computed with the same parameters "
            "as the training maps. Smoothing, covariate regression, harmonisation and scaling used the parameters "
            "fitted to the training participants. The probability of a class is the mean over the fold models; it "
            "refers to a population with classes of equal size.",
            "Participants on the training list were predicted only by fold models that had held them out, and are not "
            "included in any score."
            if checked
            else "Whether any participant was in the training set was not checked.",
            "Participants are flagged whose age (in steps of five years) or scanner lies outside the training set, or "
            "whose map is further from the training mean than that of any held-out participant in training (mean "
            "squared z over voxels).",
            "Where true classes were given, balanced accuracy is the mean of the per-class recalls, with an interval "
            "by variance estimates recovery (Zou & Donner 2008) from the intervals of the recalls (Wilson 1927). p "
            "values are from 1000 permutations of the labels of these participants with the predictions fixed (Phipson "
            "& Smyth 2010), corrected over models after Holm (1979).",
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
    return [IN_TRAINING.format(count=count)] if count else []


def _model_section(name: str, model: AppliedModel, predictions: pd.DataFrame, classes: Sequence[str]) -> dict[str, Any]:
    rows = predictions[predictions["cell"] == name]
    shares = ", ".join(f"{label} {share:.0%}" for label, share in model.prevalence.items())
    outliers = int((rows["outside"] != "nothing").sum())
    notes = [
        f"Training set: {model.people} participants ({shares}). Probabilities assume classes of equal size: where a "
        "class is less common, fewer of the participants predicted to belong to it do so.",
        f"{outliers} of {len(rows)} samples lie outside the range of the training set; their predictions are less "
        "certain than the probabilities suggest."
        if outliers
        else f"None of the {len(rows)} samples lies outside the range of the training set.",
    ]
    if model.unknown:
        notes.append(f"Not compared, because unknown for some participants: {' and '.join(model.unknown)}.")
    return {
        "name": name,
        "verdict": model.verdict,
        "claim": model.claim,
        "notes": notes,
        "predictions": [_prediction_row(row, classes) for row in rows.to_dict("records")],
    }


def _prediction_row(row: Mapping[Any, Any], classes: Sequence[str]) -> dict[str, str]:
    session = "" if row["session_id"] in ("n/a", "") else f" {row['session_id']}"
    return {
        "participant": f"{row['participant_id']}{session}",
        **{f"probability of {name}": f"{row[f'probability_{name}']:.3f}" for name in classes},
        "predicted": str(row["predicted"]),
        "true": format_number(row["true"]),
        "in training": str(row["trained"]),
        "fold models": str(row["models"]),
        "outside the training range": str(row["outside"]),
    }


def _score_rows(row: Mapping[Any, Any]) -> dict[str, str]:
    names = {"balanced_accuracy": "balanced accuracy (95 % interval)", "auroc": "AUROC"}
    names |= {"sensitivity": "sensitivity", "specificity": "specificity"} | MORE_SCORES
    scores = {heading: format_score(row, name) for name, heading in names.items() if name in row}
    return {
        "model": str(row["cell"]),
        "participants": format_number(row["n"]),
        "p": format_number(row["p_holm"]),
        **scores,
    }
