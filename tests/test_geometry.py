"""Positions of activation units in branching networks, compared with the centre of mass of input gradients."""

import numpy as np
import pytest
import torch
from monai.networks.nets import resnet18 as volumetric
from torch import nn
from torch.nn.functional import conv2d, interpolate, max_pool2d, relu
from torchvision.models import GoogLeNet, resnet18

from bids_app.explainers._receptive_field import trace_feature_grid

AVERAGES = {nn.MaxPool2d: nn.AvgPool2d, nn.MaxPool3d: nn.AvgPool3d}


def volume_network(**options):
    """MONAI's ResNet18 for volumes, an eighth as wide."""
    return volumetric(spatial_dims=3, n_input_channels=1, num_classes=2, widen_factor=0.125, **options)


def evenly(network):
    """The same network as one that is linear for what is positive: every tap of a kernel and of a pool weighs as much
    as any other.
    """
    for name, module in list(network.named_modules()):
        if type(module) in AVERAGES:
            pool = AVERAGES[type(module)](module.kernel_size, module.stride, module.padding, module.ceil_mode)
            network.get_submodule(name.rpartition(".")[0]).add_module(name.rpartition(".")[2], pool)
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
    return network.double().eval()


def seen(network, layer):
    """A list to which every forward pass appends the output of the layer."""
    given = []
    network.get_submodule(layer).register_forward_hook(lambda *parts: given.append(parts[-1]))
    return given


@pytest.mark.parametrize(
    ("network", "layer", "shape"),
    [
        (lambda: GoogLeNet(2, aux_logits=False, init_weights=False), "inception5b", (761, 40)),
        (lambda: GoogLeNet(2, aux_logits=False, init_weights=False), "inception4b", (406, 33)),
        (lambda: resnet18(), "layer4", (496, 40)),
        (lambda: volume_network(), "layer4", (300, 17, 16)),
        (lambda: volume_network(conv1_t_stride=2), "layer3", (301, 20, 16)),
    ],
)
def test_units_of_branching_networks_are_centred_on_their_input_gradients(network, layer, shape):
    """Along the first axis, which is long enough for all that a cell in its middle sees."""
    made = network()
    where = trace_feature_grid(made, made.get_submodule(layer), shape)
    linear = evenly(made)
    given = seen(linear, layer)
    x = torch.ones(1, 3 if len(shape) == 2 else 1, *shape, dtype=torch.float64, requires_grad=True)
    linear(x)
    assert given[0].shape[2:] == where.shape
    cell = where.shape[0] // 2
    (gradient,) = torch.autograd.grad(given[0][0, :, cell].sum(), x)
    line = gradient[0].sum(dim=0).flatten(1).sum(dim=1).numpy()
    assert line[0] == line[-1] == 0
    assert np.average(np.arange(shape[0]), weights=line) == pytest.approx(where.start[0] + where.step[0] * cell)


class Written(nn.Module):
    """Layers that are not modules, one of them used twice, and a branch that does not lead to the features."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 3, 4, 4))
        self.aside = nn.Conv2d(3, 2, 9, 5)
        self.features = nn.Identity()

    def forward(self, x):
        aside = self.aside(x).mean((2, 3))
        for _ in range(2):
            x = relu(conv2d(x, self.weight, stride=2, padding=1))
        return self.features(max_pool2d(x, 3, 2, ceil_mode=True)).mean((2, 3))[:, :2] + aside


def test_reused_layers_count_every_call_and_side_branches_are_ignored():
    network = Written()
    where = trace_feature_grid(network, network.features, (40, 41))
    assert where.start == (0.5 + 2 * 0.5 + 4 * 1,) * 2
    assert where.step == (8, 8)
    given = seen(network, "features")
    network(torch.ones(1, 3, 40, 41))
    assert given[0].shape[2:] == where.shape


class Joined(nn.Module):
    """Two branches whose units are half a pixel apart, or one with an unsupported change of grid."""

    def __init__(self, change):
        super().__init__()
        self.conv, self.change, self.features = nn.Conv2d(3, 3, 3, 2, 1), change, nn.Identity()

    def forward(self, x):
        return self.features(self.conv(x) + self.change(x)).mean((2, 3))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (nn.Conv2d(3, 3, 4, 2, 1), "branches that join"),
        (lambda x: interpolate(x, scale_factor=0.5, mode="bilinear"), "UpsampleBilinear"),
        (nn.AdaptiveAvgPool2d(8), "AdaptiveAvgPool"),
        (nn.Sequential(nn.Conv2d(3, 3, 3, 4, 1), nn.ConvTranspose2d(3, 3, 2, 2)), "transposed"),
    ],
)
def test_networks_with_an_undefined_feature_grid_are_refused(change, reason):
    network = Joined(change)
    with pytest.raises(ValueError, match=reason):
        trace_feature_grid(network, network.features, (16, 16))
    assert all(parameter.grad is None and parameter.device.type == "cpu" for parameter in network.parameters())
    assert network.training
    assert not network.features._forward_hooks
