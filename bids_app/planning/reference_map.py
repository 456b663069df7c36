"""Requirements of --reference-map."""

import numpy as np

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
    title = f"--reference-map {file.name}"
    values = np.nan_to_num(images.read_voxels(images.open_image(file, title), title))
    if values.min() == values.max():
        raise DataError(f"{title} is {values.min():g} everywhere: nothing can be compared with it")
