"""Vision transformer ViT-B/16 on slices: patches of 16 x 16 pixels as tokens, twelve blocks of self-attention, a linear
head on the class token; logits are averaged over slices.

Slices are axial, three adjacent ones per image, resized to 224 x 224 pixels; several maps add channels to the first
layer. It is trained from scratch: with 86 million weights and few participants, expect little of it.

Dosovitskiy et al. 2021, ICLR, doi:10.48550/arXiv.2010.11929; timm's vit_base_patch16_224.
"""

from collections.abc import Mapping
from typing import Any

import timm
import torch

from bids_app.classifiers import _slices
from bids_app.classifiers._slices import Slices
from bids_app.classifiers._tokens import TokenNetwork

INPUT_FORMAT = "volumes"
EPOCHS = 30
LEARNING_RATE = 1e-4
WEIGHT_DECAY = 0.05
BATCH_SIZE = 4
INSTANCES = True

ARCHITECTURE = "vit_base_patch16_224"
OPTIONS = _slices.OPTIONS


def build(
    channels: int,
    classes: int,
    shape: tuple[int, ...],
    *,
    voxel_mm: tuple[float, float, float],
    seed: int,
    **options: Any,
) -> TokenNetwork:
    """A network for images of `shape` (X, Y, Z), of any voxel size, as slices are resized. `options`: those of slices;
    `size` has to be a multiple of 16.
    """
    del voxel_mm
    return build_architecture(channels, classes, shape, seed=seed, slices=options)


def build_architecture(
    channels: int,
    classes: int,
    shape: tuple[int, ...],
    *,
    seed: int,
    slices: Mapping[str, Any] = OPTIONS,
    **architecture: Any,
) -> TokenNetwork:
    """The network with another transformer (patch_size, embed_dim, depth, num_heads, as in timm)."""
    slice_options = OPTIONS | dict(slices)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone: Any = timm.create_model(
            ARCHITECTURE,
            pretrained=False,
            in_chans=3 * channels,
            num_classes=classes,
            img_size=slice_options["size"],
            **architecture,
        )
    return TokenNetwork(Slices(shape, **slice_options), backbone)
