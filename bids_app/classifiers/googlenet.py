"""GoogLeNet on slices: nine modules of parallel convolutions of several sizes, global average pooling, a linear
head; logits are averaged over slices.

Slices are axial, three adjacent ones per image, resized to 224 x 224 pixels; several maps add channels to the first
layer. It is trained from scratch. torchvision's network, with batch normalisation and without the two auxiliary heads,
which its pretrained weights leave untrained; its ReLUs are modules, each used once, as guided backpropagation and
relevance propagation require. Weights are initialised as by He et al.: with torchvision's much smaller initial weights,
signals vanish over twenty layers until the moments of batch normalisation are learnt, which takes many batches.

Szegedy et al. 2015, CVPR, 1-9, doi:10.1109/CVPR.2015.7298594; batch normalisation: Ioffe & Szegedy 2015, ICML, PMLR
37:448-456; initialisation: He et al. 2015, ICCV, 1026-1034, doi:10.1109/ICCV.2015.123.
"""

from functools import partial
from typing import Any

import torch
from torch import nn
from torchvision.models.googlenet import BasicConv2d, GoogLeNet, Inception, InceptionAux

from bids_app.classifiers import _slices
from bids_app.classifiers._slices import SliceNetwork, Slices

INPUT_FORMAT = "volumes"
EPOCHS = 30
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 1e-2
BATCH_SIZE = 4
INSTANCES = True

OPTIONS = _slices.OPTIONS


class Convolution(BasicConv2d):
    """Convolution, batch normalisation and ReLU, with torchvision's names in the state."""

    def __init__(self, *args: int, **kwargs: int) -> None:
        super().__init__(*args, **kwargs)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features (images, channels, rows, columns)."""
        features: torch.Tensor = self.relu(self.bn(self.conv(x)))
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
    blocks = [Convolution, partial(Inception, conv_block=Convolution), InceptionAux]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = GoogLeNet(classes, aux_logits=False, init_weights=False, blocks=blocks)
        if channels > 1:
            backbone.conv1 = Convolution(3 * channels, 64, kernel_size=7, stride=2, padding=3)
        for module in backbone.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return SliceNetwork(Slices(shape, **OPTIONS | options), backbone, cam="inception5b", last="fc")
