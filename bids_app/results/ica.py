"""The components of the ICA within folds."""

import json

import numpy as np
import pandas as pd

from bids_app.dataset.grid import Grid
from bids_app.nodes.ica import FIT_FILE
from bids_app.planning.group import GroupPlan
from bids_app.planning.ica import fold_key
from bids_app.planning.work_dir import WorkDir
from bids_app.preprocess.conform import to_nifti
from bids_app.report.ica import MatchedComponent


def matched_components(analysis: GroupPlan, work_dir: WorkDir) -> list[MatchedComponent]:
    """Each map's component in the first fold with its reference; empty without ICA."""
    plan, first = analysis.ica, analysis.splits[0]
    if plan is None:
        return []
    components = pd.DataFrame(json.loads(work_dir.component_matches.read_text())).set_index(["place", "network"])
    grid = Grid.read(work_dir.grid(plan.maps[0]))
    references = np.load(work_dir.reference_networks(plan.sha256))
    matched = []
    for name in plan.maps:
        network = name.partition("-")[2]
        with np.load(work_dir.ica / str(components.loc[(fold_key(first), network), "folder"]) / FIT_FILE) as fitted:
            number = plan.networks.index(network)
            component = fitted["components"][fitted["component"][number]]
        images = (to_nifti(grid.volume(values), grid.affine) for values in (component, references[:, number]))
        matched.append(MatchedComponent(network, f"repeat {first.repeat}, fold {first.fold}", *images))
    return matched


def component_table(analysis: GroupPlan, work_dir: WorkDir) -> pd.DataFrame | None:
    """repeat, fold, network, component (from 1), r and unconverged (of ten starts) by fold; None without ICA."""
    if analysis.ica is None:
        return None
    rows = pd.DataFrame(json.loads(work_dir.component_matches.read_text())).set_index("place")
    parts = [
        rows.loc[[fold_key(split)]].assign(repeat=split.repeat, fold=split.fold)[
            ["repeat", "fold", "network", "component", "r", "unconverged"]
        ]
        for split in analysis.splits
    ]
    return pd.concat(parts, ignore_index=True)
