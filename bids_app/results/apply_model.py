"""Predictions of an applied model, and their scores where the classes are known."""

from typing import Any

import pandas as pd

from bids_app.evaluation import external, permutation
from bids_app.planning.model_application import Application
from bids_app.settings import Settings
from bids_app.training import scores, seeds
from bids_app.training.covariate_ranges import list_outside_ranges


def prediction_table(planned: Application, told: pd.DataFrame) -> pd.DataFrame:
    """The table of predictions: with the true class, who trained, and what of a person is outside the training."""
    parts = []
    for cell, rows in told.groupby("cell", sort=False):
        known = planned.about[str(cell)]["training"]
        people = planned.used.to_dict("records")
        flags = [
            [*list_outside_ranges(one, apart, known), *_not_harmonised(planned, one)]
            for one, apart in zip(people, rows["distance"], strict=True)
        ]
        parts.append(
            rows.drop(columns="distance").assign(
                true=planned.used["class"].to_numpy(),
                trained=_trained(planned),
                outside=["; ".join(each) or "nothing" for each in flags],
            )
        )
    return pd.concat(parts, ignore_index=True)


def score_predictions(planned: Application, table: pd.DataFrame, settings: Settings) -> pd.DataFrame | None:
    """Scores of people who did not train and whose class is known, with `p`, and `p_holm` over cells.

    None where a class has nobody.
    """
    rows = table[table["true"].notna() & (table["trained"] != "yes")]
    if set(rows["true"]) != set(planned.classes):
        return None
    # one model, the mean of all, predicts everybody: all pairs of people count
    found = scores.score_table(rows.assign(repeat=1, fold=1), planned.classes, seed=settings.compute.random_seed)
    p = {}
    for cell, part in rows.assign(fold=1).groupby("cell"):
        true, predicted = scores.class_codes(part, planned.classes)
        seed = seeds.derive(settings.compute.random_seed, "external", str(cell))
        p[cell] = external.permutation_p(true, predicted, len(planned.classes), seed=seed)
    of_cells = found["cell"].map(p)
    return found.drop(columns="repeat").assign(p=of_cells, p_holm=permutation.holm_correction(of_cells.to_numpy(float)))


def _trained(planned: Application) -> list[str]:
    """Whether each person trained any of the models, as far as that could be checked."""
    if planned.listed is None:
        return ["not checked"] * len(planned.used)
    return ["yes" if one else "no" for one in planned.listed]


def _not_harmonised(planned: Application, person: dict[str, Any]) -> list[str]:
    if planned.sites is None or str(person["site"]) in planned.sites:
        return []
    return [f"site {'n/a' if pd.isna(person['site']) else person['site']} was not in training: not harmonised"]
