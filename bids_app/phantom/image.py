"""One T1w image with its sidecar, under its BIDS name."""

from collections.abc import Mapping
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from bids_app.bids import outputs
from bids_app.phantom.deformation import Array
from bids_app.phantom.description import write_json
from bids_app.preprocess import conform


def save(
    out: Path,
    participant: str,
    session: str | None,
    values: NDArray[np.generic],
    affine: Array,
    *,
    sidecar: Mapping[str, object],
) -> None:
    """Write an image (X, Y, Z) in the type it has; the same image gives the same bytes."""
    folder = outputs.folder(out, participant, session, "anat")
    folder.mkdir(parents=True, exist_ok=True)
    nibabel.save(conform.plain(values, affine), folder / outputs.filename(participant, session, "T1w", ".nii.gz"))
    write_json(folder / outputs.filename(participant, session, "T1w", ".json"), sidecar)
