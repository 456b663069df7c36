"""The page over all people, and the same as a table of quality checks."""

import csv
import io
from pathlib import Path
from typing import Any

from bids_app.report.page import number, render, save

FIXED = ("participant_id", "session_id", "status", "report")


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write index.html: one row a person and session, whoever failed first.

    A row has participant_id, session_id (or None), status ('done', or what went wrong), report (a relative link or
    None), and further columns such as GM, WM, CSF and TIV in mL; columns that a row lacks read n/a.
    """
    ordered = sorted(rows, key=lambda row: (row["status"] == "done", *_name(row)))
    done = sum(row["status"] == "done" for row in rows)
    page = render(
        "index.html", title="Pellucid: people", rows=ordered, columns=_columns(rows), done=done, failed=len(rows) - done
    )
    save(path, page)


def qc(rows: list[dict[str, Any]]) -> str:
    """The same rows as TSV text, sorted by person, without the links."""
    columns = ["participant_id", "session_id", "status", *_columns(rows)]
    text = io.StringIO()
    table = csv.writer(text, delimiter="\t", lineterminator="\n")
    table.writerow(columns)
    for row in sorted(rows, key=_name):
        session = row.get("session_id")
        row = row | {"participant_id": f"sub-{row['participant_id']}", "session_id": session and f"ses-{session}"}
        table.writerow([" ".join(number(row.get(column), 6).split()) for column in columns])
    return text.getvalue()


def _name(row: dict[str, Any]) -> tuple[str, str]:
    return str(row["participant_id"]), str(row.get("session_id") or "")


def _columns(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(column for row in rows for column in row if column not in FIXED))
