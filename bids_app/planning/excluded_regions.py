"""Regions excluded from `t1w`: the source of their location, determined before anything is computed."""

from pathlib import Path
from typing import Any

from bids_app.atlases import atlas, freesurfer
from bids_app.bids.derivatives import find_wmparc
from bids_app.errors import MissingInputError, UsageError
from bids_app.planning.participant_records import ExcludedRegions
from bids_app.settings import Settings

MAP = "t1w"
WMPARC = "wmparc"
SWITCHED_OFF = "none"  # -d freesurfer=none: the atlas for all participants


def check(settings: Settings) -> None:
    """Raise UsageError for an unknown region, or if no map excludes regions."""
    names = settings.participant.exclude_regions
    if not names:
        return
    if MAP not in settings.participant.maps:
        raise UsageError(f"--exclude-regions applies to {MAP}, which is not among --maps")
    freesurfer.check(names)
    atlas.check((freesurfer.ATLAS,))


def find_source(participant: str, session: str | None, settings: Settings, *, alone: bool) -> ExcludedRegions | None:
    """The source of a participant's regions: wmparc if FreeSurfer's folder is given or within fMRIPrep's, else the
    atlas; None without --exclude-regions.

    `alone`: whether a folder `sub-XX` without session belongs to this session. Raises MissingInputError for a
    participant missing from the folder, UsageError if the atlas has none of the regions.
    """
    names = sorted(settings.participant.exclude_regions)
    if not names:
        return None
    if (root := find_freesurfer(settings)) is not None:
        try:
            file = find_wmparc(root, participant, session, alone=alone)
            return {"source": WMPARC, "regions": names, "file": str(file), "lacking": []}
        except MissingInputError as error:
            if not settings.participant.fallback_preprocessing:
                raise MissingInputError(
                    f"{error} Or add --fallback-preprocessing, which uses the atlas for such participants, or -d "
                    f"freesurfer={SWITCHED_OFF}, which uses it for all"
                ) from error
    known = freesurfer.equivalents(names)
    if not known:
        raise UsageError(
            f"--exclude-regions: the atlas {atlas.name(freesurfer.ATLAS)} has none of {', '.join(names)}; use "
            "FreeSurfer's segmentation with -d freesurfer=SUBJECTS_DIR"
        )
    lacking = [name for name in names if name not in known]
    return {"source": atlas.name(freesurfer.ATLAS), "regions": names, "file": None, "lacking": lacking}


def find_freesurfer(settings: Settings) -> Path | None:
    """FreeSurfer's subjects folder: that of -d freesurfer, else fMRIPrep's; None for the atlas."""
    derivatives = settings.select.derivatives
    if "freesurfer" in derivatives:
        return None if is_switched_off("freesurfer", derivatives["freesurfer"]) else derivatives["freesurfer"]
    place = derivatives["fmriprep"] / "sourcedata" / "freesurfer" if "fmriprep" in derivatives else None
    return place if place is not None and place.is_dir() else None


def is_switched_off(name: str, path: Path) -> bool:
    """Whether -d NAME=PATH disables FreeSurfer's folder."""
    return name == "freesurfer" and path.name == SWITCHED_OFF and not path.exists()


def map_parameters(excluded: ExcludedRegions | None) -> dict[str, Any]:
    """Sidecar fields that must be the same in every participant of an analysis."""
    if excluded is None:
        return {}
    return {"WithoutRegions": excluded["regions"], "WithoutRegionsFrom": excluded["source"]}


def describe_in_sidecar(excluded: ExcludedRegions | None, note: str) -> dict[str, Any]:
    """Further sidecar fields on the excluded regions."""
    return {"WithoutRegionsNote": note, "RegionsWithoutEquivalent": excluded["lacking"]} if excluded else {}


def describe_in_methods(excluded: ExcludedRegions | None, note: str = "") -> str:
    """The methods text on the excluded regions."""
    if excluded is None:
        return ""
    source = excluded["source"]
    origin = "the participant's FreeSurfer wmparc" if source == WMPARC else f"the atlas {source}"
    method = f" ({note})" if note else ""
    lacking = (
        f" The atlas has no {', '.join(excluded['lacking'])}, so these regions were not removed."
        if excluded["lacking"]
        else ""
    )
    return (
        f"{MAP} was set to 0 in {', '.join(excluded['regions'])}, which were also excluded from its scaling; the "
        f"regions are those of {origin}{method}.{lacking}"
    )
