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
