"""Predictions of an applied model, and their scores where the classes are known."""

from typing import Any

import numpy as np
import pandas as pd

from bids_app.evaluation import external, permutation
from bids_app.planning.model_application import ApplicationPlan
from bids_app.settings import Settings
from bids_app.training import scores, seeds
from bids_app.training.covariate_ranges import list_outside_ranges


def prediction_table(application: ApplicationPlan, predictions: pd.DataFrame) -> pd.DataFrame:
    """The predictions (`training.apply.run`) with `true`, `trained`, and `outside`, values out of training ranges."""
    parts = []
    for cell, rows in predictions.groupby("cell", sort=False):
        known = application.cell_facts[str(cell)]["training"]
        participants = [
            {str(column): value for column, value in row.items()} for row in application.used.to_dict("records")
        ]
        flags = [
            [*list_outside_ranges(participant, distance, known), *_describe_unknown_site(application, participant)]
            for participant, distance in zip(participants, rows["distance"], strict=True)
        ]
        parts.append(
            rows.drop(columns="distance").assign(
                true=application.used["class"].to_numpy(),
                trained=_training_status(application),
                outside=["; ".join(reasons) or "nothing" for reasons in flags],
            )
        )
    return pd.concat(parts, ignore_index=True)


def score_predictions(application: ApplicationPlan, table: pd.DataFrame, settings: Settings) -> pd.DataFrame | None:
    """Scores over participants outside the training whose class is known, with `p`, and `p_holm` over cells.

    None where a class has no participant.
    """
    rows = table[table["true"].notna() & (table["trained"] != "yes")]
    if set(rows["true"]) != set(application.classes):
        return None
    # one model, the mean of all, predicts all participants, so all pairs are compared
    score_table = scores.score_table(
        rows.assign(repeat=1, fold=1), application.classes, seed=settings.compute.random_seed
    )
    p = {}
    for cell, part in rows.assign(fold=1).groupby("cell"):
        true, predicted = scores.class_codes(part, application.classes)
        seed = seeds.derive(settings.compute.random_seed, "external", str(cell))
        p[cell] = external.permutation_p(true, predicted, len(application.classes), seed=seed)
    of_cells = score_table["cell"].map(p).to_numpy(np.float64)
    return score_table.drop(columns="repeat").assign(
        p=of_cells, p_holm=permutation.holm_correction(np.asarray(of_cells, np.float64))
    )


def _training_status(application: ApplicationPlan) -> list[str]:
    """Whether each participant is on the training list: yes, no, or not checked."""
    if application.listed is None:
        return ["not checked"] * len(application.used)
    return ["yes" if on_list else "no" for on_list in application.listed]


def _describe_unknown_site(application: ApplicationPlan, person: dict[str, Any]) -> list[str]:
    if application.sites is None or str(person["site"]) in application.sites:
        return []
    return [
        (f"site {'n/a' if pd.isna(person['site']) else person['site']} was not in the training set: not harmonised")
    ]
