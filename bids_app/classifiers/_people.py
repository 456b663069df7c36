"""Whether there is somebody to learn from."""

import numpy as np
from numpy.typing import NDArray

from bids_app.errors import DataError


def check(y: NDArray[np.int_], classes: int) -> None:
    """Raise DataError unless each of `classes` is the class of somebody in y (n,)."""
    people = np.bincount(y, minlength=classes)
    if people.min() == 0:
        raise DataError(f"class {people.argmin()} has nobody among the training people; use fewer --folds")
