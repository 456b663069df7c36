"""Baselines without images, on the same folds: the scores of age and sex, site, motion, or brain size alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from bids_app.dataset.folds import Split

COLUMNS = {"age and sex": ("age", "sex"), "site": ("site",), "motion": ("mean_fd",), "brain size": ("tiv",)}


def available_baselines(people: pd.DataFrame, *, label: str | None = None) -> dict[str, tuple[str, ...]]:
    """Return the columns with values of each baseline; baselines without any, or with the column `label`, are omitted.

    `label`: the column that the classifiers predict.
    """
    baselines = {
        name: tuple(column for column in columns if column in people and people[column].notna().any())
        for name, columns in COLUMNS.items()
        if label not in columns
    }
    return {name: columns for name, columns in baselines.items() if columns}


def describe_omitted(label: str | None) -> list[str]:
    """Return a sentence for each baseline that is omitted because it contains `label`, the predicted column."""
    return [
        f"The baseline '{name}' was excluded because {label} is what the classifiers predict."
        for name, columns in COLUMNS.items()
        if label in columns
    ]


def predict_baselines(
    people: pd.DataFrame, splits: Sequence[Split], classes: Sequence[str], *, label: str | None = None
) -> pd.DataFrame:
    """Return out-of-fold predictions of every baseline, as in predictions.tsv; its name takes the place of the cell.

    people: one row per sample, with `participant_id`, `session_id`, `class` and the baselines' columns; label: as in
    `available_baselines`. Logistic regression with balanced class weights (scikit-learn, C = 1); numbers are scaled,
    and missing ones imputed, by the training mean, with an indicator of missingness. Where nothing varies in training,
    the reference class is predicted.
    """
    y = np.array([list(classes).index(name) for name in people["class"]])
    parts = []
    for name, columns in available_baselines(people, label=label).items():
        for split in splits:
            train, test = list(split.train), list(split.test)
            design = np.column_stack([_encode(people[column], train) for column in columns])
            probability = _fit_predict(design, y, train, test, len(classes))
            rows = people.iloc[test]
            part = rows[["participant_id", "session_id"]].assign(cell=name, repeat=split.repeat, fold=split.fold)
            part["true"] = rows["class"]
            part["predicted"] = [classes[index] for index in probability.argmax(axis=1)]
            parts.append(
                part.assign(**{f"probability_{class_name}": probability[:, i] for i, class_name in enumerate(classes)})
            )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _fit_predict(
    design: NDArray[np.float64], y: NDArray[np.int64], train: list[int], test: list[int], classes: int
) -> NDArray[np.float64]:
    varies = design[train].std(axis=0) > 0
    if not varies.any():
        return np.tile(np.eye(classes)[0], (len(test), 1))
    machine = LogisticRegression(class_weight="balanced").fit(design[np.ix_(train, varies)], y[train])
    probability: NDArray[np.float64] = machine.predict_proba(design[np.ix_(test, varies)])
    return probability


def _encode(column: "pd.Series[Any]", train: list[int]) -> NDArray[np.float64]:
    """Encode a column as numbers (participants, k): scaled, or one-hot for categories; with a missingness indicator."""
    lacking = column.isna().to_numpy(bool)
    numbers = pd.to_numeric(column, errors="coerce")
    if numbers.notna().to_numpy()[~lacking].all():
        values = numbers.to_numpy(float, na_value=np.nan)
        of_training = values[train][~lacking[train]]
        mean = of_training.mean() if of_training.size else 0.0
        spread = of_training.std() if of_training.size else 0.0
        coded = np.where(lacking, 0.0, (values - mean) / (spread or 1.0))[:, None]
    else:
        words = column.astype("string").fillna("")
        coded = np.column_stack([words.eq(word).to_numpy(float) for word in sorted(set(words[~lacking]))])
    return np.column_stack([coded, lacking.astype(float)])
