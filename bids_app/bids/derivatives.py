"""Derivatives of a participant's scans by other pipelines."""

from dataclasses import dataclass
from pathlib import Path

from bids_app.bids.choice import preference
from bids_app.bids.fmriprep_outputs import explain_missing_files
from bids_app.bids.inputs import list_names
from bids_app.bids.names import BidsFile, session_name
from bids_app.bids.outputs import folder
from bids_app.errors import MissingInputError


@dataclass(frozen=True)
class FmriprepAnatomy:
    """Preprocessed anatomy: image, brain mask and tissue probabilities in native space, transform to standard space."""

    t1w: Path
    mask: Path
    gm: Path
    wm: Path
    csf: Path
    transform: Path


def find_fmriprep_anatomy(
    root: Path, participant: str, session: str | None, *, space: str = "MNI152NLin2009cAsym"
) -> FmriprepAnatomy:
    """Find fMRIPrep's anatomical derivatives of a session, or of the participant if the session's folder has none.

    Raises MissingInputError that names what is missing.
    """
    patterns = {
        "t1w": BidsFile(None, None, "T1w", ".nii.gz", {"desc": "preproc"}),
        "mask": BidsFile(None, None, "mask", ".nii.gz", {"desc": "brain"}),
        "gm": BidsFile(None, None, "probseg", ".nii.gz", {"label": "GM"}),
        "wm": BidsFile(None, None, "probseg", ".nii.gz", {"label": "WM"}),
        "csf": BidsFile(None, None, "probseg", ".nii.gz", {"label": "CSF"}),
        "transform": BidsFile(None, None, "xfm", ".h5", {"from": "T1w", "to": space, "mode": "image"}),
    }
    folders = [folder(root, participant, None, "anat")]
    if session is not None:
        folders.insert(0, folder(root, participant, session, "anat"))
    paths: dict[str, Path] = {}
    for candidate in folders:
        paths = {
            part: path for part, like in patterns.items() if (path := _find(candidate, participant, session, like))
        }
        if paths:
            break
    if missing := [like.name for part, like in patterns.items() if part not in paths]:
        places = " and ".join(candidate.relative_to(root).as_posix() for candidate in folders)
        names = [name for candidate in folders for name in list_names(candidate)]
        if reason := explain_missing_files(names):
            raise MissingInputError(f"sub-{participant}: {root.name} has no usable anatomy in {places}: {reason}.")
        raise MissingInputError(
            f"sub-{participant}: {root.name} lacks {', '.join(missing)} (searched in {places}): run fMRIPrep for "
            f"this participant with --output-spaces {space}, or add --fallback-preprocessing."
        )
    return FmriprepAnatomy(**paths)


def find_wmparc(root: Path, participant: str, session: str | None, *, alone: bool) -> Path:
    """Find wmparc.mgz in FreeSurfer's subjects folder: the session's, or the participant's if `alone`.

    Raises MissingInputError with the paths that were tried.
    """
    participant_name = session_name(participant, None)
    names = [
        *([session_name(participant, session)] if session else []),
        *([participant_name] if alone or not session else []),
    ]
    for name in names:
        file = root / name / "mri" / "wmparc.mgz"
        if file.is_file() or file.is_symlink():
            return file
    raise MissingInputError(
        f"{participant_name}: {root.name} has no {' nor '.join(f'{name}/mri/wmparc.mgz' for name in names)}: run "
        "FreeSurfer's recon-all for this participant."
    )


def _find(directory: Path, participant: str, session: str | None, pattern: BidsFile) -> Path | None:
    """The native file with all entities of `pattern`, by the order of bids/choice.py."""
    matches = []
    for name in list_names(directory):
        file = BidsFile.parse(name)
        if file is None or file.participant != participant or file.session not in (None, session):
            continue
        if "space" not in file.entities and pattern.fields.items() <= file.fields.items():
            matches.append(file)
    return directory / min(matches, key=preference).name if matches else None
