"""ResNet18 of volumes: eight blocks of two 3D convolutions, with skip connections, global average pooling, and a linear
head.

MONAI's network, whose units are 16 voxels wide in the last layer; for voxels finer than 2 mm the first convolution has
a stride of 2, as in the 2D network, which makes them 32 wide and needs an eighth of the memory. Its ReLUs are modules,
each used once, as guided backpropagation and relevance propagation require.

He et al. 2016, CVPR, 770-778, doi:10.1109/CVPR.2016.90; in 3D: Hara et al. 2018, CVPR, 6546-6555,
doi:10.1109/CVPR.2018.00685; from scratch on T1w images of headache: Siddiquee et al. 2022, Brain Communications
5:fcac311.
"""

from typing import Any

import torch
from monai.networks.nets.resnet import ResNet, ResNetBlock
from torch import nn

INPUT_FORMAT = "volumes"
EPOCHS = 50
LEARNING_RATE = 1e-4
WEIGHT_DECAY = 1e-2
BATCH_SIZE = 4

WIDTHS = (64, 128, 256, 512)
COARSE_MM = 2.0


class Block(ResNetBlock):
    """MONAI's block with its names in the state, and two separate ReLUs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.act, self.act_after = nn.ReLU(), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features (batch, channels, X, Y, Z)."""
        skip = x if self.downsample is None else self.downsample(x)
        added: torch.Tensor = self.bn2(self.conv2(self.act(self.bn1(self.conv1(x))))) + skip
        features: torch.Tensor = self.act_after(added)
        return features


class ResNet3D(ResNet):
    """Logits (batch, classes) of volumes (batch, channels, X, Y, Z)."""

    input_format = INPUT_FORMAT

    @property
    def cam_layer(self) -> nn.Module:
        """The last stage; an alias, so that the state holds it once."""
        return self.layer4

    @property
    def head(self) -> nn.Module | None:
        """The linear layer after global average pooling."""
        return self.fc


def build(
    channels: int, classes: int, shape: tuple[int, ...], *, voxel_mm: tuple[float, float, float], seed: int
) -> ResNet3D:
    """A network for images of any shape, because of global average pooling."""
    del shape
    return build_architecture(channels, classes, seed=seed, stride=1 if min(voxel_mm) > COARSE_MM - 0.01 else 2)


def build_architecture(
    channels: int, classes: int, *, seed: int, stride: int, widths: tuple[int, ...] = WIDTHS
) -> ResNet3D:
    """The network with another first stride and other numbers of channels in its four stages."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ResNet3D(
            Block,
            [2, 2, 2, 2],
            list(widths),
            spatial_dims=3,
            n_input_channels=channels,
            num_classes=classes,
            conv1_t_stride=stride,
        )
        network.act = nn.ReLU()
    return network
