"""brainlife's product.json of a finished run: numbers and the group's pictures; no image of a single participant.

product.py OUT_DIR EXIT_CODE
"""

import base64
import csv
import json
import sys
from pathlib import Path
from typing import Any

CODES = {1: "some participants failed, the others are complete; see qc.tsv and sub-*/log"}


def read_rows(file: Path) -> list[dict[str, str]]:
    """A table of OUT_DIR; empty where it is not there."""
    if not file.is_file():
        return []
    with file.open(newline="") as text:
        return list(csv.DictReader(text, delimiter="\t"))


def message(title: str, row: dict[str, str]) -> dict[str, str]:
    """A row of a table as a message of brainlife."""
    return {"type": "info", "msg": f"{title}: " + ", ".join(f"{name} {value}" for name, value in row.items())}


def encode_picture(file: Path) -> dict[str, str]:
    """A PNG of the group."""
    return {"type": "image/png", "name": file.stem, "base64": base64.b64encode(file.read_bytes()).decode()}


def product(out: Path, code: int) -> dict[str, Any]:
    """What brainlife shows; pictures of a group only where each class has ten participants, as in its `share/`."""
    entries: list[dict[str, str]] = []
    for analysis in sorted(path.parent for path in out.glob("group/*/report.html")):
        shared = analysis / "share"
        if scores := read_rows(shared / "scores.tsv"):
            entries += [message(analysis.name, row) for row in scores]
            entries += [encode_picture(file) for file in sorted(analysis.glob("figures/*.png"))]
        elif shared.is_dir():  # a model that was applied has none
            few = "a class has fewer than ten participants tested, so that scores and pictures are in the output alone"
            entries.append({"type": "info", "msg": f"{analysis.name}: {few}"})
    failed = [row["participant_id"] for row in read_rows(out / "qc.tsv") if row["status"] != "done"]
    warnings = [f"not complete: {', '.join(failed)}"] if failed else []
    errors = [] if code == 0 else [CODES.get(code, f"pellucid ended with exit code {code}; see the log")]
    return {"brainlife": entries, "errors": errors, "warnings": warnings, "tags": ["pellucid"]}


if __name__ == "__main__":
    print(json.dumps(product(Path(sys.argv[1]), int(sys.argv[2])), indent=1))
