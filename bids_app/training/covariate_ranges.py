"""The ranges of a model's training sample, which identify no participant, and whether a participant is outside them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bids_app.dataset.samples import SIDECAR_SCANNER

AGE_STEP_YEARS = 5  # age limits are rounded outwards, so that they do not give away anyone's age


def compute_ranges(people: pd.DataFrame, distances: Sequence[float]) -> dict[str, Any]:
    """Return the ranges of participants (one row each, or one per session), as far as they are known.

    `people`: counts by class; `age`: lowest and highest, in years; `scanner`: names; `map`: the largest distance
    (`FeaturePipeline.distances`) of held-out participants, rounded up to two digits to identify no participant.
    """
    counts = people.groupby("class")["participant_id"].nunique()
    ranges: dict[str, Any] = {"people": {str(name): int(n) for name, n in counts.items()}}
    ages = pd.to_numeric(people["age"], errors="coerce").dropna() if "age" in people else pd.Series(dtype=float)
    if len(ages):
        low, high = float(ages.min()), float(ages.max())
        ranges["age"] = [
            math.floor(low / AGE_STEP_YEARS) * AGE_STEP_YEARS,
            math.ceil(high / AGE_STEP_YEARS) * AGE_STEP_YEARS,
        ]
    if SIDECAR_SCANNER in people and people[SIDECAR_SCANNER].notna().any():
        ranges["scanner"] = sorted(people[SIDECAR_SCANNER].dropna().astype(str).unique())
    if len(distances) and (largest := float(max(distances))) > 0:
        unit = 10.0 ** (math.floor(math.log10(largest)) - 1)
        ranges["map"] = math.ceil(largest / unit) * unit
    return ranges


def list_outside_ranges(person: Mapping[str, Any], distance: float, known: Mapping[str, Any]) -> list[str]:
    """Describe each variable of a participant outside the training ranges, one phrase each.

    person: a row of the samples; distance: of the participant's maps, the mean over models.
    """
    messages = []
    if "age" in known and not pd.isna(person.get("age")):
        low, high = known["age"]
        if not low <= float(person["age"]) <= high:
            messages.append(f"age {float(person['age']):g} is outside {low:g} to {high:g} years")
    scanner = person.get(SIDECAR_SCANNER)
    if "scanner" in known and not pd.isna(scanner) and str(scanner) not in known["scanner"]:
        messages.append(f"the scanner {scanner} was not in the training set")
    if distance > known.get("map", math.inf):
        messages.append(
            f"the map is unlike those of training (mean z squared {distance:.3g}, there {known['map']:.3g})"
        )
    return messages


def list_unknown_covariates(people: pd.DataFrame, known: Mapping[str, Any]) -> list[str]:
    """Return which of age and scanner cannot be compared: unknown in training, or for a participant here."""
    columns = {"age": "age", "scanner": SIDECAR_SCANNER}
    return [
        name
        for name, column in columns.items()
        if name not in known or column not in people or people[column].isna().any()
    ]


def class_prevalence(known: Mapping[str, Any], classes: Sequence[str]) -> dict[str, float]:
    """Return the share of each class in the training sample."""
    return {name: known["people"].get(name, 0) / sum(known["people"].values()) for name in classes}
