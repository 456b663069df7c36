"""index.html and qc.tsv of OUT_DIR: all participants and analyses, written again by each level."""

from pathlib import Path

from bids_app.bids import outputs
from bids_app.report.index import qc_table, write_index
from bids_app.results.participants import participant_rows

INDEX = "index.html"


def publish_index(output_dir: Path) -> None:
    """Write both, with what is in OUT_DIR now."""
    rows = participant_rows(output_dir)
    reports = sorted(file.relative_to(output_dir).as_posix() for file in output_dir.glob("group/*/report.html"))
    write_index(output_dir / INDEX, rows, analyses={report.split("/")[1]: report for report in reports})
    outputs.write_root(output_dir, "qc.tsv", qc_table(rows))
