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


def list_images(config: dict) -> list[tuple[str, str, str]]:
    """Image, participant and session of every T1w; `t1` is a path or several, `_inputs` has their metadata in order."""
    images = [config["t1"]] if isinstance(config["t1"], str) else config["t1"]
    metas = [entry.get("meta", {}) for entry in config.get("_inputs", []) if entry.get("id", "t1") == "t1"]
    metas += [{}] * (len(images) - len(metas))
    rows = []
    for number, (image, meta) in enumerate(zip(images, metas, strict=False), start=1):
        participant, session = (
            re.sub("[^0-9A-Za-z]", "", str(meta.get(name) or "")) for name in ("subject", "session")
        )
        rows.append((image, participant or f"{number:02}", session))
    return rows


def bids_path(image: str, participant: str, session: str) -> Path:
    """The path of a T1w in the BIDS data set."""
    parts = [f"sub-{participant}", *([f"ses-{session}"] if session else [])]
    ending = ".nii.gz" if image.endswith(".gz") else ".nii"
    return BIDS.joinpath(*parts, "anat", "_".join([*parts, f"T1w{ending}"]))


def describe(config: dict) -> None:
    """Write dataset_description.json and participants.tsv; `participants` is a list of rows, or a TSV."""
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
    config = json.loads(Path(sys.argv[2]).read_text())
    if sys.argv[1] == "list":
        print("\n".join(f"{row[0]}\t{bids_path(*row)}" for row in list_images(config)))
    elif sys.argv[1] == "describe":
        describe(config)
    else:
        print("\n".join(shlex.join(words) for words in commands(config)))
