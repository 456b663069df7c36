"""index.html and qc.tsv of OUT_DIR, and what the pages say of other participants: written again by each level."""

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_app.bids import outputs
from bids_app.bids.names import session_name
from bids_app.report.index import qc_table, write_index
from bids_app.report.page import save_page
from bids_app.report.quality import render_quality, replace_quality, summarise_measures
from bids_app.results.participants import participant_rows

INDEX = "index.html"
QC_TABLE = "qc.tsv"
GROWTH = 1.1


def publish_index(output_dir: Path, *, processed: Collection[tuple[str, str | None]] | None = None) -> None:
    """Write both, with what is in OUT_DIR now, and the places of participants on their pages.

    `processed`: participants and sessions of this run, None for all. Pages of others are written again only when
    their number has grown by a tenth, lest each of many jobs that share OUT_DIR write all of them.
    """
    rows = participant_rows(output_dir)
    reports = sorted(file.relative_to(output_dir).as_posix() for file in output_dir.glob("group/*/report.html"))
    analyses = {report.split("/")[1]: report for report in reports}
    if _growth_step(_count_rows(output_dir / QC_TABLE)) != _growth_step(len(rows)):
        processed = None
    write_index(output_dir / INDEX, rows, analyses=analyses)
    _update_pages(output_dir, rows, analyses, processed)
    # last, since its length says for how many participants the pages are up to date
    outputs.write_root(output_dir, QC_TABLE, qc_table(rows))


def _update_pages(
    output_dir: Path,
    rows: Sequence[Mapping[str, Any]],
    analyses: Mapping[str, str],
    processed: Collection[tuple[str, str | None]] | None,
) -> None:
    """Write the places and links on the pages of processed participants and of their neighbours."""
    distributions = summarise_measures(rows)
    shown = [row for row in rows if row["report"]]
    renewed = [processed is None or (row["participant_id"], row["session_id"]) in processed for row in shown]
    for at, row in enumerate(shown):
        if any(renewed[max(at - 1, 0) : at + 2]):
            links = {"All participants": INDEX}
            for text, other in (("Previous", at - 1), ("Next", at + 1)):
                if 0 <= other < len(shown):
                    name = session_name(shown[other]["participant_id"], shown[other]["session_id"])
                    links[f"{text}: {name}"] = shown[other]["report"]
            links |= {f"Group report: {name}": report for name, report in analyses.items()}
            _update_page(output_dir / row["report"], render_quality(row, distributions, links=links))


def _update_page(path: Path, fragment: str) -> None:
    """Replace the fragment; not if another job replaces or removes the page meanwhile: its index does the same."""
    try:
        before = path.stat()
        page = replace_quality(path.read_text(encoding="utf-8"), fragment)
        now = path.stat()
    except FileNotFoundError:
        return
    if (now.st_ino, now.st_mtime_ns) == (before.st_ino, before.st_mtime_ns):
        save_page(path, page)


def _count_rows(table: Path) -> int:
    """The number of participants in the qc.tsv that is being replaced."""
    return len(table.read_bytes().splitlines()) - 1 if table.is_file() else 0


def _growth_step(count: int) -> int:
    """A number that increases each time a count has grown by a tenth; with each participant for counts up to 10."""
    return math.floor(math.log(count, GROWTH)) if count > 0 else 0
