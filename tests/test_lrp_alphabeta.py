"""The alpha-beta rule of LRP compared with a matrix implementation."""

import numpy as np
import pytest
import torch
from torch import nn

from bids_app import catalogue
from bids_app.explainers import lrp0

SHAPE = (5, 6, 7)
FULL = np.ones(SHAPE, bool)


class Network(nn.Module):
    """A normalised convolution, a pool, a convolution without a bias, and two linear layers."""

    input_format = "volumes"

    def __init__(self, biases=True):
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(
            nn.Conv3d(1, 3, 3, padding=1), nn.BatchNorm3d(3), nn.ReLU(), nn.MaxPool3d(2), nn.Conv3d(3, 4, 2, bias=False)
        )
        self.cam_layer = self.features
        self.rest = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 2))
        norm = self.features[1]
        with torch.no_grad():
            norm.weight.copy_(torch.tensor([1.5, -0.7, 0.9]))
            for one in (norm.bias, norm.running_mean):
                one.copy_(0.3 * torch.randn(3))
            norm.running_var.copy_(torch.tensor([0.5, 1.2, 2.0]))
            if not biases:
                for name, one in (*self.named_parameters(), *self.named_buffers()):
                    if name.endswith(("bias", "running_mean")):
                        one.zero_()
        self.double().eval()

    def forward(self, x):
        return self.rest(self.features(x))


def person(seed=0):
    return torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def matrix_of(layers, shape):
    """An affine map of inputs of `shape` (channels, ...) as a matrix (out, in) and a constant (out,)."""
    size = int(np.prod(shape))
    with torch.no_grad():
        constant = layers(torch.zeros(1, *shape, dtype=torch.float64)).flatten()
        columns = layers(torch.eye(size, dtype=torch.float64).reshape(size, *shape)).flatten(1) - constant
    return columns.T, constant


def handed_on(layers, values, relevance, alpha, beta):
    """The rule: R_i = sum over j of (alpha z+_ij / z+_j - beta z-_ij / z-_j) R_j, with the constants in z+_j, z-_j."""
    matrix, constant = matrix_of(layers, values.shape[1:])
    parts = matrix * values.flatten()
    raised = parts.clamp(min=0) / (parts.clamp(min=0).sum(1) + constant.clamp(min=0))[:, None]
    lowered = parts.clamp(max=0) / (parts.clamp(max=0).sum(1) + constant.clamp(max=0))[:, None]
    shares = alpha * torch.nan_to_num(raised) - beta * torch.nan_to_num(lowered)
    return (shares * relevance.flatten()[:, None]).sum(0).reshape(values.shape)


def by_hand(network, x, target, alpha, beta):
    """Relevances (X, Y, Z), layer by layer from the head to the voxels."""
    conv, norm, relu, _, second = network.features
    _, flatten, hidden, _, head = network.rest
    with torch.no_grad():
        one = relu(norm(conv(x[None])))
        two, places = nn.functional.max_pool3d(one, 2, return_indices=True)
        three = flatten(second(two).relu())
        four = hidden(three).relu()
        relevance = torch.zeros(1, 2, dtype=torch.float64)
        relevance[0, target] = head(four)[0, target]
        relevance = handed_on(head, four, relevance, alpha, beta)
        relevance = handed_on(hidden, three, relevance, alpha, beta)
        relevance = handed_on(second, two, relevance, alpha, beta)
        winners = torch.zeros_like(one).flatten(2)
        winners.scatter_add_(2, places.flatten(2), relevance.flatten(2))
        return handed_on(nn.Sequential(conv, norm), x[None], winners.reshape(one.shape), alpha, beta)[0, 0].numpy()


@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize(("alpha", "beta"), [(1.5, 0.5), (1.0, 0.0), (2.0, 1.0)])
def test_relevance_is_propagated_by_the_alpha_beta_rule_layer_by_layer(target, alpha, beta, monkeypatch):
    network, x = Network(), person()
    lrp = catalogue.load("explainers", "lrp_alphabeta")
    assert (lrp.ALPHA, lrp.BETA) == (1.5, 0.5)
    monkeypatch.setattr(lrp, "ALPHA", alpha)
    monkeypatch.setattr(lrp, "BETA", beta)
    result = lrp.explain(network, x, target, mask=FULL)
    wanted = by_hand(network, x, target, alpha, beta)
    assert result == pytest.approx(wanted, rel=1e-4, abs=1e-6 * np.abs(wanted).max())
    assert not np.allclose(result, lrp0.explain(network, x, target, mask=FULL), atol=0.1 * np.abs(wanted).max())


def test_without_biases_relevances_sum_to_the_logit():
    network, x = Network(biases=False), person()
    lrp = catalogue.load("explainers", "lrp_alphabeta")
    result = lrp.explain(network, x, 1, mask=FULL)
    logit = float(network(x[None])[0, 1].detach())
    assert result.sum(dtype=np.float64) == pytest.approx(logit, rel=1e-4)
    assert abs(lrp.checks(network, x, 1, result.ravel())["conservation_error"]) < 1e-4


class PreActivation(nn.Module):
    """Norms that act on other tensors than the output of the convolution before them in the list of modules."""

    input_format = "volumes"

    def draw(self):
        """Weights, and moments of normalisation that are not 0 and 1."""
        torch.manual_seed(1)
        with torch.no_grad():
            for name, one in self.state_dict().items():
                if one.is_floating_point():
                    one.copy_(0.5 + torch.rand_like(one) if "running_var" in name else 0.4 * torch.randn_like(one))
        self.double().eval()


class Residual(PreActivation):
    """The norm takes the output of the first convolution, which the sum takes too."""

    def __init__(self, *between):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv3d(1, 3, 3, padding=1), *between)
        self.norm, self.relu = nn.BatchNorm3d(3), nn.ReLU()
        self.conv = nn.Conv3d(3, 3, 3, padding=1)
        self.cam_layer = self.conv
        self.head = nn.Linear(3 * FULL.size, 2)
        self.draw()

    def forward(self, x):
        first = self.stem(x)
        return self.head((first + self.conv(self.relu(self.norm(first)))).flatten(1))

    def by_hand(self, x, relevance):
        first = self.stem(x)
        normed = self.norm(first)
        second = self.conv(normed.relu())
        relevance = relevance_before(self.head, first + second, relevance)
        within = relevance_before(self.conv, normed.relu(), relevance * second / (first + second))
        relevance = relevance * first / (first + second) + through(self.norm, first, within)
        return relevance_before(self.stem, x, relevance)


class Dense(PreActivation):
    """Each layer normalises all features before it; within a layer, one norm takes a convolution's output alone."""

    def __init__(self, *between):
        super().__init__()
        self.stem = nn.Conv3d(1, 3, 3, padding=1)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm3d(width), nn.ReLU(), nn.Conv3d(width, 4, 1, bias=False),
                nn.BatchNorm3d(4), nn.ReLU(), nn.Conv3d(4, 2, 3, padding=1), *between,
            )
            for width in (3, 5)
        )  # fmt: skip
        self.cam_layer = self.layers
        self.head = nn.Linear(7 * FULL.size, 2)
        self.draw()

    def forward(self, x):
        features = self.stem(x)
        for layer in self.layers:
            features = torch.cat([features, layer(features)], dim=1)
        return self.head(features.flatten(1))

    def by_hand(self, x, relevance):
        features = [self.stem(x)]
        for layer in self.layers:
            features.append(torch.cat([features[-1], layer(features[-1])], dim=1))
        relevance = relevance_before(self.head, features[-1], relevance)
        for layer, before in zip(self.layers[::-1], features[-2::-1], strict=True):
            own, narrow, wide = relevance[:, -2:], layer[:5](before), layer[:2](before)
            own = relevance_before(layer[5], narrow, own)
            own = relevance_before(layer[2:4], wide, own)
            relevance = relevance[:, :-2] + through(layer[0], before, own)
        return relevance_before(self.stem, x, relevance)


def relevance_before(layers, values, relevance):
    """Of the inputs of a layer, given that of its outputs."""
    layers = nn.Sequential(nn.Flatten(), layers) if isinstance(layers, nn.Linear) else layers
    return handed_on(layers, values, relevance, 1.5, 0.5)


def through(norm, values, relevance):
    """A normalisation that is merged with no convolution, and the ReLU after it: its shift absorbs a share."""
    shift = norm(torch.zeros_like(values))
    normed = norm(values)
    return torch.where(normed > 0, relevance * (normed - shift) / normed, 0.0)


@pytest.mark.parametrize("toy", [Residual, Dense])
def test_normalisation_is_merged_only_with_the_convolution_whose_output_it_alone_takes(toy):
    network, x = toy(), person()
    lrp = catalogue.load("explainers", "lrp_alphabeta")
    result = lrp.explain(network, x, 1, mask=FULL)
    with torch.no_grad():
        start = torch.zeros(1, 2, dtype=torch.float64)
        start[0, 1] = network(x[None])[0, 1]
        wanted = network.by_hand(x[None], start)[0, 0].numpy()
    assert result == pytest.approx(wanted, rel=1e-4, abs=1e-6 * np.abs(wanted).max())
    separated = toy(nn.Identity())
    separated.load_state_dict(network.state_dict())
    np.testing.assert_array_equal(lrp.explain(separated, x, 1, mask=FULL), result)


@pytest.mark.parametrize("inplace", [False, True])
def test_normalisation_after_a_relu_is_not_merged_with_the_convolution_before_it(inplace):
    network, x = Network(), person()
    conv, norm, _, pool, second = network.features
    network.features = nn.Sequential(conv, nn.ReLU(inplace), norm, pool, second)
    lrp = catalogue.load("explainers", "lrp_alphabeta")
    result = lrp.explain(network, x, 1, mask=FULL)
    with torch.no_grad():
        one = conv(x[None])
        normed = norm(one.relu())
        two, places = nn.functional.max_pool3d(normed, 2, return_indices=True)
        relevance = torch.zeros(1, 2, dtype=torch.float64)
        four = network.rest[:4](second(two))
        relevance[0, 1] = network.rest[4](four)[0, 1]
        three = network.rest[:2](second(two))
        for layer, values in ((network.rest[4], four), (network.rest[2], three), (second, two)):
            relevance = handed_on(layer, values, relevance, 1.5, 0.5)
        winners = torch.zeros_like(one).flatten(2)
        winners.scatter_add_(2, places.flatten(2), relevance.flatten(2))
        shift = norm(torch.zeros_like(one))
        within = winners.reshape(one.shape) * (normed - shift) / normed
        wanted = handed_on(conv, x[None], within, 1.5, 0.5)[0, 0].numpy()
    assert result == pytest.approx(wanted, rel=1e-4, abs=1e-6 * np.abs(wanted).max())


def test_linear_models_gelu_and_non_zero_padding_are_refused():
    check = catalogue.load("explainers", "lrp_alphabeta").check
    svm = catalogue.load("classifiers", "svm").build(1, 2, (3,), voxel_mm=(1.0,) * 3, seed=0)
    assert "linear model" in check(svm)
    network = Network()
    assert check(network) is None
    network.features[4] = nn.Conv3d(3, 4, 2, padding_mode="circular")
    assert "pad other than with zeros" in check(network)
    network.rest[0] = nn.GELU()
    assert check(network).startswith("lrp_alphabeta has no rule for GELU")
