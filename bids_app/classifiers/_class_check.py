"""Whether every class has training samples."""

import numpy as np
from numpy.typing import NDArray

from bids_app.errors import DataError


def check_classes(y: NDArray[np.int_], classes: int) -> None:
    """Raise DataError unless each of the classes 0 to `classes` - 1 occurs in y (n,)."""
    counts = np.bincount(y, minlength=classes)
    if counts.min() == 0:
        raise DataError(f"class {counts.argmin()} has no training participants; use fewer --folds")
