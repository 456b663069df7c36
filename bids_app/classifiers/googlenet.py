"""GoogLeNet on slices: nine modules of parallel convolutions of several sizes, a mean over the image, a linear head; a
person's logits are the mean over slices.

Slices are axial, three neighbours an image, side by side, resized to 224 x 224 pixels; several maps are more channels
of the first layer. It starts from nothing here. torchvision's network, with batch normalisation and without the two
auxiliary heads, which its own weights leave untrained; its ReLUs are modules, each used once, so that guided
backpropagation and relevance see them. Weights start as He et al. have them: of torchvision's own, much smaller start
nothing is left after twenty layers until the moments of batch normalisation are learnt, which takes many batches.

Szegedy et al. 2015, CVPR, 1-9, doi:10.1109/CVPR.2015.7298594; batch normalisation: Ioffe & Szegedy 2015, ICML, PMLR
37:448-456; start: He et al. 2015, ICCV, 1026-1034, doi:10.1109/ICCV.2015.123.
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
