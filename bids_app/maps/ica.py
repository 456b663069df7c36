"""Network maps by ICA: group components, fitted on the training participants of each fold, and dual regression on them.

The participant level writes each run's series; `dataset/ica.py` fits the components and names their networks.

Varoquaux et al. 2010; Beckmann et al. 2009; Nickerson et al. 2017.
"""

import numpy as np
from numpy.typing import NDArray

from bids_app.maps import networks

INPUT = "filtered"
UNIT = "beta: unit of the BOLD signal per SD of the component's time course"
ENTITIES = {"stat": "{stat}", "desc": "{name}"}
SUFFIX = "boldmap"
REGISTRATION = "nonlinear"
ANALYSIS_MASK = "brain"
SCALING = "raw"
SMOOTHING_MM = 6.0
ADJUST_FOR = ()
ATLASES = ("aal", "harvard_oxford")
FITTED = True  # at the group level, so that OUT_DIR has series instead of maps

Array = NDArray[np.float32]


def compute(series: Array, *, network_maps: Array, network_names: tuple[str, ...]) -> dict[str, Array]:
    """Betas of dual regression, `beta_NAME`, each (voxels,); 0 where the series is constant.

    `series` (voxels, time), `network_maps` (voxels, k): all components on the same voxels, with k `network_names`.
    Raises as `networks.compute`. Beckmann et al. 2009, NeuroImage 47:S148; Nickerson et al. 2017, Front Neurosci
    11:115.
    """
    betas = networks.compute(series, network_maps=network_maps, network_names=network_names)
    return {name: values for name, values in betas.items() if name.startswith("beta_")}
