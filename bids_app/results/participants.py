"""The participants in an OUT_DIR, one row each, with quality measures."""

import json
import logging
from pathlib import Path
from typing import Any

from bids_app.bids import outputs
from bids_app.bids.names import parse_session_name
from bids_app.report.quality import TABLE_COLUMNS

log = logging.getLogger("pellucid")


def participant_rows(out: Path) -> list[dict[str, Any]]:
    """All participants with a page in OUT_DIR or a failure there, in this job or another, ordered by label."""
    pages = {parse_session_name(path.stem): path.name for path in out.glob("sub-*.html")}
    failed = outputs.failures(out)
    rows = []
    for entities in sorted({*pages, *failed}, key=lambda pair: (pair[0], pair[1] or "")):
        row = {"participant_id": entities[0], "session_id": entities[1], "status": failed.get(entities, "done")}
        rows.append({**row, "report": pages.get(entities), **_read_quality(out / outputs.log_file(*entities, "qc"))})
    return rows


def _read_quality(file: Path) -> dict[str, Any]:
    """The measures that a node left; a file that is not as Pellucid wrote it is logged, and left out."""
    try:
        measures = json.loads(file.read_bytes())
        return {
            name: str(measures[name]) if name == "source" else float(measures[name])
            for name in TABLE_COLUMNS
            if name in measures
        }
    except FileNotFoundError:
        return {}  # failed, or processed by a version that wrote none
    except (OSError, ValueError, TypeError) as error:
        log.warning("%s: quality measures cannot be read (%s); process the participant again", file.name, error)
        return {}
