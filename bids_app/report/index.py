"""The index page of all participants, and the same as a quality-control table."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bids_app.report.page import format_number, render_page, save_page

NAMED_COLUMNS = ("participant_id", "session_id", "status", "report")


def write_index(path: Path, rows: list[dict[str, Any]], *, analyses: Mapping[str, str]) -> None:
    """Write index.html: the reports of analyses (relative links by name), then one row per participant and session,
    failed ones first.

    A row has participant_id, session_id (or None), status ('done', or the reason of the failure), report (a relative
    link or None), and further columns such as GM, WM, CSF and TIV in mL; missing values are shown as n/a.
    """
    ordered = sorted(rows, key=lambda row: (row["status"] == "done", *_sort_key(row)))
    done = sum(row["status"] == "done" for row in rows)
    page = render_page(
        "index.html",
        title="Pellucid: participants and analyses",
        analyses=analyses,
        rows=ordered,
        columns=_columns(rows),
        done=done,
        failed=len(rows) - done,
    )
    save_page(path, page)


def qc_table(rows: list[dict[str, Any]]) -> str:
    """The same rows as TSV text, sorted by participant, without the links."""
    columns = ["participant_id", "session_id", "status", *_columns(rows)]
    text = io.StringIO()
    table = csv.writer(text, delimiter="\t", lineterminator="\n")
    table.writerow(columns)
    for row in sorted(rows, key=_sort_key):
        session = row.get("session_id")
        row = row | {"participant_id": f"sub-{row['participant_id']}", "session_id": session and f"ses-{session}"}
        table.writerow([" ".join(format_number(row.get(column), 6).split()) for column in columns])
    return text.getvalue()


def _sort_key(row: dict[str, Any]) -> tuple[str, str]:
    return str(row["participant_id"]), str(row.get("session_id") or "")


def _columns(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(column for row in rows for column in row if column not in NAMED_COLUMNS))
