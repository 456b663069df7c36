"""Spine 1: scans -> maps in standard space -> one report a person."""

import json
import logging
from pathlib import Path
from typing import Any

from bids_app.bids import description, inputs, outputs
from bids_app.planning import participant, settings_from_model
from bids_app.report import index
from bids_app.settings import Settings
from bids_app.workflow import cite, people

log = logging.getLogger("pellucid")


def run(settings: Settings) -> int:
    """Make the maps of all people selected; returns 0, or 1 if some failed (the others are finished)."""
    settings = settings_from_model.taken(settings)
    outputs.check_output(settings.output_dir, settings.bids_dir)
    dataset = inputs.open_dataset(settings.bids_dir, validate=not settings.select.skip_bids_validation)
    planned = participant.make(dataset, settings)
    outputs.sweep(settings.output_dir)
    description.describe(settings.output_dir, bids_dir=settings.bids_dir, derivatives=settings.select.derivatives)
    cite.write(planned, settings)
    log.info(
        "%d to do, %d done before, %d that cannot be used", len(planned.jobs), len(planned.done), len(planned.failed)
    )

    failed = {**planned.failed, **people.run(planned, settings)}

    for job in planned.done:
        outputs.mark_well(settings.output_dir, job.participant, job.session)
    for name, reason in failed.items():
        log.warning("%s failed: %s", name, reason)
        outputs.mark_failed(settings.output_dir, *_who(name), reason)
    rows = _rows(settings.output_dir)
    index.write(settings.output_dir / "index.html", rows)
    outputs.write_root(settings.output_dir, "qc.tsv", index.qc(rows))
    finished = len(planned.jobs) + len(planned.failed) + len(planned.done) - len(failed)
    log.info("%d done, %d failed; see %s", finished, len(failed), settings.output_dir / "index.html")
    return 1 if failed else 0


def _rows(out: Path) -> list[dict[str, Any]]:
    """Everyone whose page stands in OUT_DIR, and who failed there, in this job or another."""
    pages = {_who(path.stem): path.name for path in out.glob("sub-*.html")}
    failed = outputs.failures(out)
    rows = []
    for who in sorted({*pages, *failed}, key=lambda who: (who[0], who[1] or "")):
        row = {"participant_id": who[0], "session_id": who[1], "status": failed.get(who, "done")}
        rows.append({**row, "report": pages.get(who), **_numbers(out, *who)})
    return rows


def _who(name: str) -> tuple[str, str | None]:
    """sub-01_ses-1 -> 01, 1."""
    participant, _, session = name.removeprefix("sub-").partition("_ses-")
    return participant, session or None


def _numbers(out: Path, participant: str, session: str | None) -> dict[str, Any]:
    """Volumes (mL), motion (mm) and minutes of BOLD, and who preprocessed, from the maps' sidecars."""
    found: dict[str, Any] = {}
    for stated in _stated(outputs.folder(out, participant, session, "anat"), "TissueVolumes")[:1]:
        found |= {name: round(value, 1) for name, value in stated["TissueVolumes"].items()}
        found["source"] = stated["PreprocessingSource"]
    runs = _stated(outputs.folder(out, participant, session, "func"), "MinutesLeft")
    if runs := [run for run in runs if run["MapParameters"]["Map"] == runs[0]["MapParameters"]["Map"]]:
        moved = [run["MeanFramewiseDisplacement"] for run in runs if run["MeanFramewiseDisplacement"] is not None]
        found["mean_fd"] = round(sum(moved) / len(moved), 3) if moved else None
        found["minutes"] = round(sum(run["MinutesLeft"] for run in runs), 2)
        found["source"] = found.get("source", runs[0]["PreprocessingSource"])
    return found


def _stated(folder: Path, key: str) -> list[dict[str, Any]]:
    """The sidecars of maps that state something, by name."""
    every = [json.loads(sidecar.read_text()) for sidecar in sorted(folder.glob("*_space-*.json"))]
    return [stated for stated in every if key in stated and "MapParameters" in stated]
