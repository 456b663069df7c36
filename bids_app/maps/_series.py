"""Requirements of every BOLD map on its series."""

import numpy as np
from numpy.typing import NDArray

from bids_app.errors import DataError

MIN_VOLUMES = 3


def check_series(
    series: NDArray[np.float32], *, mask: NDArray[np.bool_] | None = None, sample_mask: NDArray[np.bool_] | None = None
) -> None:
    """Raise DataError unless a map can be computed from `series` (voxels, time).

    It must have voxels, as many as in `mask` (X, Y, Z) if that is given, and at least 3 volumes, as many as are true in
    `sample_mask` (all volumes,).
    """
    if series.ndim != 2:
        raise DataError(f"series have {series.ndim} axes instead of 2 (voxels, time); is the image 4D?")
    voxels, volumes = series.shape
    if voxels == 0:
        raise DataError("the brain mask is empty, so no map can be computed; check the mask of the BOLD image")
    if mask is not None and np.count_nonzero(mask) != voxels:
        raise DataError(
            f"the mask has {np.count_nonzero(mask)} voxels and the series {voxels}: they are on different grids"
        )
    if sample_mask is not None and np.count_nonzero(sample_mask) != volumes:
        raise DataError(f"{np.count_nonzero(sample_mask)} volumes are uncensored, and the series have {volumes}")
    if volumes < MIN_VOLUMES:
        raise DataError(
            f"{volumes} volumes are retained, and a map requires at least {MIN_VOLUMES}; raise --fd-threshold"
        )
