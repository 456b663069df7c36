"""Regions that are taken out of `t1w`: what says where they are, looked for before anything is computed."""

from pathlib import Path
from typing import Any

from bids_app.atlases import atlas, freesurfer
from bids_app.bids import derivatives
from bids_app.errors import MissingInputError, UsageError
from bids_app.settings import Settings

Files = dict[str, Any]
MAP = "t1w"
WMPARC = "wmparc"
SWITCHED_OFF = "none"  # -d freesurfer=none: the atlas for everybody


def check(settings: Settings) -> None:
    """Raise UsageError for a region that is not known, or where there is no map that regions are taken out of."""
    names = settings.participant.without_regions
    if not names:
        return
    if MAP not in settings.participant.maps:
        raise UsageError(f"--without-regions: they are taken out of {MAP}, which is not among --maps")
    freesurfer.check(names)
    atlas.check((freesurfer.ATLAS,))


def find_source(participant: str, session: str | None, settings: Settings, *, alone: bool) -> Files:
    """What says where a person's regions are: wmparc where FreeSurfer's folder is given or lies in fMRIPrep's, else
    the atlas; nothing without --without-regions.

    `alone`: whether a folder `sub-XX` without a session is of this one. Raises MissingInputError for a person whom the
    folder lacks, UsageError where the atlas has none of the regions.
    """
    names = sorted(settings.participant.without_regions)
    if not names:
        return {}
    if (root := find_freesurfer(settings)) is not None:
        try:
            file = derivatives.find_wmparc(root, participant, session, alone=alone)
            return {"from": WMPARC, "regions": names, "file": str(file), "lacking": []}
        except MissingInputError as error:
            if not settings.participant.fallback_preprocessing:
                raise MissingInputError(
                    f"{error} Or give --fallback-preprocessing, which takes the atlas for such people, or "
                    f"-d freesurfer={SWITCHED_OFF}, which takes it for everybody"
                ) from error
    known = freesurfer.equivalents(names)
    if not known:
        raise UsageError(
            f"--without-regions: the atlas {atlas.name(freesurfer.ATLAS)} has none of {', '.join(names)}; "
            "give FreeSurfer's with -d freesurfer=SUBJECTS_DIR"
        )
    lacking = [name for name in names if name not in known]
    return {"from": atlas.name(freesurfer.ATLAS), "regions": names, "file": None, "lacking": lacking}


def find_freesurfer(settings: Settings) -> Path | None:
    """FreeSurfer's subjects: of -d freesurfer, else where fMRIPrep keeps them; None for the atlas."""
    given = settings.select.derivatives
    if "freesurfer" in given:
        return None if is_switched_off("freesurfer", given["freesurfer"]) else given["freesurfer"]
    place = given["fmriprep"] / "sourcedata" / "freesurfer" if "fmriprep" in given else None
    return place if place is not None and place.is_dir() else None


def is_switched_off(name: str, path: Path) -> bool:
    """Whether -d NAME=PATH says that FreeSurfer's folder is not to be used."""
    return name == "freesurfer" and path.name == SWITCHED_OFF and not path.exists()


def map_parameters(asked: Files) -> Files:
    """What has to be the same in every person of an analysis, as the map's sidecar states it."""
    return {"WithoutRegions": asked["regions"], "WithoutRegionsFrom": asked["from"]} if asked else {}


def describe_in_sidecar(asked: Files, note: str) -> Files:
    """What else the sidecar says of it."""
    return {"WithoutRegionsNote": note, "RegionsWithoutEquivalent": asked["lacking"]} if asked else {}


def describe_in_methods(asked: Files, note: str = "") -> str:
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
