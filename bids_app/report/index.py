"""The index page of all participants, and the same as a quality-control table."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_app.report.page import format_number, render_page, save_page
from bids_app.report.quality import MEASURES, MIN_PARTICIPANTS, TABLE_COLUMNS, find_outliers, summarise_measures

Rows = Sequence[Mapping[str, Any]]


def write_index(path: Path, rows: Rows, *, analyses: Mapping[str, str]) -> None:
    """Write index.html: the reports of analyses (relative links by name), then one row per participant and session,
    failed ones first.

    A row has participant_id, session_id (or None), status ('done', or the reason of the failure), report (a relative
    link or None), and measures by their names in qc.tsv.
    """
    distributions = summarise_measures(rows)
    ordered = sorted(rows, key=lambda row: (row["status"] == "done", *_sort_key(row)))
    done = sum(row["status"] == "done" for row in rows)
    page = render_page(
        "index.html",
        title="Pellucid: participants and analyses",
        analyses=analyses,
        rows=[(row, find_outliers(row, distributions)) for row in ordered],
        measures={name: measure for name, measure in MEASURES.items() if any(name in row for row in rows)},
        sessions=any(row.get("session_id") for row in rows),
        done=done,
        failed=len(rows) - done,
        min_participants=MIN_PARTICIPANTS,
    )
    save_page(path, page)


def qc_table(rows: Rows) -> str:
    """The same rows as TSV text, sorted by participant, without the links; `outliers` names measures."""
    distributions = summarise_measures(rows)
    columns = [column for column in TABLE_COLUMNS if any(column in row for row in rows)]
    text = io.StringIO()
    table = csv.writer(text, delimiter="\t", lineterminator="\n")
    table.writerow(["participant_id", "session_id", "status", *columns, "outliers"])
    for row in sorted(rows, key=_sort_key):
        session = row.get("session_id")
        labels = [f"sub-{row['participant_id']}", session and f"ses-{session}", row["status"]]
        outliers = ",".join(find_outliers(row, distributions)) or None
        cells = [*labels, *(row.get(column) for column in columns), outliers]
        table.writerow([" ".join(format_number(cell, 6).split()) for cell in cells])
    return text.getvalue()


def _sort_key(row: Mapping[str, Any]) -> tuple[str, str]:
    return str(row["participant_id"]), str(row.get("session_id") or "")
