"""brainlife's product.json of a finished run: numbers and the group's pictures; no image of any one person.

product.py OUT_DIR EXIT_CODE
"""

import base64
import csv
import json
import sys
from pathlib import Path
from typing import Any

CODES = {1: "some people failed, the others are finished; see qc.tsv and sub-*/log"}


def rows(file: Path) -> list[dict[str, str]]:
    """A table of OUT_DIR; empty where it is not there."""
    if not file.is_file():
        return []
    with file.open(newline="") as text:
        return list(csv.DictReader(text, delimiter="\t"))


def told(title: str, line: dict[str, str]) -> dict[str, str]:
    """A row of a table in words."""
    return {"type": "info", "msg": f"{title}: " + ", ".join(f"{name} {value}" for name, value in line.items())}


def picture(file: Path) -> dict[str, str]:
    """A PNG of the group."""
    return {"type": "image/png", "name": file.stem, "base64": base64.b64encode(file.read_bytes()).decode()}


def product(out: Path, code: int) -> dict[str, Any]:
    """What brainlife shows. Pictures of a group only where each class has ten people, as in its `share/`."""
    shown: list[dict[str, str]] = []
    for analysis in sorted(path.parent for path in out.glob("group/*/report.html")):
        shared = analysis / "share"
        if scores := rows(shared / "scores.tsv"):
            shown += [told(analysis.name, line) for line in scores]
            shown += [picture(file) for file in sorted(analysis.glob("figures/*.png"))]
        elif shared.is_dir():  # a model that was applied has none
            few = "a class has fewer than ten people tested, so that scores and pictures are in the output alone"
            shown.append({"type": "info", "msg": f"{analysis.name}: {few}"})
    failed = [line["participant_id"] for line in rows(out / "qc.tsv") if line["status"] != "done"]
    warnings = [f"not finished: {', '.join(failed)}"] if failed else []
    errors = [] if code == 0 else [CODES.get(code, f"pellucid ended with exit code {code}; see the log")]
    return {"brainlife": shown, "errors": errors, "warnings": warnings, "tags": ["pellucid"]}


if __name__ == "__main__":
    print(json.dumps(product(Path(sys.argv[1]), int(sys.argv[2])), indent=1))
