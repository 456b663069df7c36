"""Requirements of --reference-map."""

import nibabel as nib

from bids_app.dataset import foci
from bids_app.errors import DataError, MissingInputError
from bids_app.preprocess.conform import read_image
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
    try:
        shape = read_image(file).shape
    except nib.filebasedimages.ImageFileError as error:
        raise DataError(f"--reference-map {file.name} is not an image: {error}") from error
    if len(shape) != 3:
        raise DataError(f"--reference-map {file.name} has {len(shape)} axes instead of 3")
