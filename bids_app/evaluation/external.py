"""The performance of a model on new participants in three sentences, with a test against chance."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_app.evaluation.permutation import ALPHA, balanced_accuracy
from bids_app.evaluation.verdict import cell_words, class_words, format_p, format_score

PERMUTATIONS = 1000


def permutation_p(true: NDArray[np.int64], predicted: NDArray[np.int64], classes: int, *, seed: int) -> float:
    """Return the permutation p of the balanced accuracy of fixed predictions.

    true, predicted (participants,): class codes. Labels are exchanged among these participants;
    p = (b + 1) / (m + 1) with m = 1000 (Phipson & Smyth 2010).
    """
    random = np.random.default_rng(seed)
    observed = balanced_accuracy(true, predicted, classes)
    null = [balanced_accuracy(random.permutation(true), predicted, classes) for _ in range(PERMUTATIONS)]
    return float((np.array(null) >= observed - 1e-9).sum() + 1) / (PERMUTATIONS + 1)


def describe_performance(row: "pd.Series[float]", classes: Sequence[str], *, checked: bool) -> str:
    """Describe one cell's performance from its row of the score table; `checked`: no participant was in training."""
    whose = "who are not on its training list" if checked else "who may have been in its training sample"
    numbers = (
        f"The balanced accuracy was {format_score(row, 'balanced_accuracy', chance=1 / len(classes))}, with "
        f"{format_p(row['p_holm'])}; the AUROC was {format_score(row, 'auroc', chance=0.5)}."
    )
    if row["p_holm"] > ALPHA or row["balanced_accuracy"] <= 1 / len(classes):
        outcome = f"did not distinguish {class_words(classes)} above chance"
    else:
        outcome = f"distinguished {class_words(classes)} above chance"
    return (
        f"In {int(row['n'])} participants {whose}, {cell_words(str(row['cell']))} {outcome}. {numbers} Whether "
        "age, sex, site, motion or brain size alone could do as well was not tested here."
    )
