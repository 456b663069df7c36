"""Slices are cut and reassembled correctly, compared with loops, ramps and planted voxels."""

import numpy as np
import pytest
import torch
import vit_small
from torch import nn

from bids_app import catalogue
from bids_app.classifiers._slices import SliceNetwork, Slices
from bids_app.errors import UsageError
from bids_app.explainers._activations import activations_and_logits, upsample_to_volume
from bids_app.explainers._receptive_field import FeatureGrid, stack_slices, upsample

SHAPES = [(9, 12, 10), (13, 8, 11), (10, 10, 7)]
every_axis = pytest.mark.parametrize("axis", [0, 1, 2])
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def volume(shape, channels=1, people=1, seed=0):
    return torch.randn(people, channels, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Middle(nn.Module):
    """Logits of an image, whose cells are its pixels: the middle one of three channels."""

    def __init__(self):
        super().__init__()
        self.features = nn.Identity()

    def forward(self, images):
        return self.features(images[:, 1:2]).flatten(1)[:, :2]


class Convolutions(nn.Module):
    """Two strided convolutions, a mean over the image and a linear head."""

    def __init__(self, channels=3, kernels=(3, 3), strides=(2, 1)):
        super().__init__()
        torch.manual_seed(0)
        first = nn.Conv2d(channels, 4, kernels[0], strides[0], kernels[0] // 2)
        second = nn.Conv2d(4, 4, kernels[1], strides[1], kernels[1] // 2)
        self.features = nn.Sequential(first, nn.ReLU(), second, nn.ReLU())
        self.head = nn.Linear(4, 2)

    def forward(self, images):
        return self.head(self.features(images).mean((2, 3)))

    def filled(self):
        """All weights 1: whatever is bright stays so."""
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.fill_(1.0 if parameter.ndim > 1 else 0.0)
        return self

    def symmetric(self):
        """Kernels that are the same when flipped."""
        with torch.no_grad():
            for layer in (self.features[0], self.features[2]):
                layer.weight.copy_((layer.weight + layer.weight.flip(2)) / 2)
        return self


@every_axis
@every_shape
@pytest.mark.parametrize("content", ["neighbours", "repeated"])
def test_images_equal_slices_cut_in_a_loop(axis, shape, content):
    x = volume(shape, channels=2, people=2)
    side = max(edge for one, edge in enumerate(shape) if one != axis)
    slices = Slices(shape, size=side, axis=axis, first=1, last=6, step=2, content=content)
    images = slices(x).numpy()
    assert images.shape == (2 * 3, 2 * 3, side, side)
    for person in range(2):
        for place, position in enumerate((1, 3, 5)):
            for channel in range(2):
                for third in range(3):
                    at = position if content == "repeated" else position - 1 + third
                    plane = np.take(x[person, channel].numpy(), at, axis=axis)
                    wanted = np.zeros((side, side))
                    low = [(side - edge) // 2 for edge in plane.shape]
                    wanted[low[0] : low[0] + plane.shape[0], low[1] : low[1] + plane.shape[1]] = plane
                    assert (images[3 * person + place, 3 * channel + third] == wanted).all()


@pytest.mark.parametrize("along", range(1, 14))
def test_by_default_each_slice_is_used_once(along):
    x = torch.arange(1.0, along + 1).expand(1, 1, 4, 4, along)
    slices = Slices((4, 4, along), size=4)
    shown = slices(x)[:, :, 0, 0].flatten()
    assert sorted(shown[shown > 0].tolist()) == list(range(1, along + 1))
    assert list(slices.covered())[-1] >= along - 1
    assert slices.covered()[0] == 0


def test_channels_beyond_the_first_and_last_slice_are_zero():
    images = Slices((3, 3, 4), size=3, step=1)(torch.ones(1, 1, 3, 3, 4))
    assert images[:, :, 1, 1].tolist() == [[0, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 0]]


def test_invalid_slice_ranges_contents_axes_and_steps_are_refused():
    for given in ({"first": 4, "last": 3}, {"last": 6}, {"first": -1}, {"content": "mirror"}, {"axis": 3}, {"step": 0}):
        with pytest.raises(UsageError, match=r"there are no slices|content of a slice|slices need an axis"):
            Slices((6, 6, 6), size=6, **given)


@every_axis
@every_shape
@pytest.mark.parametrize("content", ["neighbours", "repeated"])
def test_slices_cut_and_reassembled_give_the_volume(axis, shape, content):
    x = volume(shape)[0].float()
    side = max(edge for one, edge in enumerate(shape) if one != axis)
    slices = Slices(shape, size=side, axis=axis, step=1, content=content)
    network = SliceNetwork(slices, Middle(), cam="features")
    values, _ = activations_and_logits(network, x)
    assert values.shape == (shape[axis], 1, side, side)
    assert (upsample_to_volume(values[:, 0], network, np.ones(shape, bool)) == x[0].numpy()).all()


@every_axis
def test_values_are_linear_between_slices_and_zero_beyond_them(axis):
    shape = (14, 15, 16)
    ramp = np.moveaxis(np.broadcast_to(np.arange(1.0, shape[axis] + 1)[:, None, None], (shape[axis], 15, 15)), 0, axis)
    shape = ramp.shape
    for content, first_shown, last_shown in (("repeated", 2, 11), ("neighbours", 1, 12)):
        slices = Slices(shape, size=15, axis=axis, first=2, last=12, step=3, content=content)
        network = SliceNetwork(slices, Middle(), cam="features")
        values, _ = activations_and_logits(network, torch.from_numpy(ramp.astype(np.float32))[None])
        result = upsample_to_volume(values[:, 0], network, np.ones(shape, bool))
        line = np.moveaxis(result, axis, 0)[:, 4, 5]
        wanted = np.clip(np.arange(1.0, shape[axis] + 1), 3, 12)
        wanted[:first_shown], wanted[last_shown + 1 :] = 0, 0
        assert line == pytest.approx(wanted, abs=1e-5)


@every_axis
@pytest.mark.parametrize("size", [24, 37])
def test_linear_ramp_survives_resizing_and_padding(axis, size):
    shape = (12, 9, 10)
    ramp = sum(slope * one for slope, one in zip((1.0, -2.0, 0.5), np.indices(shape), strict=True))
    network = SliceNetwork(Slices(shape, size=size, axis=axis, step=1), Middle(), cam="features")
    values, _ = activations_and_logits(network, torch.from_numpy(ramp.astype(np.float32))[None])
    result = upsample_to_volume(values[:, 0], network, np.ones(shape, bool))
    inner = (slice(2, -2),) * 3
    assert result[inner] == pytest.approx(ramp[inner], abs=1e-4)


@every_axis
@every_shape
@pytest.mark.parametrize("size", [9, 12, 32])
def test_gradcam_peaks_at_a_planted_bright_voxel(axis, shape, size):
    slices = Slices(shape, size=size, axis=axis)
    network = SliceNetwork(slices, Convolutions().filled(), cam="features").eval()
    planted = [edge // 2 + 1 for edge in shape]
    planted[axis] = slices.positions[1]
    x = torch.zeros(1, *shape)
    x[(0, *planted)] = 1
    heat = catalogue.load("explainers", "gradcam").explain(network, x, 1, mask=np.ones(shape, bool))
    centre = np.argwhere(heat >= heat.max() * 0.999).mean(0)
    apart = np.abs(centre - planted)
    assert apart[axis] <= 0.5
    # two pixels a cell, and each pixel side / size voxels
    assert apart.max() <= max(0.5, slices.side / size)


@every_axis
@pytest.mark.parametrize("shape", [(11, 12, 10), (12, 10, 11)], ids=str)  # no patch of the middle reaches the padding
def test_transformer_patches_are_centred_on_their_input_gradients(axis, shape):
    network = vit_small.build(1, 2, shape, seed=0, axis=axis).double()
    patches = network.backbone.patch_embed
    with torch.no_grad():
        patches.proj.weight.fill_(1)
    x = volume(shape).requires_grad_()
    tokens = patches(network.slices(x))
    tokens = torch.cat([tokens[:, :1], tokens], dim=1)  # a class token comes first
    cells = network.grid(tokens)
    where = stack_slices(network.slices, FeatureGrid((3.5, 3.5), (8.0, 8.0), (4, 4)))
    assert where.shape == tuple(np.insert([4, 4], axis, len(network.slices.positions)))
    (gradient,) = torch.autograd.grad(cells[1, 0, 1, 2], x)
    weight = gradient[0, 0].numpy()
    mean = [np.average(np.indices(shape)[one], weights=weight) for one in range(3)]
    cell = np.insert([1, 2], axis, 1)
    assert mean == pytest.approx(np.array(where.start) + np.array(where.step) * cell, abs=1e-6)


def test_logits_of_a_sample_are_the_mean_over_individual_slices():
    shape, x = SHAPES[0], volume(SHAPES[0], channels=2, people=3)
    network = SliceNetwork(Slices(shape, size=16), Convolutions(channels=6), cam="features").double()
    images, alone = network.slices(x), network.instances(x)
    assert alone.shape == (3, len(images) // 3, 2)
    for person in range(3):
        for one in range(alone.shape[1]):
            wanted = network.backbone(images[person * alone.shape[1] + one][None])[0]
            assert alone[person, one].tolist() == pytest.approx(wanted.tolist())
    assert network(x).tolist() == [pytest.approx(rows.mean(0).tolist()) for rows in alone]


def test_cam_layer_is_stored_once_in_the_state_dict():
    network = SliceNetwork(Slices(SHAPES[0], size=16), Convolutions(), cam="features")
    assert network.get_submodule("cam_layer") is network.backbone.features
    assert all(name.startswith("backbone.") for name in network.state_dict())


def test_slice_cam_averages_to_the_logit_minus_the_bias():
    shape, x = SHAPES[1], volume(SHAPES[1])[0].float()
    network = SliceNetwork(Slices(shape, size=20), Convolutions(), cam="features", last="head").eval()
    result = catalogue.load("explainers", "cam").cam_map(network, x, 1)
    assert result.shape == (len(network.slices.positions), 10, 10)
    with torch.no_grad():
        logit = float(network(x[None])[0, 1] - network.head.bias[1])
    assert result.mean() == pytest.approx(logit, abs=1e-6)


def test_gradcam_weights_are_computed_per_slice():
    shape, x = SHAPES[1], volume(SHAPES[1])[0].float()
    network = SliceNetwork(Slices(shape, size=20), Convolutions(kernels=(3, 1)), cam="features").eval()
    network.backbone.head = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))  # slopes differ between images
    result = catalogue.load("explainers", "gradcam").cam_map(network, x, 1)
    for one, image in enumerate(network.slices(x[None])):
        values = network.backbone.features(image[None]).detach().requires_grad_()
        logit = network.backbone.head(values.mean((2, 3)))[0, 1] / len(result)
        (slope,) = torch.autograd.grad(logit, values)
        wanted = (slope.mean((2, 3), keepdim=True) * values).sum(1)[0].detach().numpy()
        assert result[one] == pytest.approx(wanted, rel=1e-4, abs=1e-8)


def test_slice_map_is_zero_outside_the_mask():
    shape, x = SHAPES[2], volume(SHAPES[2])[0].float()
    mask = np.ones(shape, bool)
    mask[:3] = False
    network = SliceNetwork(Slices(shape, size=20), Convolutions(), cam="features").eval()
    result = catalogue.load("explainers", "gradcam").explain(network, x, 1, mask=mask)
    assert not result[:3].any()
    assert result[3:].any()


OF_NETWORKS = (
    "mean_activation", "cam", "gradcam", "gradcampp", "saliency", "integrated_gradients", "guided_backprop",
    "guided_gradcam", "lrp0", "lrp_alphabeta",
)  # fmt: skip


@pytest.mark.parametrize("name", OF_NETWORKS)
def test_a_flipped_volume_gives_the_flipped_map(name):
    shape = (12, 10, 9)
    # an odd number of pixels, whose cells lie the same from either end
    network = SliceNetwork(
        Slices(shape, size=15, axis=2), Convolutions().symmetric(), cam="features", last="head"
    ).eval()
    x, full = volume(shape)[0].float(), np.ones(shape, bool)
    explain = catalogue.load("explainers", name).explain
    first, flipped = explain(network, x, 1, mask=full), explain(network, x.flip(1), 1, mask=full)
    assert flipped == pytest.approx(first[::-1], abs=1e-5 * float(np.abs(first).max()))
    assert not np.allclose(flipped, first, atol=1e-3 * float(np.abs(first).max()))


def test_activations_of_a_wrong_shape_are_refused():
    network = SliceNetwork(Slices(SHAPES[0], size=16), Convolutions(), cam="features")
    with pytest.raises(ValueError, match="no plain chain"):
        upsample_to_volume(np.zeros((2, 8, 8)), network, np.ones(SHAPES[0], bool))
    where = stack_slices(network.slices, FeatureGrid((0.0, 0.0), (1.0, 1.0), (16, 16)))
    with pytest.raises(ValueError, match="no plain chain"):
        upsample(np.zeros((16, 16, 16)), where, SHAPES[0])
