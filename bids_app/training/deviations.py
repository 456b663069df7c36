"""How a person's maps lie among those of the reference class, region by region, as the classifier sees them."""

import numpy as np
from numpy.typing import NDArray

from bids_app.regions import tables
from bids_app.training.prepare import People, Preparation


def of_regions(
    preparation: Preparation,
    training: People,
    held_out: People,
    reference: NDArray[np.bool_],
    labels: NDArray[np.integer],
) -> tuple[NDArray[np.integer], NDArray[np.float64]]:
    """The regions' labels (regions,), and z of each held-out person (people, maps, regions).

    z: a region's mean of the prepared map (smoothed, adjusted, scaled) less its mean over the training people of the
    reference class (`reference`, (training people,)), over their SD; NaN with fewer than three of them. labels (voxels
    in the mask,), 0 for none.
    """
    index = np.unique(labels[labels > 0])
    known, own = (_means(preparation, people, labels, index) for people in (training, held_out))
    controls = known[reference]
    if len(controls) < 3:
        return index, np.full(own.shape, np.nan)
    spread = controls.std(axis=0, ddof=1)
    return index, (own - controls.mean(axis=0)) / np.where(spread > 0, spread, np.nan)


def _means(
    preparation: Preparation, people: People, labels: NDArray[np.integer], index: NDArray[np.integer]
) -> NDArray[np.float64]:
    maps = len(preparation.maps)
    every = preparation.vectors(people).reshape(len(people) * maps, -1)
    return tables.means(every, labels, index).reshape(len(people), maps, -1)
