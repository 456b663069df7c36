"""What brainlife's config.json asks for: which image goes where in a BIDS data set, and the commands to run.

stage.py list config.json        lines: image, TAB, its place below bids/
stage.py describe config.json    writes bids/dataset_description.json and bids/participants.tsv
stage.py commands config.json    lines: the words that follow `pellucid bids output`
"""

import csv
import json
import re
import shlex
import sys
from pathlib import Path

BIDS = Path("bids")
WORK = ["-w", "work", "--nprocs", "4", "--mem-mb", "15000"]


def people(config: dict) -> list[tuple[str, str, str]]:
    """Image, person and session of every T1w; `t1` is one path or several, `_inputs` says whose, in the same order."""
    images = [config["t1"]] if isinstance(config["t1"], str) else config["t1"]
    metas = [one.get("meta", {}) for one in config.get("_inputs", []) if one.get("id", "t1") == "t1"]
    metas += [{}] * (len(images) - len(metas))
    found = []
    for number, (image, meta) in enumerate(zip(images, metas, strict=False), start=1):
        who, session = (re.sub("[^0-9A-Za-z]", "", str(meta.get(name) or "")) for name in ("subject", "session"))
        found.append((image, who or f"{number:02}", session))
    return found


def place(image: str, who: str, session: str) -> Path:
    """Where a T1w stands in the BIDS data set."""
    parts = [f"sub-{who}", *([f"ses-{session}"] if session else [])]
    ending = ".nii.gz" if image.endswith(".gz") else ".nii"
    return BIDS.joinpath(*parts, "anat", "_".join([*parts, f"T1w{ending}"]))


def describe(config: dict) -> None:
    """Write what a BIDS data set states of itself; `participants` is a list of rows, or a TSV."""
    BIDS.mkdir(exist_ok=True)
    (BIDS / "dataset_description.json").write_text(json.dumps({"Name": "brainlife", "BIDSVersion": "1.10.0"}))
    rows = config.get("participants") or []
    if isinstance(rows, str):
        with Path(rows).open(newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    if rows:
        with (BIDS / "participants.tsv").open("w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]), delimiter="\t")
            table.writeheader()
            table.writerows(rows)


def commands(config: dict) -> list[list[str]]:
    """The participant level, and the group's where a label is given. `options` holds more words for each level."""
    more = config.get("options", {})
    levels = ["participant", *(["group"] if config.get("label") else [])]
    words = {"participant": ["--maps", *shlex.split(config.get("maps", "gm"))], "group": []}
    if config.get("label"):
        words["group"] = ["--label", config["label"], "--classes", *shlex.split(config["classes"])]
    return [[level, *words[level], *WORK, *shlex.split(more.get(level, ""))] for level in levels]


if __name__ == "__main__":
    asked = json.loads(Path(sys.argv[2]).read_text())
    if sys.argv[1] == "list":
        print("\n".join(f"{image}\t{place(image, who, session)}" for image, who, session in people(asked)))
    elif sys.argv[1] == "describe":
        describe(asked)
    else:
        print("\n".join(shlex.join(words) for words in commands(asked)))
