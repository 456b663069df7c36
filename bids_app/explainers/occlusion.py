"""Occlusion by region: how much the class's logit falls when a region of an atlas is set to the training mean.

Every voxel of a region has the region's value; what lies in no region is zero. Regions that carry the same evidence
stand in for each other, so that each alone may seem to matter little.

Zeiler & Fergus 2014, ECCV, LNCS 8689:818-833, doi:10.1007/978-3-319-10590-1_53 (with squares in place of regions).
"""

import numpy as np
import torch
from numpy.typing import NDArray

from bids_app.explainers._state import evaluating

SIGN = "both"
UNIT = "fall of the logit without the region"
OF = "person"
WHOLE = True


def check(classifier: torch.nn.Module) -> str | None:
    """Every classifier that takes volumes or vectors can be asked without a region."""
    return None if hasattr(classifier, "takes") else "occlusion needs a classifier of this catalogue"


def explain(
    classifier: torch.nn.Module,
    x: torch.Tensor,
    target: int,
    *,
    mask: NDArray[np.bool_],
    parcels: NDArray[np.integer],
) -> NDArray[np.float32]:
    """Falls of the logit of class `target`: (X, Y, Z) for x (channels, X, Y, Z), (voxels,) for x (channels * voxels,).

    parcels (X, Y, Z): the region of each voxel, 0 for none; channels are taken away together.
    """
    regions = np.where(mask, parcels, 0)
    if x.ndim == 1:
        regions = regions[mask]
    places = torch.from_numpy(regions.astype(np.int64)).to(x.device)
    voxels = x.reshape(-1, *regions.shape)
    found = np.zeros(regions.shape, np.float32)
    with evaluating(classifier), torch.no_grad():
        whole = float(classifier(x[None])[0, target])
        for region in np.unique(regions[regions > 0]).tolist():
            without = torch.where(places == region, 0.0, voxels).reshape(x.shape)
            found[regions == region] = whole - float(classifier(without[None])[0, target])
    return found
