"""The networks of Wang et al.: 3D convolutions of one width without padding, each normalised, rectified and pooled.

Wang et al. 2023, NeuroImage 269:119929, doi:10.1016/j.neuroimage.2023.119929, and what they published of their code.
"""

from math import prod

import torch
from torch import nn

from bids_app.classifiers import _chain

UNITS = 64
DROPOUT = 0.5


class Wang(nn.Module):
    """Logits (batch, classes) of volumes (batch, channels, X, Y, Z)."""

    takes = "volumes"

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
        units = width * prod(_chain.left(shape, steps, name=name))
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
        """The last convolution, as in the study; a name for it, not a second one: the state holds it once."""
        return self.blocks.get_submodule(f"{len(self.blocks) - 1}.0")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (batch, classes)."""
        logits: torch.Tensor = self.dense(self.blocks(x))
        return logits


def seeded(
    channels: int,
    classes: int,
    shape: tuple[int, ...],
    *,
    name: str,
    kernels: tuple[int, ...],
    pools: tuple[int, ...],
    seed: int,
    width: int,
) -> Wang:
    """A network that starts from `seed`. Raises DataError for an image of which nothing would be left."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Wang(channels, classes, shape, name=name, kernels=kernels, pools=pools, width=width)
