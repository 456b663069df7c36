"""Vision transformers on slices: their tokens, and the layer that heatmaps are computed on."""

from typing import Any

import torch
from torch import nn

from bids_app.classifiers._slices import LOGITS, SliceNetwork, Slices


class TokenNetwork(SliceNetwork):
    """Logits (batch, classes) of volumes (batch, channels, X, Y, Z), through a timm transformer with a class token.

    `trunk` is its name in the backbone, empty if it is the backbone itself.
    """

    def __init__(self, slices: Slices, backbone: nn.Module, *, trunk: str = "", pool: str = LOGITS) -> None:
        transformer: Any = backbone.get_submodule(trunk)
        # the output of the last block has a gradient at the class token only
        last = f"blocks.{len(transformer.blocks) - 1}.norm1"
        super().__init__(slices, backbone, cam=f"{trunk}.{last}" if trunk else last, pool=pool)
        self.trunk = trunk

    def grid(self, values: torch.Tensor) -> torch.Tensor:
        """Tokens (images, tokens, channels) as (images, channels, rows, columns), without the class token."""
        patches: Any = self.backbone.get_submodule(self.trunk).get_submodule("patch_embed")
        return values[:, -patches.num_patches :].movedim(2, 1).reshape(len(values), -1, *patches.grid_size)
