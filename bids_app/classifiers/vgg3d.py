"""VGG of volumes: eight 3D convolutions of 3 x 3 x 3 voxels in five stages with pooling between them, global average
pooling and a linear head.

The eleven-layer network (configuration A) in 3D, a quarter as wide, with batch normalisation. Global average pooling
replaces its last pool and its dense layers, which would hold most of the weights, with dropout of one half. A unit of
its last layer is 16 voxels wide.

Simonyan & Zisserman 2015, ICLR, doi:10.48550/arXiv.1409.1556; in 3D on T1w images: Korolev et al. 2017, ISBI, 835-838,
doi:10.1109/ISBI.2017.7950647; global average pooling: Lin et al. 2014, ICLR, doi:10.48550/arXiv.1312.4400.
"""

from collections.abc import Sequence

import torch
from torch import nn

from bids_app.classifiers._min_input_size import output_shape

INPUT_FORMAT = "volumes"
EPOCHS = 50
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 1e-2
BATCH_SIZE = 4

STAGES = ((16,), (32,), (64, 64), (128, 128), (128, 128))
DROPOUT = 0.5


class VGG3D(nn.Module):
    """Logits (batch, classes) of volumes (batch, channels, X, Y, Z)."""

    input_format = INPUT_FORMAT

    def __init__(self, channels: int, classes: int, stages: Sequence[tuple[int, ...]]) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for number, widths in enumerate(stages):
            blocks += [nn.MaxPool3d(2)] if number else []
            for width in widths:
                blocks += [nn.Conv3d(channels, width, 3, padding=1), nn.BatchNorm3d(width), nn.ReLU()]
                channels = width
        self.cam_layer = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(DROPOUT)
        self.head = nn.Linear(channels, classes)
        for module in self.cam_layer:
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (batch, classes)."""
        logits: torch.Tensor = self.head(self.dropout(self.cam_layer(x).mean(dim=(2, 3, 4))))
        return logits


def build(
    channels: int, classes: int, shape: tuple[int, ...], *, voxel_mm: tuple[float, float, float], seed: int
) -> VGG3D:
    """A network for images of `shape` (X, Y, Z), at least 16 voxels per axis. Raises DataError for smaller ones."""
    del voxel_mm
    return build_architecture(channels, classes, shape, seed=seed)


def build_architecture(
    channels: int, classes: int, shape: tuple[int, ...], *, seed: int, stages: Sequence[tuple[int, ...]] = STAGES
) -> VGG3D:
    """The network with other stages, each given by the channels of its convolutions."""
    output_shape(shape, [(0, 2)] * (len(stages) - 1), name="vgg3d")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VGG3D(channels, classes, stages)
