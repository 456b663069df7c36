"""Small versions of the large registered networks, built through the same code, for the default suite."""

import functools
import re
from itertools import pairwise
from types import SimpleNamespace

import torch
import vit_small

from bids_app import catalogue
from bids_app.classifiers import biomedclip, googlenet, resnet18, resnet18_3d, vgg3d, wang
from bids_app.classifiers._min_input_size import check_input_size
from bids_app.errors import DataError

# seconds a slice or a volume: the contract of the full ones is tested in the slow suite
LARGE = ("biomedclip", "googlenet", "resnet18", "resnet18_3d", "vgg3d", "vit_b16", "wang_a")
# as wang_a in other numbers: built at size in test_networks.py
ALIKE = ("wang_b", "wang_c", "wang_d")
NEEDED = 64  # voxels along each axis of the network that takes large images


def small(name, build):
    """A plugin with the settings of the registered one, but another `build`."""
    settings = {one: value for one, value in vars(catalogue.load("classifiers", name)).items() if one.isupper()}
    return SimpleNamespace(**settings | {"build": build})


def small_wang(channels, classes, shape, *, voxel_mm, seed):
    """Two convolutions of different kernels and pools, four channels wide."""
    convolutions = {"name": "wang_small", "kernels": (5, 3), "pools": (2, 3)}
    return wang.build(channels, classes, shape, voxel_mm=voxel_mm, seed=seed, width=4, **convolutions)


def tower(channels, classes, shape, *, voxel_mm, seed, **options):
    """Images of 32 x 32 pixels, patches of 8 x 8, two blocks of three heads, 48 channels, projected to 16."""
    architecture = {"patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3, "projection": 16}
    slices = {"size": 32, **options}
    return biomedclip.build_architecture(channels, classes, shape, seed=seed, slices=slices, **architecture)


def of_slices(part, size):
    """The same network on images of `size` x `size` pixels, which leave two to three cells an axis."""

    def build(channels, classes, shape, *, voxel_mm, seed):
        return part.build(channels, classes, shape, voxel_mm=voxel_mm, seed=seed, size=size)

    return build


def volumetric(channels, classes, shape, *, voxel_mm, seed):
    """Four to eight channels wide."""
    return resnet18_3d.build_architecture(channels, classes, seed=seed, stride=1, widths=(4, 4, 8, 8))


def vgg(channels, classes, shape, *, voxel_mm, seed):
    """Three stages, four to eight channels wide."""
    return vgg3d.build_architecture(channels, classes, shape, seed=seed, stages=((4,), (8, 8), (8,)))


class Strided(torch.nn.Module):
    """Three convolutions of 4 voxels, side by side: of 64 voxels one is left."""

    input_format = "volumes"

    def __init__(self, channels, classes):
        super().__init__()
        widths = [channels, 4, 4, 8]
        layers = [(torch.nn.Conv3d(a, b, 4, stride=4), torch.nn.ReLU()) for a, b in pairwise(widths)]
        self.cam_layer = torch.nn.Sequential(*(one for pair in layers for one in pair))
        self.head = torch.nn.Linear(8, classes)

    def forward(self, x):
        return self.head(self.cam_layer(x).mean(dim=(2, 3, 4)))


def strided(channels, classes, shape, *, voxel_mm, seed):
    """A network that refuses images of under 64 voxels along any axis."""
    check_input_size(shape, NEEDED, name="needs_64")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Strided(channels, classes)


SMALL = {
    "needs_64": small("vgg3d", strided),
    "biomedclip_small": small("biomedclip", tower),
    "googlenet_small": small("googlenet", of_slices(googlenet, 72)),
    "resnet18_small": small("resnet18", of_slices(resnet18, 40)),
    "resnet18_3d_small": small("resnet18_3d", volumetric),
    "vgg3d_small": small("vgg3d", vgg),
    "vit_small": vit_small,
    "wang_small": small("wang_a", small_wang),
}
# all that the default suite tests in full
QUICK = sorted({*catalogue.names("classifiers"), *SMALL} - {*LARGE, *ALIKE})


def part_of(name):
    """A registered plugin, or a small one."""
    return SMALL[name] if name in SMALL else catalogue.load("classifiers", name)


@functools.cache
def shape_of(name, shape):
    """The shape itself, or, for a network that refuses it as too small, a cube of the minimum size that it states."""
    part = part_of(name)
    if part.INPUT_FORMAT == "vectors":
        return shape
    try:
        with torch.device("meta"):
            part.build(1, 2, shape, voxel_mm=(3.0, 3.0, 3.0), seed=0)
    except DataError as error:
        refusal = str(error)
    else:
        return shape
    # a refusal has to name the network and the size that it needs
    needed = re.search(r"^(\w+) requires maps of at least (\d+) voxels along each axis", refusal)
    assert needed, refusal
    assert name.startswith(needed[1]), refusal
    return (int(needed[2]),) * 3
