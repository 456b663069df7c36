"""Requirements of --reference-map."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_app.bids import images
from bids_app.dataset import foci
from bids_app.errors import DataError, MissingInputError
from bids_app.settings import Settings


def check_reference_map(settings: Settings) -> None:
    """Raise MissingInputError or DataError unless the reference map exists and is 3D or a table of coordinates."""
    file = settings.group.reference_map
    if file is None:
        return
    if not file.is_file():
        raise MissingInputError(f"--reference-map: there is no file {file}")
    if foci.is_foci_table(file):
        foci.read_foci(file)
        return
    values = read_reference(file)[0]
    if values.min() == values.max():
        raise DataError(f"--reference-map {file.name} is {values.min():g} everywhere: nothing can be compared with it")


def read_reference(file: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The values (X, Y, Z) of an image, 0 where they are not finite, and its affine. Raises DataError."""
    title = f"--reference-map {file.name}"
    image = images.open_image(file, title)
    values = images.read_voxels(image, title).reshape(image.shape[:3])
    return np.nan_to_num(values, posinf=0, neginf=0), np.asarray(image.affine, float)
