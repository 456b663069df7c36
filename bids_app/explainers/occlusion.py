"""Occlusion by region: how much the class's logit falls when a region of an atlas is set to the training mean.

Every voxel of a region has the region's value; voxels outside all regions are zero. Regions with redundant evidence
compensate for each other, so that each alone may seem unimportant.

Zeiler & Fergus 2014, ECCV, LNCS 8689:818-833, doi:10.1007/978-3-319-10590-1_53 (with squares in place of regions).
"""

import numpy as np
import torch
from numpy.typing import NDArray

from bids_app.explainers._state import evaluation_mode

SIGN = "both"
UNIT = "decrease of the logit without the region"
SCOPE = "sample"
REGIONWISE = True


def check(classifier: torch.nn.Module) -> str | None:
    """None for every classifier of the catalogue: regions of both volumes and vectors can be occluded."""
    return None if hasattr(classifier, "input_format") else "occlusion requires a classifier of this catalogue"


def explain(
    classifier: torch.nn.Module,
    x: torch.Tensor,
    target: int,
    *,
    mask: NDArray[np.bool_],
    parcels: NDArray[np.integer],
) -> NDArray[np.float32]:
    """Falls of the logit of class `target`: (X, Y, Z) for x (channels, X, Y, Z), (voxels,) for x (channels * voxels,).

    `parcels` (X, Y, Z): the region of each voxel, 0 for none; all channels of a region are occluded together.
    """
    regions = np.where(mask, parcels, 0)
    if x.ndim == 1:
        regions = regions[mask]
    labels = torch.from_numpy(regions.astype(np.int64)).to(x.device)
    voxels = x.reshape(-1, *regions.shape)
    heatmap = np.zeros(regions.shape, np.float32)
    with evaluation_mode(classifier), torch.no_grad():
        full = float(classifier(x[None])[0, target])
        for region in np.unique(regions[regions > 0]).tolist():
            occluded = torch.where(labels == region, 0.0, voxels).reshape(x.shape)
            heatmap[regions == region] = full - float(classifier(occluded[None])[0, target])
    return heatmap
