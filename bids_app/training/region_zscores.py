"""Region-wise z scores of a sample's features relative to the reference class."""

import numpy as np
from numpy.typing import NDArray

from bids_app.regions import tables
from bids_app.training.feature_pipeline import FeaturePipeline, Samples

MIN_CONTROLS = 5  # the minimum number of participants for an SD


def compute_region_zscores(
    pipeline: FeaturePipeline,
    training: Samples,
    held_out: Samples,
    reference: NDArray[np.bool_],
    labels: NDArray[np.integer],
) -> tuple[NDArray[np.integer], NDArray[np.float64], int]:
    """Return the region labels (regions,), z of each held-out sample (samples, maps, regions), and the number of
    reference samples.

    z: the regional mean of the features (smoothed, adjusted, scaled) minus its mean over the training samples of the
    reference class (`reference`, (training samples,)), divided by their SD; NaN with fewer than five of them. labels
    (voxels in the mask,), 0 for none.
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
