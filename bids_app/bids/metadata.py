"""Metadata of an image from its sidecars (BIDS 1.10, the inheritance principle)."""

import re
import time
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from bids_app.bids.inputs import list_names
from bids_app.bids.json_files import read_object
from bids_app.bids.names import BidsFile

# Allow-lists, so that names, places, dates and serial numbers are never copied.
SCANNER_FIELDS = (
    "Manufacturer",
    "ManufacturersModelName",
    "ManufacturerModelName",
    "MagneticFieldStrength",
    "RepetitionTime",
    "EchoTime",
    "FlipAngle",
    "InversionTime",
    "SkullStripped",
    "PulseSequenceType",
)
TIMING_FIELDS = (
    "RepetitionTime",
    "VolumeTiming",
    "DelayTime",
    "FrameAcquisitionDuration",
    "AcquisitionDuration",
    "SliceTiming",
    "SliceEncodingDirection",
)
BOLD_FIELDS = (
    *dict.fromkeys((*SCANNER_FIELDS, *TIMING_FIELDS)),
    "TaskName",
    "PhaseEncodingDirection",
    "MultibandAccelerationFactor",
    "NumberOfVolumesDiscardedByScanner",
    "NumberOfVolumesDiscardedByUser",
)


SETTLED = 2.0  # s after its last change, from when on the names in a folder are remembered


def read_metadata(root: Path, image: Path, fields: Iterable[str] = SCANNER_FIELDS) -> dict[str, object]:
    """Return the given fields of the sidecars between a data set's top folder and an image.

    A JSON file applies to images with the same suffix and all of its entities, in its folder or below; the
    deeper one wins, and in one folder the one with more entities. The image itself need not exist. Only the folders
    on its path are listed: indexing a data set of a thousand participants takes longer than computing the maps of one.
    Raises DataError for a broken sidecar.
    """
    file = BidsFile.parse(image.name)
    if file is None:
        return {}
    folders = [root]
    for part in image.parent.relative_to(root).parts:
        folders.append(folders[-1] / part)
    metadata: dict[str, object] = {}
    for folder in folders:
        names = _applicable_sidecars(_json_names(folder), file)
        for name in sorted(names, key=lambda name: (name.count("-"), name)):
            metadata |= read_object(folder / name, f"the sidecar {name} of {image.name}")
    return {field: metadata[field] for field in fields if field in metadata}


def _json_names(folder: Path) -> Iterable[str]:
    """The JSON files of a folder. That of the data set, with its participants, is not listed for each of them again."""
    try:
        changed = folder.stat().st_mtime_ns
    except OSError:
        return list_names(folder)
    if time.time_ns() - changed < SETTLED * 1e9:  # it may change again within the resolution of its clock
        return list_names(folder)
    return _remembered_json_names(folder, changed)


@lru_cache(maxsize=100)
def _remembered_json_names(folder: Path, changed: int) -> tuple[str, ...]:  # noqa: ARG001 - a changed folder is new
    return tuple(name for name in list_names(folder) if name.endswith(".json"))


def _applicable_sidecars(names: Iterable[str], image: BidsFile) -> list[str]:
    """The JSON files among `names` that apply to an image."""
    ending = re.compile(rf"(?:.*_)?{re.escape(image.suffix)}\.json")
    bare = f"{image.suffix}.json"  # it has no entities, and applies to every image of its kind
    applicable = []
    for name in filter(ending.fullmatch, names):
        sidecar = BidsFile.parse(name)
        required = {} if sidecar is None else {**sidecar.fields, "extension": image.extension}
        if name == bare or (sidecar is not None and required.items() <= image.fields.items()):
            applicable.append(name)
    return applicable
