"""The images of the voxelwise test, with their sidecars."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bids_app import __version__
from bids_app.bids import outputs
from bids_app.bids.names import resolution_label
from bids_app.evaluation.voxelwise import VoxelwiseComparison
from bids_app.planning.group import Analysis
from bids_app.planning.voxelwise_test import contrast_label
from bids_app.preprocess.conform import to_nifti


def write_voxelwise_test(
    folder: Path, tested: Sequence[VoxelwiseComparison], analysis: Analysis, told: Sequence[str]
) -> None:
    """Images of t, TFCE and -log10 p with their sidecars; told: what limits the test (`Compared.limits`)."""
    for one in tested:
        values = {"t": one.statistics.t, "tfce": one.statistics.tfce, "logp": -np.log10(one.p)}
        units = {"t": "t", "tfce": "TFCE", "logp": "-log10 p, family-wise"}
        for name, its in values.items():
            stem = outputs.filename(
                None,
                None,
                "statmap",
                "",
                space=analysis.space,
                res=resolution_label(analysis.resolutions[one.map]),
                stat=name,
                desc=contrast_label(one.map, one.explained),
            )
            to_nifti(one.grid.volume(its.astype(np.float32)), one.grid.affine).to_filename(folder / f"{stem}.nii.gz")
            sidecar = {
                "Description": f"{one.contrast} in {one.map}, voxel by voxel, without any classifier",
                "Test": "two-sided t in a linear model; TFCE (E 0.5, H 2); permutation after Freedman and Lane",
                "Contrast": one.contrast,
                "Map": one.map,
                "Permutations": len(one.statistics.null),
                "Covariates": list(one.covariates),
                "People": one.people,
                "Family": f"all voxels of {one.family} comparisons: every map, each class against {one.reference}",
                "Limits": list(told),
                "Units": units[name],
                "Space": analysis.space,
                "PellucidVersion": __version__,
            }
            (folder / f"{stem}.json").write_text(json.dumps(sidecar, indent=2) + "\n")
