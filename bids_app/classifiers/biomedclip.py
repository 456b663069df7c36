"""The image tower of BiomedCLIP on slices: a vision transformer, ViT-B/16, and its projection to 512 numbers, then a
linear head; probabilities are averaged over slices.

Slices are sagittal, three adjacent ones per image, padded to a square and resized to 224 x 224 pixels; several maps add
channels to the first layer. `load_weights` loads what BiomedCLIP learnt from figures of the biomedical literature;
without it the tower is trained from scratch. Those figures were scaled by a mean and SD per colour; the values here are
scaled voxel by voxel and used as they are: deviations from the training mean, which resemble its figures less than an
unscaled slice does. All weights are fine-tuned.

Zhang et al. 2025, NEJM AI 2:AIoa2400640, doi:10.1056/AIoa2400640; fine-tuned on slices of brains: Rafsani et al. 2025,
Scientific Reports. Names are those of open_clip (src/open_clip/timm_model.py: `trunk`, `head.proj`); widths by the
model's open_clip_config.json.
"""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
from torch import nn

from bids_app.classifiers import _slices
from bids_app.classifiers._slices import PROBABILITIES, Slices
from bids_app.classifiers._tokens import TokenNetwork
from bids_app.errors import DataError, MissingInputError

INPUT_FORMAT = "volumes"
EPOCHS = 20
LEARNING_RATE = 1e-5
WEIGHT_DECAY = 0.05
BATCH_SIZE = 8
ACCUMULATE = 4
OVERSAMPLE = True
PATIENCE = 5
VALIDATION = 0.2

OPTIONS = _slices.OPTIONS | {"axis": 0}
ARCHITECTURE = "vit_base_patch16_224"
PROJECTION = 512
PREFIX = "visual."
FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
HUB = "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224"


class Tower(nn.Module):
    """What open_clip calls `visual`: embeddings (images, 512) of images (images, 3 * channels, rows, columns)."""

    def __init__(self, trunk: nn.Module, width: int, projection: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Sequential(OrderedDict(proj=nn.Linear(width, projection, bias=False)))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The class token of the last layer, projected."""
        projected: torch.Tensor = self.head(self.trunk(images))
        return projected


class Classified(nn.Module):
    """Logits (images, classes) of images, through a tower."""

    def __init__(self, visual: Tower, projection: int, classes: int) -> None:
        super().__init__()
        self.visual = visual
        self.classify = nn.Linear(projection, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (images, classes)."""
        logits: torch.Tensor = self.classify(self.visual(images))
        return logits


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
    projection: int = PROJECTION,
    **architecture: Any,
) -> TokenNetwork:
    """The network with another projection and transformer (patch_size, embed_dim, depth, num_heads, as in timm)."""
    slice_options = OPTIONS | dict(slices)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trunk: Any = timm.create_model(
            ARCHITECTURE,
            pretrained=False,
            in_chans=3 * channels,
            num_classes=0,
            img_size=slice_options["size"],
            **architecture,
        )
        backbone = Classified(Tower(trunk, trunk.embed_dim, projection), projection, classes)
    return TokenNetwork(Slices(shape, **slice_options), backbone, trunk="visual.trunk", pool=PROBABILITIES)


def load_weights(module: nn.Module, folder: Path) -> None:
    """Load the weights of `folder` into the tower; the linear head is unchanged.

    The folder holds a file as open_clip names it: `open_clip_model.safetensors` or `open_clip_pytorch_model.bin`, of
    which only tensors are read. With several maps, the first layer's weights are divided by their number. Raises
    MissingInputError if there is no such file, and DataError if it is not of this tower.
    """
    file = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if file is None:
        raise MissingInputError(
            f"no weights of BiomedCLIP in {folder} (expected: {' or '.join(FILES)}); download them with: hf "
            f"download {HUB} {FILES[-1]} --local-dir {folder}"
        )
    tower = module.get_submodule("backbone.visual")
    expected = tower.state_dict()
    state = {name.removeprefix(PREFIX): tensor for name, tensor in _read(file).items() if name.startswith(PREFIX)}
    first = "trunk.patch_embed.proj.weight"
    if first in state and (maps := expected[first].shape[1] // max(state[first].shape[1], 1)) > 1:
        state[first] = state[first].repeat(1, maps, 1, 1) / maps
    different = sorted(name for name in {*expected, *state} if _shape(expected.get(name)) != _shape(state.get(name)))
    if different:
        name = different[0]
        raise DataError(
            f"{file.name} is not the image tower of BiomedCLIP: of {len(different)} tensors that differ, "
            f"{PREFIX}{name} is {_shape(state.get(name))} in the file and {_shape(expected.get(name))} in the tower"
        )
    tower.load_state_dict(state)


def _read(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file by name; no other object is unpickled."""
    if file.suffix == ".safetensors":
        return safetensors.torch.load_file(file)
    state: dict[str, torch.Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return state


def _shape(tensor: torch.Tensor | None) -> str:
    """The shape of a tensor in words."""
    return "not there" if tensor is None else " x ".join(map(str, tensor.shape))
