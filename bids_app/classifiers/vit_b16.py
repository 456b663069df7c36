"""Vision transformer ViT-B/16 on slices: patches of 16 x 16 pixels as tokens, twelve blocks of self-attention, a linear
head on the class token; a person's logits are the mean over slices.

Slices are axial, three neighbours an image, side by side, resized to 224 x 224 pixels; several maps are more channels
of the first layer. It starts from nothing here: 86 million weights and few people, so expect little of it.

Dosovitskiy et al. 2021, ICLR, doi:10.48550/arXiv.2010.11929; timm's vit_base_patch16_224.
"""

from collections.abc import Mapping
from typing import Any

import timm
import torch

from bids_app.classifiers._slices import Slices
from bids_app.classifiers._tokens import OfTokens

TAKES = "volumes"
EPOCHS = 30
LEARNING_RATE = 1e-4
WEIGHT_DECAY = 0.05
BATCH_SIZE = 4
INSTANCES = True

ARCHITECTURE = "vit_base_patch16_224"
# axial slices show both sides: what is found on one side only can be told from the other
OPTIONS = {"size": 224, "axis": 2, "first": None, "last": None, "step": 3, "content": "neighbours"}


def build(
    channels: int,
    classes: int,
    shape: tuple[int, ...],
    *,
    voxel_mm: tuple[float, float, float],
    seed: int,
    **options: Any,
) -> OfTokens:
    """A network for images of `shape` (X, Y, Z), of any voxel size: slices are resized. Options are those of slices;
    `size` has to be divided by 16.
    """
    del voxel_mm
    return of_size(channels, classes, shape, seed=seed, slices=options)


def of_size(
    channels: int,
    classes: int,
    shape: tuple[int, ...],
    *,
    seed: int,
    slices: Mapping[str, Any] = OPTIONS,
    **architecture: Any,
) -> OfTokens:
    """The same with other numbers than ViT-B/16's: patch_size, embed_dim, depth, num_heads, as timm names them."""
    own = OPTIONS | dict(slices)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone: Any = timm.create_model(
            ARCHITECTURE,
            pretrained=False,
            in_chans=3 * channels,
            num_classes=classes,
            img_size=own["size"],
            **architecture,
        )
    return OfTokens(Slices(shape, **own), backbone)
