"""Heatmaps of held-out participants, written in the fold's folder with the layout of OUT_DIR."""

import json
import shutil
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bids_app import __version__
from bids_app.bids import outputs
from bids_app.bids.names import parse_session, resolution_label
from bids_app.dataset.grid import Grid
from bids_app.planning.group import heatmap_label
from bids_app.planning.group_records import TrainingPlan
from bids_app.preprocess.conform import to_nifti
from bids_app.training.fold_files import FoldFiles


def write_participant_heatmaps(files: FoldFiles, plan: TrainingPlan, grid: Grid, metadata: dict[str, Any]) -> None:
    """Write the raw heatmap of one class for each held-out participant, on the maps' grid.

    `target`: the predicted or true class, or a name. They go into the fold's folder, with
    the layout of OUT_DIR, and are listed in a table. metadata: of all their sidecars.
    """
    predictions = pd.read_csv(files.predictions, sep="\t", dtype=str, keep_default_na=False)
    methods = json.loads(files.heatmaps.read_text())
    shutil.rmtree(files.participant_heatmaps, ignore_errors=True)
    rows = []
    for method, about in methods.items():
        if "refused" in about or about["scope"] == "model":
            continue
        maps = np.load(files.heatmap(method), mmap_mode="r")
        for row, participant in enumerate(predictions.to_dict("records")):
            target = plan["target"]
            explained = participant[target] if target in ("predicted", "true") else target
            index = plan["classes"].index(explained)
            image = to_nifti(grid.volume(maps[row, index].astype(np.float32)), grid.affine)
            sidecar = _sidecar(
                participant, explained, {"Analysis": plan["analysis"], "Method": method, **metadata}, about
            )
            sidecar["Checks"] = {outputs.camel(key): value for key, value in about["checks"][row][index].items()}
            file = _output_stem(participant, sidecar)
            folder = files.participant_heatmaps
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            image.to_filename(folder / f"{file}.nii.gz")
            (folder / f"{file}.json").write_text(json.dumps(sidecar, indent=2) + "\n")
            known = {key: participant[key] for key in ("participant_id", "session_id", "cell", "repeat", "fold")}
            rows.append(known | {"method": method, "explained": explained, "file": f"{file}.nii.gz"})
    columns = ["participant_id", "session_id", "cell", "repeat", "fold", "method", "explained", "file"]
    pd.DataFrame(rows, columns=columns).to_csv(files.participant_heatmap_table, sep="\t", index=False)


def _output_stem(person: Mapping[Hashable, Any], sidecar: Mapping[str, Any]) -> Path:
    """The path of a heatmap in OUT_DIR, without extension."""
    session = parse_session(person["session_id"])
    repeat = f"Repeat{person['repeat']}" if int(person["repeat"]) > 1 else ""
    stem = outputs.filename(
        person["participant_id"],
        session,
        "statmap",
        "",
        space=sidecar["Space"],
        res=resolution_label(sidecar["ResolutionMm"]),
        stat=outputs.label(sidecar["Method"]),
        desc=heatmap_label(sidecar["Analysis"], sidecar["Cell"], sidecar["ExplainedClass"]) + repeat,
    )
    return outputs.folder(Path(), person["participant_id"], session, "anat") / stem


def _sidecar(
    person: Mapping[Hashable, Any], explained: str, metadata: Mapping[str, Any], about: Mapping[str, Any]
) -> dict[str, Any]:
    """The sidecar of one heatmap; about: its method's entry in heatmaps.json."""
    return {
        "Description": (
            f"What {metadata['Cell']} used for class {explained} in this held-out participant; not where a disease is"
        ),
        **metadata,
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
