"""The network of Ng et al.: three 3D convolutions of 20, 10 and 5 channels and two dense layers of 300 and 100 units.

Kernels of 3 x 3 x 3 voxels, zero padding, ReLU; max pooling over 2 x 2 x 2 voxels after the second and the third
convolution; weights are initialised as by Glorot and Bengio. The first dense layer has 48.6 million weights at 121 x
145 x 121 voxels (`--no-crop`), fewer for the bounding box of a mask. The study's heatmap is `mean_activation`.

Ng et al. 2018, ICANN, LNCS 11141:300-309, doi:10.1007/978-3-030-01424-7_30; Glorot & Bengio 2010, AISTATS, PMLR
9:249-256.
"""

from itertools import pairwise
from math import prod

import torch
from torch import nn

from bids_app.classifiers._min_input_size import output_shape

INPUT_FORMAT = "volumes"
EPOCHS = 50
LEARNING_RATE = 1e-4
WEIGHT_DECAY = 0.0
BATCH_SIZE = 2
OPTIMISER = "adam"
SCHEDULE = "none"

WIDTHS = (20, 10, 5)
DENSE = (300, 100)
STEPS = ((0, 1), (0, 2), (0, 2))


class Ng2018(nn.Module):
    """Logits (batch, classes) of volumes (batch, channels, X, Y, Z)."""

    input_format = INPUT_FORMAT

    def __init__(self, channels: int, classes: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for width, (_, pool) in zip(WIDTHS, STEPS, strict=True):
            blocks += [nn.Conv3d(channels, width, 3, padding=1), nn.ReLU(), *([nn.MaxPool3d(pool)] if pool > 1 else [])]
            channels = width
        # the maps of the last convolution, before pooling
        self.cam_layer = nn.Sequential(*blocks[:-1])
        self.pool = blocks[-1]
        units = (channels * prod(output_shape(shape, STEPS, name="ng2018")), *DENSE)
        first, second = (nn.Linear(*pair) for pair in pairwise(units))
        self.dense = nn.Sequential(nn.Flatten(), first, nn.ReLU(), second, nn.ReLU(), nn.Linear(units[-1], classes))
        for module in self.modules():
            if isinstance(module, (nn.Conv3d, nn.Linear)):
                nn.init.xavier_uniform_(module.weight)
            for parameter in module.parameters(recurse=False):
                if parameter.ndim == 1:
                    nn.init.zeros_(parameter)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (batch, classes)."""
        logits: torch.Tensor = self.dense(self.pool(self.cam_layer(x)))
        return logits


def build(
    channels: int, classes: int, shape: tuple[int, ...], *, voxel_mm: tuple[float, float, float], seed: int
) -> Ng2018:
    """A network for images of `shape` (X, Y, Z), at least 4 voxels per axis. Raises DataError for smaller ones."""
    del voxel_mm
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Ng2018(channels, classes, shape)
