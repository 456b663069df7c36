"""Images with their sidecars: a T1w under its BIDS name, and series."""

from collections.abc import Mapping
from pathlib import Path

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
    conform.save(conform.to_nifti(values, affine), folder / outputs.filename(participant, session, "T1w", ".nii.gz"))
    write_json(folder / outputs.filename(participant, session, "T1w", ".json"), sidecar)


def save_series(
    path: Path, series: NDArray[np.generic], affine: Array, *, tr: float, sidecar: Mapping[str, object]
) -> None:
    """Write a series (X, Y, Z, volumes), a volume every `tr` seconds; the sidecar says so too."""
    image = conform.to_nifti(series, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((*image.header.get_zooms()[:3], tr))
    conform.save(image, path)
    about = {"TaskName": "rest", "RepetitionTime": tr, "SkullStripped": True, **sidecar}
    write_json(path.with_name(path.name.removesuffix(".nii.gz") + ".json"), about)
