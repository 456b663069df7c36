"""Why a participant has no T1w image that can be used, although the folders contain images."""

from collections.abc import Sequence
from pathlib import Path

from bids_app.bids.inputs import IMAGES, Dataset, explain_partial, list_names, session_folders
from bids_app.bids.names import BidsFile, session_name

OTHER_IMAGES = ("UNIT1", "MP2RAGE", "FLAIR", "T2w", "PDw", "inplaneT1", "T1map")
_EXCLUDE = "or exclude the participant with --exclude"


def describe(dataset: Dataset, participant: str) -> str:
    """What a participant without any usable T1w has instead, and what to do; "" with a usable T1w or nothing."""
    root = dataset.root
    folders = session_folders(root, participant, (), "anat")
    images = [
        (session, folder, file)
        for session, folder in folders
        for name in list_names(folder)
        if (file := BidsFile.parse(name)) is not None and file.extension in IMAGES
    ]
    t1w = [image for image in images if image[2].suffix == "T1w"]
    if not t1w:
        return _describe_suffixes(participant, [file.suffix for *_, file in images])
    reasons = [_explain(root, participant, *image) for image in t1w]
    return f"{reasons[0]}, {_EXCLUDE}." if all(reasons) else ""


def explain_missing_t1w(dataset: Dataset, participant: str) -> str:
    """As `describe`, and what to do if there is nothing."""
    advice = "add one, or pass fMRIPrep's output of this participant with --derivatives fmriprep=PATH."
    return describe(dataset, participant) or advice


def _describe_suffixes(participant: str, suffixes: Sequence[str]) -> str:
    others = [suffix for suffix in OTHER_IMAGES if suffix in suffixes]
    if not others:
        return ""
    todo = "add a T1w image"
    if "UNIT1" in others:
        todo = "save the UNIT1 image, without the noise outside the head, as T1w"
    return f"sub-{participant} has {', '.join(others)} but no T1w: {todo}, {_EXCLUDE}."


def _explain(root: Path, participant: str, session: str | None, folder: Path, file: BidsFile) -> str:
    if (file.participant, file.session) != (participant, session):
        wanted = f"{session_name(participant, session)}_"
        return (
            f"{(folder / file.name).relative_to(root)}: its name must begin with {wanted}, as its folders do: rename it"
        )
    reason = explain_partial(file)
    return f"{file.name} {reason}" if reason else ""
