"""The images of the voxelwise test, with their sidecars."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bids_app import __version__
from bids_app.bids import outputs
from bids_app.bids.names import resolution_label
from bids_app.evaluation.voxelwise import VoxelwiseComparison
from bids_app.planning.group import GroupPlan
from bids_app.planning.voxelwise_test import contrast_label
from bids_app.preprocess.conform import to_nifti


def write_voxelwise_test(
    folder: Path, tested: Sequence[VoxelwiseComparison], analysis: GroupPlan, limits: Sequence[str]
) -> None:
    """Write images of t, TFCE and -log10 p with their sidecars; limits: of the test (`Compared.limits`)."""
    for test in tested:
        values = {"t": test.statistics.t, "tfce": test.statistics.tfce, "logp": -np.log10(test.p)}
        units = {"t": "t", "tfce": "TFCE", "logp": "-log10 p, family-wise"}
        for name, statistic in values.items():
            stem = outputs.filename(
                None,
                None,
                "statmap",
                "",
                space=analysis.space,
                res=resolution_label(analysis.resolutions[test.map]),
                stat=name,
                desc=contrast_label(test.map, test.explained),
            )
            to_nifti(test.grid.volume(statistic.astype(np.float32)), test.grid.affine).to_filename(
                folder / f"{stem}.nii.gz"
            )
            sidecar = {
                "Description": f"{test.contrast} in {test.map}, voxel by voxel, without any classifier",
                "Test": "two-sided t in a linear model; TFCE (E 0.5, H 2); permutation after Freedman and Lane",
                "Contrast": test.contrast,
                "Map": test.map,
                "Permutations": len(test.statistics.null),
                "Covariates": list(test.covariates),
                "People": test.people,
                "Family": f"all voxels of {test.family} comparisons: every map, each class against {test.reference}",
                "Limits": list(limits),
                "Units": units[name],
                "Space": analysis.space,
                "PellucidVersion": __version__,
            }
            (folder / f"{stem}.json").write_text(json.dumps(sidecar, indent=2) + "\n")
