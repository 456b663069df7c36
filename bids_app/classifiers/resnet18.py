"""ResNet18 on slices: eight blocks of two convolutions, with skip connections, global average pooling, and a linear
head; logits are averaged over slices.

Slices are axial, three adjacent ones per image, resized to 224 x 224 pixels; several maps add channels to the first
layer. It is trained from scratch. torchvision's network; its ReLUs are modules, each used once, as guided
backpropagation and relevance propagation require.

He et al. 2016, CVPR, 770-778, doi:10.1109/CVPR.2016.90.
"""

from typing import Any

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from bids_app.classifiers import _slices
from bids_app.classifiers._slices import SliceNetwork, Slices

INPUT_FORMAT = "volumes"
EPOCHS = 30
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 1e-2
BATCH_SIZE = 4
INSTANCES = True

OPTIONS = _slices.OPTIONS


class Block(BasicBlock):
    """torchvision's block with its names in the state, and two separate ReLUs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.relu, self.relu_after = nn.ReLU(), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features (images, channels, rows, columns)."""
        skip = x if self.downsample is None else self.downsample(x)
        added: torch.Tensor = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))) + skip
        features: torch.Tensor = self.relu_after(added)
        return features


def build(
    channels: int,
    classes: int,
    shape: tuple[int, ...],
    *,
    voxel_mm: tuple[float, float, float],
    seed: int,
    **options: Any,
) -> SliceNetwork:
    """A network for images of `shape` (X, Y, Z), of any voxel size, as slices are resized. Options: those of slices."""
    del voxel_mm
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = ResNet(Block, [2, 2, 2, 2], num_classes=classes)
        backbone.relu = nn.ReLU()
        if channels > 1:
            backbone.conv1 = nn.Conv2d(3 * channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(backbone.conv1.weight, mode="fan_out", nonlinearity="relu")
    return SliceNetwork(Slices(shape, **OPTIONS | options), backbone, cam="layer4", last="fc")
