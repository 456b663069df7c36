"""Outputs of pipelines that are not read, recognised so that they are refused by name.

Sources: XCP-D states xcp_d first in GeneratedBy, before the fMRIPrep that it was given (xcp_d/utils/bids.py); C-PAC
writes `space-template`; CAT12 writes `mri/mwp1*` (its manual, "BIDS style and CAT12 style"); HALFpipe writes the
entities `feature`, for maps, and `setting`, for series, and no description (halfpipe/model/tags/resultdict.py,
halfpipe/result/bids/base.py).
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from bids_app.bids.inputs import list_names
from bids_app.bids.json_files import read_object
from bids_app.errors import DataError, MissingInputError

_DEEPEST, _PARTICIPANTS = 4, 3  # folders below the top; folders of participants that are looked at

# What GeneratedBy states, in lower case without signs, and what the files are.
_STATED = {
    "xcpd": "XCP-D",
    "cpac": "C-PAC",
    "cat12": "CAT12",
    "mriqc": "MRIQC",
    "qsiprep": "QSIPrep",
    "qsirecon": "QSIRecon",
    "aslprep": "ASLPrep",
    "pellucid": "Pellucid",
}
_FILES = {
    "XCP-D": re.compile(r".*_desc-denoised(?:Smoothed)?_bold\..*"),
    "C-PAC": re.compile(r".*_space-template_.*bold\.nii\.gz"),
    "HALFpipe": re.compile(r"sub-.*_(?:feature|setting)-[0-9A-Za-z]+_.*"),
    "CAT12": re.compile(r"m?wp[12].+\.nii(?:\.gz)?"),
    "FreeSurfer": re.compile(r"orig\.mgz|wmparc\.mgz"),
}


def identify_pipeline(root: Path) -> str | None:
    """The pipeline, other than fMRIPrep, whose outputs a folder holds; None if neither description nor files show it.

    A few participants are looked at.
    """
    return next((_STATED[name] for name in _stated_names(root) if name in _STATED), None) or next(
        (tool for name in _some_names(root) for tool, like in _FILES.items() if like.fullmatch(name)), None
    )


def _stated_names(root: Path) -> Iterator[str]:
    try:
        description = read_object(root / "dataset_description.json")
    except (DataError, MissingInputError):
        return
    stated = description.get("GeneratedBy")
    for entry in stated if isinstance(stated, list) else [description.get("PipelineDescription")]:
        if isinstance(entry, dict):
            yield re.sub(r"[^a-z0-9]", "", str(entry.get("Name", "")).casefold())


def _some_names(root: Path) -> Iterable[str]:
    participants = [name for name in list_names(root) if name.startswith("sub-")]
    for folder in [*participants[:_PARTICIPANTS], *({"mri"} & set(list_names(root)))]:
        yield from _names_below(root / folder, _DEEPEST)


def _names_below(folder: Path, depth: int) -> Iterator[str]:
    try:
        names = list_names(folder)
    except DataError:  # no permission, which fails the participant later
        return
    for name in names:
        yield name
        if depth and (folder / name).is_dir():
            yield from _names_below(folder / name, depth - 1)
