"""Three 3D convolutions of 7 voxels, each pooled by 3: family D of Wang et al.

36 channels unless told otherwise: `wang_d-24` has 24, and the study ran 24, 28, ... 52. No padding, so that it takes
105 voxels along each axis at least; each convolution is followed by batch normalisation, ReLU and maxima; then a dense
layer of 64 units, half of them left out in training.

Wang et al. 2023, NeuroImage 269:119929, doi:10.1016/j.neuroimage.2023.119929.
"""

from bids_app.classifiers import _wang

TAKES = "volumes"
EPOCHS = 200
LEARNING_RATE = 1e-4
WEIGHT_DECAY = 1e-4
BATCH_SIZE = 5
OPTIMISER = "adam"
SCHEDULE = "none"
PATIENCE = 10
VALIDATION = 0.2

OPTIONS = {"width": 36}  # of the eight widths of the study, of the two in the middle the smaller one
VARIANT = "width"
KERNELS = (7, 7, 7)
POOLS = (3, 3, 3)


def build(
    channels: int,
    classes: int,
    shape: tuple[int, ...],
    *,
    voxel_mm: tuple[float, float, float],
    seed: int,
    width: int = OPTIONS["width"],
) -> _wang.Wang:
    """A network for images of `shape` (X, Y, Z). Raises DataError for small ones, as of `_wang.seeded`."""
    del voxel_mm
    return _wang.seeded(channels, classes, shape, name="wang_d", kernels=KERNELS, pools=POOLS, seed=seed, width=width)
