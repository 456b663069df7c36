"""Three to five 3D convolutions of one width, each pooled: the four families of networks of Wang et al.

36 channels by default: `wang_a-24` has 24, and the study used 24, 28, ... 52. There is no padding, so that images have
to be large (110, 94, 112 and 105 voxels along each axis for the families A to D); each convolution is followed by
batch normalisation, ReLU and max pooling; then a dense layer of 64 units with dropout of one half.

Wang et al. 2023, NeuroImage 269:119929, doi:10.1016/j.neuroimage.2023.119929.
"""

from math import prod

import torch
from torch import nn

from bids_app.classifiers._min_input_size import output_shape

INPUT_FORMAT = "volumes"
EPOCHS = 200
LEARNING_RATE = 1e-4
WEIGHT_DECAY = 1e-4
BATCH_SIZE = 5
OPTIMISER = "adam"
SCHEDULE = "none"
PATIENCE = 10
VALIDATION = 0.2

OPTIONS = {"width": 36}  # the smaller of the two middle ones among the eight widths of the study
NAME_SUFFIX = "width"
VARIANTS = {
    "wang_a": {
        "summary": "Five 3D convolutions of 7, 5, 5, 3 and 3 voxels, each pooled by 2: family A of Wang et al.",
        "kernels": (7, 5, 5, 3, 3),
        "pools": (2, 2, 2, 2, 2),
    },
    "wang_b": {
        "summary": "Five 3D convolutions of 3 voxels, each pooled by 2: family B of Wang et al.",
        "kernels": (3, 3, 3, 3, 3),
        "pools": (2, 2, 2, 2, 2),
    },
    "wang_c": {
        "summary": "Four 3D convolutions of 5 voxels, each pooled by 3, then by 2: family C of Wang et al.",
        "kernels": (5, 5, 5, 5),
        "pools": (3, 2, 2, 2),
    },
    "wang_d": {
        "summary": "Three 3D convolutions of 7 voxels, each pooled by 3: family D of Wang et al.",
        "kernels": (7, 7, 7),
        "pools": (3, 3, 3),
    },
}
UNITS = 64
DROPOUT = 0.5


class Wang(nn.Module):
    """Logits (batch, classes) of volumes (batch, channels, X, Y, Z)."""

    input_format = INPUT_FORMAT

    def __init__(
        self,
        channels: int,
        classes: int,
        shape: tuple[int, ...],
        *,
        name: str,
        kernels: tuple[int, ...],
        pools: tuple[int, ...],
        width: int,
    ) -> None:
        super().__init__()
        steps = list(zip([kernel - 1 for kernel in kernels], pools, strict=True))
        units = width * prod(output_shape(shape, steps, name=name))
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv3d(width if number else channels, width, kernel),
                    nn.BatchNorm3d(width),
                    nn.ReLU(),
                    nn.MaxPool3d(pool),
                )
                for number, (kernel, pool) in enumerate(zip(kernels, pools, strict=True))
            )
        )
        self.dense = nn.Sequential(
            nn.Flatten(), nn.Linear(units, UNITS), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(UNITS, classes)
        )

    @property
    def cam_layer(self) -> nn.Module:
        """The last convolution, as in the study; an alias, so that the state holds it once."""
        return self.blocks.get_submodule(f"{len(self.blocks) - 1}.0")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (batch, classes)."""
        logits: torch.Tensor = self.dense(self.blocks(x))
        return logits


def build(
    channels: int,
    classes: int,
    shape: tuple[int, ...],
    *,
    voxel_mm: tuple[float, float, float],
    seed: int,
    name: str,
    kernels: tuple[int, ...],
    pools: tuple[int, ...],
    width: int = OPTIONS["width"],
) -> Wang:
    """A network for images of `shape` (X, Y, Z). Raises DataError if they are too small; `name`, `kernels` and `pools`
    are those of the variant.
    """
    del voxel_mm
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Wang(channels, classes, shape, name=name, kernels=kernels, pools=pools, width=width)
