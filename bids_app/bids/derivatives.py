"""What other pipelines have made of a person's scans."""

from dataclasses import dataclass
from pathlib import Path

from bids_app.bids.inputs import entities, list_names
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
    """Find what fMRIPrep wrote about a person's anatomy; in the person's own folder where the session's has nothing.

    Raises MissingInputError that names what is lacking.
    """
    wanted = {
        "t1w": {"desc": "preproc", "suffix": "T1w", "extension": ".nii.gz"},
        "mask": {"desc": "brain", "suffix": "mask", "extension": ".nii.gz"},
        "gm": {"label": "GM", "suffix": "probseg", "extension": ".nii.gz"},
        "wm": {"label": "WM", "suffix": "probseg", "extension": ".nii.gz"},
        "csf": {"label": "CSF", "suffix": "probseg", "extension": ".nii.gz"},
        "transform": {"from": "T1w", "to": space, "mode": "image", "suffix": "xfm", "extension": ".h5"},
    }
    person = root / f"sub-{participant}"
    folders = [person / "anat"]
    if session is not None:
        folders.insert(0, person / f"ses-{session}" / "anat")
    found: dict[str, Path] = {}
    for folder in folders:
        found = {part: path for part, like in wanted.items() if (path := _find(folder, participant, session, like))}
        if found:
            break
    if missing := [_spelled(like) for part, like in wanted.items() if part not in found]:
        places = " and ".join(folder.relative_to(root).as_posix() for folder in folders)
        raise MissingInputError(
            f"sub-{participant}: {root.name} lacks {', '.join(missing)} (looked in {places}): run fMRIPrep for this "
            f"person with --output-spaces {space}, or add --fallback-preprocessing."
        )
    return FmriprepAnatomy(**found)


def find_wmparc(root: Path, participant: str, session: str | None, *, alone: bool) -> Path:
    """Find a person's wmparc.mgz in FreeSurfer's subjects: of the session, or, where `alone`, of the person.

    Raises MissingInputError that says where it was looked for.
    """
    person = f"sub-{participant}"
    names = [*([f"{person}_ses-{session}"] if session else []), *([person] if alone or not session else [])]
    for name in names:
        file = root / name / "mri" / "wmparc.mgz"
        if file.is_file() or file.is_symlink():
            return file
    raise MissingInputError(
        f"{person}: {root.name} has no {' nor '.join(f'{name}/mri/wmparc.mgz' for name in names)}: run FreeSurfer's "
        "recon-all for this person."
    )


def _find(folder: Path, participant: str, session: str | None, like: dict[str, str]) -> Path | None:
    """Return the native file that agrees with `like`, the one with fewest other entities, then the first by name."""
    matches = []
    for name in list_names(folder):
        parts = entities(name)
        if parts is None or parts.get("sub") != participant or parts.get("ses") not in (None, session):
            continue
        if "space" not in parts and parts | like == parts:
            matches.append((len(parts), name))
    return folder / min(matches)[1] if matches else None


def _spelled(like: dict[str, str]) -> str:
    pairs = [f"{entity}-{value}" for entity, value in like.items() if entity not in ("suffix", "extension")]
    return "_".join([*pairs, like["suffix"]]) + like["extension"]
