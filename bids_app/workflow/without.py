"""Regions that are taken out of `t1w`: what says where they are, looked for first, and the node that places them."""

import json
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from bids_app.atlases import atlas, freesurfer
from bids_app.atlases.templates import nearest
from bids_app.bids import derivatives
from bids_app.errors import DataError, MissingInputError, UsageError
from bids_app.preprocess.conform import plain
from bids_app.settings import Settings
from bids_app.workflow import spaces

Files = dict[str, Any]
MAP = "t1w"
WMPARC = "wmparc"
NOWHERE = "none"  # -d freesurfer=none: the atlas for everybody
LEAST_DICE = (
    0.5  # of the labelled brain with the mask of its T1w; another session's, or another person's, may be as low
)


def check(settings: Settings) -> None:
    """Raise UsageError for a region that is not known, or where there is no map that regions are taken out of."""
    names = settings.participant.without_regions
    if not names:
        return
    if MAP not in settings.participant.maps:
        raise UsageError(f"--without-regions: they are taken out of {MAP}, which is not among --maps")
    freesurfer.check(names)
    atlas.check((freesurfer.ATLAS,))


def source(participant: str, session: str | None, settings: Settings, *, alone: bool) -> Files:
    """What says where a person's regions are: wmparc where FreeSurfer's folder is given or lies in fMRIPrep's, else
    the atlas; nothing without --without-regions.

    `alone`: whether a folder `sub-XX` without a session is of this one. Raises MissingInputError for a person whom the
    folder lacks, UsageError where the atlas has none of the regions.
    """
    names = sorted(settings.participant.without_regions)
    if not names:
        return {}
    if (root := folder(settings)) is not None:
        try:
            file = derivatives.wmparc(root, participant, session, alone=alone)
            return {"from": WMPARC, "regions": names, "file": str(file), "lacking": []}
        except MissingInputError as error:
            if not settings.participant.fallback_preprocessing:
                raise MissingInputError(
                    f"{error} Or give --fallback-preprocessing, which takes the atlas for such people, or "
                    f"-d freesurfer={NOWHERE}, which takes it for everybody"
                ) from error
    known = freesurfer.equivalents(names)
    if not known:
        raise UsageError(
            f"--without-regions: the atlas {atlas.name(freesurfer.ATLAS)} has none of {', '.join(names)}; "
            "give FreeSurfer's with -d freesurfer=SUBJECTS_DIR"
        )
    lacking = [name for name in names if name not in known]
    return {"from": atlas.name(freesurfer.ATLAS), "regions": names, "file": None, "lacking": lacking}


def folder(settings: Settings) -> Path | None:
    """FreeSurfer's subjects: of -d freesurfer, else where fMRIPrep keeps them; None for the atlas."""
    given = settings.select.derivatives
    if "freesurfer" in given:
        return None if is_nowhere("freesurfer", given["freesurfer"]) else given["freesurfer"]
    place = given["fmriprep"] / "sourcedata" / "freesurfer" if "fmriprep" in given else None
    return place if place is not None and place.is_dir() else None


def is_nowhere(name: str, path: Path) -> bool:
    """Whether -d NAME=PATH says that FreeSurfer's folder is not to be used."""
    return name == "freesurfer" and path.name == NOWHERE and not path.exists()


def place(
    *, kind: str, anat: Files, templates: Files, asked: Files, cache: str, space: str, seed: int, sloppy: bool
) -> Files:
    """`mask`, a file on the output grid that is 1 in the regions, and `note`, how they came there.

    Raises DataError where none of the regions has a voxel, or a wmparc does not lie where its T1w does.
    """
    grid = nib.load(templates["brain"])
    if asked["from"] == WMPARC:
        inside = _wmparc(Path(asked["file"]), anat, templates["brain"], kind, freesurfer.numbers(asked["regions"]))
        note = f"brought to {space} by nearest neighbour with the person's transform ({kind})"
    else:
        common = {"template": templates, "space": space, "seed": seed, "sloppy": sloppy}
        stamp = atlas.stamp(freesurfer.ATLAS)
        placed = Path(spaces.place(cache=cache, name=freesurfer.ATLAS, stamp=stamp, **common))
        about = json.loads((placed / "atlas.json").read_text())
        names = freesurfer.equivalents(asked["regions"]).values()
        wanted = [int(number) for number, name in about["names"].items() if name in names]
        inside, note = np.isin(np.asarray(nib.load(placed / "labels.nii.gz").dataobj), wanted), about["note"]
    if not inside.any():
        raise DataError(f"{asked['from']} has no voxel of {', '.join(asked['regions'])}")
    plain(inside.astype(np.uint8), grid.affine).to_filename("without.nii.gz")
    return {"mask": str(Path.cwd() / "without.nii.gz"), "note": note}


def parameters(asked: Files) -> Files:
    """What has to be the same in every person of an analysis, as the map's sidecar states it."""
    return {"WithoutRegions": asked["regions"], "WithoutRegionsFrom": asked["from"]} if asked else {}


def told(asked: Files, note: str) -> Files:
    """What else the sidecar says of it."""
    return {"WithoutRegionsNote": note, "RegionsWithoutEquivalent": asked["lacking"]} if asked else {}


def words(asked: Files, note: str = "") -> str:
    """What the methods say of it."""
    if not asked:
        return ""
    of = "FreeSurfer's wmparc of the person" if asked["from"] == WMPARC else f"the atlas {asked['from']}"
    placed = f" ({note})" if note else ""
    lacking = f" The atlas has no {', '.join(asked['lacking'])}, which stayed." if asked["lacking"] else ""
    return (
        f"{MAP} was set to 0 in {', '.join(asked['regions'])}, which did not count for its scaling either; the regions "
        f"are those of {of}{placed}.{lacking}"
    )


def _wmparc(file: Path, anat: Files, grid: str, kind: str, numbers: list[int]) -> np.ndarray:
    import ants  # takes longer to load than an atlas to read

    labels = read(file)
    values, mask = np.asarray(labels.dataobj), nib.load(anat["native"]["mask"])
    brain = np.asarray(mask.dataobj) > 0
    known = nearest((values > 0).astype(np.uint8), labels.affine, mask.shape, mask.affine) > 0
    dice = 2 * (brain & known).sum() / max(brain.sum() + known.sum(), 1)
    if dice < LEAST_DICE:
        raise DataError(
            f"{'/'.join(file.parts[-3:])} does not lie where the T1w's brain does (Dice {dice:.2f}): "
            "give the FreeSurfer folder that was made from this T1w"
        )
    plain(np.isin(values, numbers).astype(np.float32), labels.affine).to_filename("native.nii.gz")
    moving = ants.image_read("native.nii.gz")
    forward = anat["warps"][kind]["forward"]
    warped = ants.apply_transforms(ants.image_read(grid), moving, forward, interpolator="nearestNeighbor")
    return np.asarray(warped.numpy() > 0.5)


def read(file: Path) -> nib.Nifti1Image:
    """Labels int32 (X, Y, Z), RAS+, in scanner space. Raises DataError for what cannot be read."""
    try:
        image = nib.load(file)
        values = np.rint(np.asarray(image.dataobj)).astype(np.int32)
    except (OSError, EOFError, zlib.error, ValueError, nib.filebasedimages.ImageFileError) as error:
        raise DataError(f"{'/'.join(file.parts[-3:])} cannot be read ({error}); run FreeSurfer again") from error
    return nib.as_closest_canonical(nib.Nifti1Image(values, image.affine))
