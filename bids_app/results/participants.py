"""The participants in an OUT_DIR, one row each, with quality measures."""

import logging
from pathlib import Path
from typing import Any

from bids_app.bids import outputs
from bids_app.bids.names import parse_session_name
from bids_app.dataset import scans
from bids_app.errors import DataError, MissingInputError

log = logging.getLogger("pellucid")


def participant_rows(out: Path) -> list[dict[str, Any]]:
    """All participants with a page in OUT_DIR or a failure there, in this job or another."""
    pages = {parse_session_name(path.stem): path.name for path in out.glob("sub-*.html")}
    failed = outputs.failures(out)
    rows = []
    for entities in sorted({*pages, *failed}, key=lambda pair: (pair[0], pair[1] or "")):
        row = {"participant_id": entities[0], "session_id": entities[1], "status": failed.get(entities, "done")}
        rows.append({**row, "report": pages.get(entities), **_quality(out, *entities)})
    return rows


def _quality(out: Path, participant: str, session: str | None) -> dict[str, Any]:
    """Volumes (mL), motion (mm) and minutes of BOLD, and the preprocessing pipeline, from the maps' sidecars."""
    quality: dict[str, Any] = {}
    for sidecar in _sidecars(outputs.folder(out, participant, session, "anat"), "TissueVolumes")[:1]:
        quality |= {name: round(value, 1) for name, value in sidecar["TissueVolumes"].items()}
        quality["source"] = sidecar.get("PreprocessingSource")
    runs = _sidecars(outputs.folder(out, participant, session, "func"), "MinutesLeft")
    if runs := [run for run in runs if run["MapParameters"].get("Map") == runs[0]["MapParameters"].get("Map")]:
        moved = [run.get("MeanFramewiseDisplacement") for run in runs]
        displacements = [value for value in moved if value is not None]
        quality["mean_fd"] = round(sum(displacements) / len(displacements), 3) if displacements else None
        quality["minutes"] = round(sum(run["MinutesLeft"] for run in runs), 2)
        quality["source"] = quality.get("source", runs[0].get("PreprocessingSource"))
    return quality


def _sidecars(folder: Path, key: str) -> list[dict[str, Any]]:
    """The sidecars of maps that state a key, in the order of their names; a damaged one is logged, and left out."""
    sidecars = []
    for file in sorted(folder.glob("*_space-*.json")):
        try:
            sidecars.append(scans.read_sidecar(file.with_suffix(".nii.gz")))
        except (DataError, MissingInputError) as error:
            log.warning("%s: not in the table of participants: %s", file.name, error)
    return [sidecar for sidecar in sidecars if sidecar.get(key) is not None and sidecar.get("MapParameters")]
