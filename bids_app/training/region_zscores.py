"""How a person's maps lie among those of the reference class, region by region, as the classifier sees them."""

import numpy as np
from numpy.typing import NDArray

from bids_app.regions import tables
from bids_app.training.feature_pipeline import FeaturePipeline, Samples

REGION_ZSCORES_FILE = "regions.npz"
MIN_CONTROLS = 5  # people whose spread is worth a number


def compute_region_zscores(
    pipeline: FeaturePipeline,
    training: Samples,
    held_out: Samples,
    reference: NDArray[np.bool_],
    labels: NDArray[np.integer],
) -> tuple[NDArray[np.integer], NDArray[np.float64], int]:
    """The regions' labels (regions,), z of each held-out person (people, maps, regions), and from how many people.

    z: a region's mean of the prepared map (smoothed, adjusted, scaled) less its mean over the training people of the
    reference class (`reference`, (training people,)), over their SD; NaN with fewer than five of them. labels (voxels
    in the mask,), 0 for none.
    """
    index = np.unique(labels[labels > 0])
    training_values, values = (_region_means(pipeline, samples, labels, index) for samples in (training, held_out))
    controls = training_values[reference]
    if len(controls) < MIN_CONTROLS:
        return index, np.full(values.shape, np.nan), len(controls)
    spread = controls.std(axis=0, ddof=1)
    return index, (values - controls.mean(axis=0)) / np.where(spread > 0, spread, np.nan), len(controls)


def _region_means(
    pipeline: FeaturePipeline, samples: Samples, labels: NDArray[np.integer], index: NDArray[np.integer]
) -> NDArray[np.float64]:
    maps = len(pipeline.maps)
    every = pipeline.transform(samples).reshape(len(samples) * maps, -1)
    return tables.region_means(every, labels, index).reshape(len(samples), maps, -1)
