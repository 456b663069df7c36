"""Small 3D convolutional network with location-specific gains: convolutions, a gain per unit, mean over space, linear.

Filters that are shared over the whole image cannot distinguish locations, and a mean over space dilutes an effect in
one cubic centimetre about a thousandfold: such a network learns nothing from twenty participants. Brains in standard
space are aligned, so each channel has a gain in each unit of the grid, gain = scale * sinh(steepness * parameter):
small changes act linearly, consistent ones grow exponentially, so that few units end up with most of the weight.

Location-specific filters after shared ones: Eitel et al. 2021, Scientific Reports 11:24447,
doi:10.1038/s41598-021-03785-9. Mean over space and a linear head: Zhou et al. 2016, CVPR, 2921-2929. The sinh, between
gradient descent and exponentiated gradient: Ghai et al. 2020, ALT, PMLR 117:386-407. Group normalisation: Wu & He 2018,
ECCV, 3-19.
"""

import math

import torch
from torch import nn

INPUT_FORMAT = "volumes"
EPOCHS = 30
LEARNING_RATE = 1e-2
WEIGHT_DECAY = 0.0
BATCH_SIZE = 4

UNIT_MM = 8.0
WIDTH = 8


class PlaceGain(nn.Module):
    """Multiplies features (batch, channels, X, Y, Z) by a signed gain per channel and unit, initially zero."""

    def __init__(self, channels: int, shape: tuple[int, ...], *, scale: float = 0.3, steepness: float = 6.0) -> None:
        super().__init__()
        self.scale, self.steepness = scale, steepness
        self.place = nn.Parameter(torch.zeros(channels, *shape))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features times gain (batch, channels, X, Y, Z)."""
        return features * (self.scale * torch.sinh(self.steepness * self.place))


class CNN3D(nn.Module):
    """Logits (batch, classes) of volumes (batch, channels, X, Y, Z)."""

    input_format = INPUT_FORMAT

    def __init__(self, channels: int, classes: int, shape: tuple[int, ...], *, steps: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for step in range(max(steps, 1)):
            stride = 2 if steps else 1
            blocks += [
                nn.Conv3d(WIDTH if step else channels, WIDTH, 3, stride, padding=1, bias=False),
                nn.GroupNorm(WIDTH, WIDTH),
                nn.ReLU(),
            ]
            shape = tuple(-(-edge // stride) for edge in shape)
        self.cam_layer = nn.Sequential(*blocks, PlaceGain(WIDTH, shape))
        self.head = nn.Linear(WIDTH, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (batch, classes): the mean over space of the last layer through the linear head."""
        logits: torch.Tensor = self.head(self.cam_layer(x).mean(dim=(2, 3, 4)))
        return logits


def build(
    channels: int, classes: int, shape: tuple[int, ...], *, voxel_mm: tuple[float, float, float], seed: int
) -> CNN3D:
    """A network for images of `shape` (X, Y, Z), downsampled by 2 as often as units stay within 8 mm."""
    steps = max(0, math.floor(math.log2(UNIT_MM / max(voxel_mm)) + 1e-6))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = CNN3D(channels, classes, shape, steps=steps)
        for module in network.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight)
        # orthogonal rows of equal norm: initially the channels separate every pair of classes
        nn.init.orthogonal_(network.head.weight, gain=2.0)
        nn.init.zeros_(network.head.bias)
    return network
