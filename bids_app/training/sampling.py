"""Which training samples a network is trained on, and which are used for validation."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bids_app.dataset import folds
from bids_app.errors import DataError

Rows = NDArray[np.intp]


def train_validation_split(
    y: NDArray[np.int64], groups: Sequence[str] | None, *, share: float, seed: int
) -> tuple[Rows, Rows]:
    """Return training rows and validation rows: about `share` of every class or, from 1 up, so many groups of each.

    groups (default: each row) stay whole; y: class codes (samples,). Raises DataError for a class with too few samples.
    """
    classes = [str(code) for code in y]
    if share >= 1:
        try:
            (split,) = folds.balanced_folds(classes, groups, number=int(share), folds=1, seed=seed)
        except DataError as error:
            raise DataError(
                f"{share:g} participants of each class cannot be set aside for validation: {error}"
            ) from error
    else:
        (split,) = folds.hold_out(classes, groups, share=share, repeats=1, seed=seed)
    return np.array(split.train, np.intp), np.array(split.test, np.intp)


def draw_epoch(rows: Rows, y: NDArray[np.int64], order: np.random.Generator, *, oversample: bool) -> Rows:
    """Return the rows of one epoch in random order: each once or, oversampled, smaller classes repeated to equal size.

    No sample is repeated before all of its class were drawn; who is repeated once more is random in each epoch.
    """
    if not oversample:
        return rows[order.permutation(len(rows))]
    most = np.bincount(y[rows]).max()
    each = [np.resize(order.permutation(rows[y[rows] == label]), most) for label in np.unique(y[rows])]
    return order.permutation(np.concatenate(each))


def epoch_length(rows: Rows, y: NDArray[np.int64], *, oversample: bool) -> int:
    """Return how many rows `draw_epoch` returns."""
    counts = np.bincount(y[rows])
    return int(counts.max() * np.count_nonzero(counts)) if oversample else len(rows)
