"""Heatmaps of people held out, made beside their fold as they will lie in OUT_DIR."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bids_app import __version__
from bids_app.bids import outputs
from bids_app.dataset.grid import Grid
from bids_app.planning.group import description
from bids_app.preprocess.conform import plain

Files = dict[str, Any]


FILES, TABLE = "people", "heatmaps.tsv"


def write_participant_heatmaps(place: Path, plan: Files, grid: Grid, stated: Files) -> None:
    """Each held-out person's heatmap of one class (`target`: predicted, true, or a name), raw, on the maps' grid.

    They go into `people` of the fold's folder, laid out as in OUT_DIR, with a table of what they are.
    """
    told = pd.read_csv(place / "predictions.tsv", sep="\t", dtype=str, keep_default_na=False)
    methods = json.loads((place / "heatmaps.json").read_text())
    shutil.rmtree(place / FILES, ignore_errors=True)
    rows = []
    for method, about in methods.items():
        if "refused" in about or about["scope"] == "model":
            continue
        maps = np.load(place / f"heatmap_{method}.npy", mmap_mode="r")
        for row, person in enumerate(told.to_dict("records")):
            target = plan["target"]
            explained = person[target] if target in ("predicted", "true") else target
            one = plan["classes"].index(explained)
            image = plain(grid.volume(maps[row, one].astype(np.float32)), grid.affine)
            sidecar = _sidecar(person, explained, {"Analysis": plan["analysis"], "Method": method, **stated}, about)
            sidecar["Checks"] = {outputs.camel(key): value for key, value in about["checks"][row][one].items()}
            file = _file(person, sidecar)
            (place / FILES / file).parent.mkdir(parents=True, exist_ok=True)
            image.to_filename(place / FILES / f"{file}.nii.gz")
            (place / FILES / f"{file}.json").write_text(json.dumps(sidecar, indent=2) + "\n")
            known = {key: person[key] for key in ("participant_id", "session_id", "cell", "repeat", "fold")}
            rows.append(known | {"method": method, "explained": explained, "file": f"{file}.nii.gz"})
    columns = ["participant_id", "session_id", "cell", "repeat", "fold", "method", "explained", "file"]
    pd.DataFrame(rows, columns=columns).to_csv(place / TABLE, sep="\t", index=False)


def _file(person: Files, sidecar: Files) -> Path:
    """Where it stands in OUT_DIR, without extension."""
    session = None if person["session_id"] in ("", "n/a") else person["session_id"]
    repeat = f"Repeat{person['repeat']}" if int(person["repeat"]) > 1 else ""
    stem = outputs.filename(
        person["participant_id"],
        session,
        "statmap",
        "",
        space=sidecar["Space"],
        res=f"{sidecar['ResolutionMm']:g}".replace(".", "p"),
        stat=outputs.label(sidecar["Method"]),
        desc=description(sidecar["Analysis"], sidecar["Cell"], sidecar["ExplainedClass"]) + repeat,
    )
    return outputs.folder(Path(), person["participant_id"], session, "anat") / stem


def _sidecar(person: Files, explained: str, stated: Files, about: Files) -> Files:
    return {
        "Description": f"What {stated['Cell']} used of this held-out person for {explained}; not where a disease is",
        **stated,
        "Parameters": {outputs.camel(key): value for key, value in about["options"].items()},
        "Units": about["unit"],
        "Sign": about["sign"],
        "ModelSpread": about["person_sd"],
        "ExplainedClass": explained,
        "PredictedClass": person["predicted"],
        "Repeat": int(person["repeat"]),
        "Fold": int(person["fold"]),
        "HeldOut": True,
        "PellucidVersion": __version__,
    }
