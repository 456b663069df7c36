"""The components of the ICA within folds, from what its nodes left."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from bids_app.dataset.grid import Grid
from bids_app.nodes.ica import FITTED, FOLDER, TOLD
from bids_app.planning.group import Analysis
from bids_app.planning.ica import key
from bids_app.preprocess.conform import to_nifti
from bids_app.report import ica as report


def matched_components(analysis: Analysis, work: Path) -> list[report.Matched]:
    """Each map's component in the first fold beside its reference; nothing without ICA."""
    plan, first = analysis.ica, analysis.splits[0]
    if plan is None:
        return []
    told = pd.DataFrame(json.loads((work / FOLDER / TOLD).read_text())).set_index(["place", "network"])
    grid = Grid.read(work / f"grid_{plan.maps[0]}.npz")
    references = np.load(work / f"networks-{plan.sha256[:32]}.npy")
    found = []
    for name in plan.maps:
        network = name.partition("-")[2]
        with np.load(work / FOLDER / told.loc[(key(first), network), "folder"] / FITTED) as fitted:
            number = plan.networks.index(network)
            own = fitted["components"][fitted["component"][number]]
        images = (to_nifti(grid.volume(values), grid.affine) for values in (own, references[:, number]))
        found.append(report.Matched(network, f"repeat {first.repeat}, fold {first.fold}", *images))
    return found


def component_table(analysis: Analysis, work: Path) -> pd.DataFrame | None:
    """repeat, fold, network, component (from 1), r and unconverged (of ten starts) by fold; None without ICA."""
    if analysis.ica is None:
        return None
    rows = pd.DataFrame(json.loads((work / FOLDER / TOLD).read_text())).set_index("place")
    parts = [
        rows.loc[[key(split)]].assign(repeat=split.repeat, fold=split.fold)[
            ["repeat", "fold", "network", "component", "r", "unconverged"]
        ]
        for split in analysis.splits
    ]
    return pd.concat(parts, ignore_index=True)
