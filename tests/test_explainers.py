"""Every explainer: correct where the answer is known, refused where unsupported, and without side effects."""

import copy
import functools
import inspect
import itertools

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from monai.visualize import GradCAM as MonaiGradCAM
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from small_networks import LARGE, part_of, shape_of
from small_networks import QUICK as EVERY_QUICK
from torch import nn

from bids_app import catalogue
from bids_app.classifiers._voxel_grid import VoxelGrid
from bids_app.errors import DataError
from bids_app.explainers._activations import feature_grid
from bids_app.explainers._receptive_field import trace_feature_grid, upsample

SHAPE = (17, 20, 16)
OF_SLICES = ("gradcam", "guided_backprop", "lrp_alphabeta")
OF_TOKENS = ("attention", "gradcam", "lrp_ahln", "rollout")
# by classifier, what goes into its own structure
LOOKED_INTO = {
    "biomedclip": OF_TOKENS,
    "biomedclip_small": OF_TOKENS,
    "forest": ("occlusion",),
    "googlenet": OF_SLICES,
    "googlenet_small": OF_SLICES,
    "logistic": ("pattern", "weights"),
    "ng2018": ("gradcam", "mean_activation"),
    "resnet18": OF_SLICES,
    "resnet18_small": OF_SLICES,
    "resnet18_3d": ("cam", *OF_SLICES),
    "resnet18_3d_small": ("cam", *OF_SLICES),
    "vgg3d_small": ("cam", "gradcam"),
    "vit_b16": OF_TOKENS,
    "wang_small": OF_SLICES,
}
LIKE = {name: f"{name}_small" for name in LARGE} | {"vit_b16": "vit_small"} | {"wang_a": "wang_small"}
# those of larger images are explained in test_contracts.py
QUICK = [name for name in EVERY_QUICK if shape_of(name, SHAPE) == SHAPE]
MASK = np.ones(SHAPE, bool)
MASK[:2] = False


def classifier_of(name, classes=2):
    """A classifier that has learnt a little, its training participants and one participant to be explained."""
    classifier, train, x = trained(name, classes)
    copied = copy.deepcopy(classifier)
    for parameter, before in zip(copied.parameters(), classifier.parameters(), strict=True):
        parameter.grad = None if before.grad is None else before.grad.clone()  # a copy comes without
    return copied, train.copy(), x.clone()


@functools.cache
def trained(name, classes):
    part = part_of(name)
    random = np.random.default_rng(0)
    volumes = (random.standard_normal((12, *SHAPE)) * MASK).astype(np.float32)
    y = np.arange(12) % classes
    if part.INPUT_FORMAT == "vectors":
        x = volumes[:, MASK]
        classifier = part.build(1, classes, (x.shape[1],), voxel_mm=(3.0,) * 3, seed=0)
        where = np.argwhere(MASK)
        classifier.fit(x, y, seed=0, voxel_grid=VoxelGrid(where, (3.0,) * 3, where[:, 0] // 5 + 1))
        return classifier, x, torch.from_numpy(x[0])
    classifier = part.build(1, classes, SHAPE, voxel_mm=(3.0,) * 3, seed=0)
    steps = torch.optim.SGD(classifier.parameters(), lr=0.1)
    some = slice(2) if name in LARGE else slice(12)
    nn.functional.cross_entropy(classifier(torch.from_numpy(volumes[some, None])), torch.from_numpy(y[some])).backward()
    steps.step()
    return classifier, volumes.reshape(12, -1), torch.from_numpy(volumes[:1])


def pairs(all_of_them=True):
    """Every explainer with every supported classifier, slow pairs in the slow suite; or only the quick pairs."""
    for name, classifier in itertools.product(catalogue.names("explainers"), [*QUICK, *LARGE]):
        shown = name in LOOKED_INTO.get(classifier, ()) or classifier in ("svm", "cnn3d", "vit_small")
        # a large one is as its small one, and need not be trained to be asked
        like = trained(LIKE.get(classifier, classifier), 2)[0]
        suits = catalogue.load("explainers", name).check(like) is None
        if suits and shown and classifier in QUICK:
            yield pytest.param(name, classifier)
        # the positive part of Grad-CAM on one or two cells may be nothing at all
        elif suits and (shown or classifier in QUICK) and name != "guided_gradcam" and all_of_them:
            yield pytest.param(name, classifier, marks=pytest.mark.slow)


def mapped(name, classifier, x, train, target=1):
    """The map of class 1, for a participant or for the model, depending on the explainer."""
    explainer = catalogue.load("explainers", name)
    if explainer.SCOPE == "model":
        return explainer.describe(classifier, train)[target]
    return explainer.explain(classifier, x, target, mask=MASK, **regions_for(explainer))


def regions_for(explainer):
    """Slabs of five voxels, for explainers that require regions."""
    slabs = np.broadcast_to((np.arange(SHAPE[0]) // 5 + 1)[:, None, None], SHAPE)
    return {"parcels": slabs} if "parcels" in inspect.signature(explainer.explain).parameters else {}


every_pair = pytest.mark.parametrize(("name", "kind"), list(pairs()))


@pytest.mark.parametrize("name", catalogue.names("explainers"))
def test_explainer_declares_sign_unit_scope_and_source(name):
    explainer = catalogue.load("explainers", name)
    assert explainer.SIGN in ("both", "positive")
    assert explainer.UNIT
    assert hasattr(explainer, "explain") == (explainer.SCOPE in ("sample", "both"))
    assert hasattr(explainer, "describe") == (explainer.SCOPE in ("model", "both"))
    assert "doi:" in explainer.__doc__


@pytest.mark.parametrize("name", catalogue.names("explainers"))
def test_refusal_of_an_unsupported_network_names_the_explainer(name):
    reason = catalogue.load("explainers", name).check(nn.Flatten())
    assert reason is None or name in reason


@every_pair
def test_maps_are_finite_nonzero_and_on_the_image_grid(name, kind):
    classifier, train, x = classifier_of(kind)
    values = mapped(name, classifier, x, train)
    assert values.shape == (SHAPE if classifier.input_format == "volumes" else (int(MASK.sum()),))
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    assert values.any()
    if values.shape == SHAPE:
        assert not values[~MASK].any()


@every_pair
def test_coarse_maps_are_piecewise_linear_between_activation_units(name, kind):
    """A map of cells is linear between their centres: no more than (cells per axis + 1) kinks along it."""
    classifier, train, x = classifier_of(kind)
    explainer = catalogue.load("explainers", name)
    if not getattr(explainer, "COARSE", False):
        return
    step = feature_grid(classifier, SHAPE).step
    assert len(step) == 3
    assert max(step) > 1
    values = mapped(name, classifier, x, train).astype(np.float64)
    axis = int(np.argmax(step))
    if step[axis] <= 2:
        return  # there is a centre between any three voxels
    inner = np.moveaxis(values, axis, 0)[2:]  # the mask leaves out the first two planes of X
    bends = np.abs(np.diff(inner, n=2, axis=0)).max(axis=(1, 2)) > 1e-5 * np.abs(values).max()
    assert bends.sum() < len(bends)


@every_pair
@pytest.mark.parametrize("training", [True, False])
def test_explaining_leaves_weights_gradients_mode_and_hooks_unchanged(name, kind, training):
    classifier, train, x = classifier_of(kind)
    classifier.train(training)
    state = {key: value.clone() for key, value in classifier.state_dict().items()}
    gradients = [None if one.grad is None else one.grad.clone() for one in classifier.parameters()]
    mapped(name, classifier, x, train)
    assert all(torch.equal(value, state[key]) for key, value in classifier.state_dict().items())
    for one, before in zip(classifier.parameters(), gradients, strict=True):
        assert (one.grad is None) == (before is None)
        assert before is None or torch.equal(one.grad, before)
    assert all(module.training == training for module in classifier.modules())
    assert not any(module._forward_hooks or module._backward_hooks for module in classifier.modules())
    assert x.grad is None
    assert not x.requires_grad


@pytest.mark.parametrize(("name", "kind"), list(pairs(all_of_them=False)))
def test_random_weights_change_the_map(name, kind):
    classifier, train, x = classifier_of(kind)
    before = mapped(name, classifier, x, train)
    correlations = []
    # two maps of four cells may be alike by chance; one that ignores the weights is the same at every draw
    while not correlations or (min(correlations) >= 0.9 and len(correlations) < 8):
        draw_weights(classifier, kind, seed=1 + len(correlations))
        after = mapped(name, classifier, x, train)
        correlations.append(abs(np.corrcoef(before.ravel(), after.ravel())[0, 1]))
    assert min(correlations) < 0.9


def draw_weights(classifier, kind, seed):
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in classifier.parameters():
            drawn = torch.rand_like(parameter) if kind == "forest" else torch.randn_like(parameter)
            # through so many layers they would grow beyond all numbers
            parameter.copy_(drawn / (parameter[0].numel() ** 0.5 if "googlenet" in kind else 1))


class Plain(nn.Module):
    """Two strided convolutions, a mean over space and a linear head."""

    input_format = "volumes"

    def __init__(self, kernels=(3, 3), strides=(2, 2), paddings=(1, 1), symmetric=False):
        super().__init__()
        torch.manual_seed(0)
        k, s, p = kernels, strides, paddings
        first, second = nn.Conv3d(1, 4, k[0], s[0], p[0]), nn.Conv3d(4, 4, k[1], s[1], p[1])
        self.features = nn.Sequential(first, nn.ReLU(), second, nn.ReLU())
        self.cam_layer = self.features
        self.head = nn.Linear(4, 2)
        if symmetric:
            with torch.no_grad():
                for layer in (first, second):
                    layer.weight.copy_((layer.weight + layer.weight.flip(2)) / 2)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3, 4)))


def test_gradcam_matches_captum_and_pytorch_grad_cam():
    network, x = Plain().eval(), torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(0))
    raw = catalogue.load("explainers", "gradcam").cam_map(network, x, 1)
    captum = LayerGradCam(network, network.cam_layer).attribute(x[None].requires_grad_(), target=1)
    assert raw == pytest.approx(captum[0, 0].detach().numpy(), abs=1e-7)
    method = GradCAM(network, [network.cam_layer])
    scaled = method(x[None], [ClassifierOutputTarget(1)])[0]
    method.activations_and_grads.release()
    size = SHAPE[::-1]  # pytorch-grad-cam takes width first
    resized = np.maximum(scale_cam_image(np.maximum(raw, 0)[None], size), 0)
    assert scale_cam_image(resized)[0] == pytest.approx(scaled, abs=1e-5)


def test_gradcam_equals_cam_for_mean_pooled_features_and_a_linear_head():
    network, x = Plain().eval(), torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = network.features(x[None])[0]
        cam = torch.einsum("k,kxyz->xyz", network.head.weight[1], features) / features[0].numel()
    assert catalogue.load("explainers", "gradcam").cam_map(network, x, 1) == pytest.approx(cam.numpy(), abs=1e-6)


def test_positive_part_of_gradcam_matches_monai():
    """MONAI returns only the positive part."""
    network, x = Plain().eval(), person()
    batch = x[None].requires_grad_()
    theirs = MonaiGradCAM(network, target_layers="features").compute_map(batch, class_idx=1)[0, 0].detach().numpy()
    ours = catalogue.load("explainers", "gradcam").cam_map(network, x, 1)
    assert theirs.any()
    assert np.maximum(ours, 0) == pytest.approx(theirs, rel=1e-4, abs=1e-7 * float(theirs.max()))


def test_gradcam_of_a_flipped_image_is_the_flipped_map():
    network, x = Plain(symmetric=True).eval(), torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(0))
    explain = catalogue.load("explainers", "gradcam").explain
    full = np.ones(SHAPE, bool)
    flipped = explain(network, x.flip(1), 1, mask=full)
    assert flipped == pytest.approx(explain(network, x, 1, mask=full)[::-1], abs=1e-6)
    assert np.abs(flipped).max() > 1e-4


@pytest.mark.parametrize("shape", [(16, 18, 14), (17, 21, 15), (16, 21, 19)])
@pytest.mark.parametrize(
    ("kernels", "strides", "paddings"),
    [((3, 3), (2, 2), (1, 1)), ((5, 3), (2, 1), (2, 0)), ((2, 3), (2, 2), (0, 1))],
)
def test_gradcam_peaks_at_a_planted_bright_voxel(shape, kernels, strides, paddings):
    network = Plain(kernels, strides, paddings).eval()
    with torch.no_grad():
        for layer in (network.features[0], network.features[2]):
            layer.weight.fill_(1)
            layer.bias.zero_()
        network.head.weight.fill_(1)
    where = trace_feature_grid(network, network.cam_layer, shape)
    planted = tuple(round(start + step * 2) for start, step in zip(where.start, where.step, strict=True))
    x = torch.zeros(1, *shape)
    x[(0, *planted)] = 1
    heat = catalogue.load("explainers", "gradcam").explain(network, x, 1, mask=np.ones(shape, bool))
    centre = np.argwhere(heat >= heat.max() * 0.999).mean(0)
    assert np.abs(centre - planted).max() <= max(where.step) / 2


def test_activation_units_are_centred_on_their_input_gradients():
    shape = (16, 19, 22)
    network = Plain((5, 4), (2, 3), (1, 2))
    network.features.insert(2, nn.MaxPool3d(2, 1))
    where = trace_feature_grid(network, network.cam_layer, shape)
    linear = nn.Sequential(network.features[0], nn.AvgPool3d(2, 1), network.features[3])
    with torch.no_grad():
        for layer in (linear[0], linear[2]):
            layer.weight.fill_(1)
    x = torch.zeros(1, 1, *shape, requires_grad=True)
    out = linear(x)
    assert out.shape[2:] == where.shape
    (gradient,) = torch.autograd.grad(out[0, 0, 1, 1, 2], x)
    weight = gradient[0, 0].abs().double().numpy()
    mean = [np.average(np.indices(shape)[axis], weights=weight) for axis in range(3)]
    cell = np.array((1, 1, 2))
    assert mean == pytest.approx(np.array(where.start) + np.array(where.step) * cell)


def test_upsampling_is_linear_between_unit_centres_and_constant_beyond():
    network = Plain()
    where = trace_feature_grid(network, network.cam_layer, (17, 20, 16))
    ramp = where.start[0] + where.step[0] * np.arange(where.shape[0])
    up = upsample(np.broadcast_to(ramp[:, None, None], where.shape), where, (17, 20, 16))
    expected = np.clip(np.arange(17), ramp[0], ramp[-1])
    assert up == pytest.approx(np.broadcast_to(expected[:, None, None], up.shape), abs=1e-5)


def test_activations_that_do_not_match_the_traced_grid_are_refused():
    network = Plain()
    where = trace_feature_grid(network, network.cam_layer, SHAPE)
    with pytest.raises(ValueError, match="no plain chain"):
        upsample(np.zeros((9, 9, 9)), where, SHAPE)


@pytest.mark.parametrize("classes", [2, 3])
def test_contributions_sum_to_the_logit_minus_that_of_the_training_mean(classes):
    classifier, train, x = classifier_of("svm", classes)
    explain = catalogue.load("explainers", "weights").explain
    with torch.no_grad():
        gain = classifier(x[None])[0] - classifier(torch.from_numpy(train).mean(0)[None])[0]
    for target in range(classes):
        assert explain(classifier, x, target, mask=MASK).sum() == pytest.approx(float(gain[target]), abs=1e-5)


def test_weights_and_contributions_of_a_known_linear_model():
    classifier = catalogue.load("classifiers", "svm").build(2, 2, (3,), voxel_mm=(1.0,) * 3, seed=0)
    rows = torch.tensor([[1.0, 0, 0, 0, 0, 2], [-1, 3, 0, 0, 1, 0]])
    with torch.no_grad():
        classifier.linear.weight.copy_(rows)
        classifier.centre.fill_(1)
    explainer, mask = catalogue.load("explainers", "weights"), np.array([True, True, False, True])
    assert explainer.describe(classifier, np.zeros((2, 6))) == pytest.approx(rows.numpy())
    assert explainer.explain(classifier, torch.full((6,), 3.0), 1, mask=mask).tolist() == [-2, 8, 0]


def linear_people(seed=0, n=400):
    """Voxel 0 holds the effect and a nuisance, voxel 1 the nuisance alone (a suppressor), voxel 2 neither."""
    random = np.random.default_rng(seed)
    y = np.arange(n) % 2
    nuisance = random.standard_normal(n)
    x = np.stack([y - 0.5 + nuisance, nuisance, random.standard_normal(n)], axis=1)
    x += 0.05 * random.standard_normal((n, 3))
    return (x - x.mean(0)).astype(np.float32), y


def test_the_pattern_is_covariance_times_weights_over_variance():
    x, y = linear_people()
    classifier = catalogue.load("classifiers", "svm").build(1, 2, (3,), voxel_mm=(1.0,) * 3, seed=0)
    classifier.fit(x, y, seed=0)
    result = catalogue.load("explainers", "pattern").describe(classifier, x)
    for row, w in zip(result, classifier.linear.weight.detach().double().numpy(), strict=True):
        covariance = np.cov(x.T.astype(float))
        assert row == pytest.approx(covariance @ w / (w @ covariance @ w), rel=1e-4, abs=1e-6)


def test_pattern_nearly_ignores_a_suppressor_used_by_the_weights():
    x, y = linear_people()
    classifier = catalogue.load("classifiers", "svm").build(1, 2, (3,), voxel_mm=(1.0,) * 3, seed=0)
    classifier.fit(x, y, seed=0)
    weight = catalogue.load("explainers", "weights").describe(classifier, x)[1]
    pattern = catalogue.load("explainers", "pattern").describe(classifier, x)[1]
    assert weight[1] < -0.8 * weight[0] < 0
    assert abs(pattern[1]) < 0.3 * pattern[0]


def test_pattern_of_a_constant_decision_is_refused():
    classifier = catalogue.load("classifiers", "svm").build(1, 2, (3,), voxel_mm=(1.0,) * 3, seed=0)
    with pytest.raises(DataError, match="same decision"):
        catalogue.load("explainers", "pattern").describe(classifier, linear_people()[0])


def person(seed=0):
    return torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(seed))


FULL = np.ones(SHAPE, bool)
OF_NETWORKS = [
    name
    for name in catalogue.names("explainers")
    if (explainer := catalogue.load("explainers", name)).SCOPE != "model" and explainer.check(Plain()) is None
]


@pytest.mark.parametrize("name", OF_NETWORKS)
def test_a_flipped_image_gives_the_flipped_map(name):
    network, x = Plain(symmetric=True).eval(), person()
    explainer = catalogue.load("explainers", name)
    regions = regions_for(explainer)
    flipped_regions = {key: labels[::-1] for key, labels in regions.items()}
    first = explainer.explain(network, x, 1, mask=FULL, **regions)
    flipped = explainer.explain(network, x.flip(1), 1, mask=FULL, **flipped_regions)
    assert flipped == pytest.approx(first[::-1], abs=1e-5 * float(np.abs(first).max()))


def test_cam_and_bias_sum_to_the_logit_and_other_heads_are_refused():
    network, x = Plain().eval(), person()
    cam = catalogue.load("explainers", "cam")
    with torch.no_grad():
        logit = float(network(x[None])[0, 1] - network.head.bias[1])
    assert cam.cam_map(network, x, 1).mean() == pytest.approx(logit, abs=1e-6)

    class Largest(Plain):
        def forward(self, x):
            return self.head(self.features(x).amax((2, 3, 4)))

    with pytest.raises(DataError, match="does not sum to the logit"):
        cam.cam_map(Largest().eval(), x, 1)


def test_gradcampp_follows_equation_19():
    network, x = Plain().eval(), person()
    features = network.features(x[None]).detach().double().requires_grad_()
    logit = network.double().head(features.mean((2, 3, 4)))[0, 1]
    g = torch.autograd.grad(logit, features)[0][0]
    a = features[0].detach()
    share = g**2 / (2 * g**2 + a.sum((1, 2, 3), keepdim=True) * g**3)
    wanted = torch.einsum("k,kxyz->xyz", (g.clamp(min=0) * torch.nan_to_num(share)).sum((1, 2, 3)), a)
    result = catalogue.load("explainers", "gradcampp").cam_map(network.float(), x, 1)
    assert result == pytest.approx(wanted.numpy(), rel=1e-4, abs=1e-6 * float(wanted.abs().max()))


def test_mean_activation_averages_channels_and_does_not_depend_on_the_class():
    network, x = Plain().eval(), person()
    explain = catalogue.load("explainers", "mean_activation").explain
    with torch.no_grad():
        mean = network.features(x[None])[0].mean(0).numpy()
    where = trace_feature_grid(network, network.cam_layer, SHAPE)
    assert explain(network, x, 0, mask=FULL) == pytest.approx(upsample(mean, where, SHAPE), abs=1e-6)
    assert (explain(network, x, 0, mask=FULL) == explain(network, x, 1, mask=FULL)).all()


def test_saliency_is_the_signed_derivative_of_the_logit():
    network, x = Plain().eval().double(), person().double()
    result = catalogue.load("explainers", "saliency").explain(network, x, 1, mask=FULL)
    step = 1e-6
    for voxel in ((3, 4, 5), (10, 11, 2), (16, 19, 15)):
        moved = x.clone()
        moved[(0, *voxel)] += step
        with torch.no_grad():
            change = float(network(moved[None])[0, 1] - network(x[None])[0, 1]) / step
        assert result[voxel] == pytest.approx(change, rel=1e-4, abs=1e-9)


def test_for_linear_models_saliency_is_weights_and_integrated_gradients_weights_times_input():
    classifier, _, x = classifier_of("svm")
    weights = classifier.linear.weight[1].detach().numpy()
    saliency, integrated = (catalogue.load("explainers", name) for name in ("saliency", "integrated_gradients"))
    assert saliency.explain(classifier, x, 1, mask=MASK) == pytest.approx(weights, abs=1e-7)
    assert integrated.explain(classifier, x, 1, mask=MASK) == pytest.approx(weights * x.numpy(), abs=1e-6)


@pytest.mark.parametrize("network", [Plain().eval(), classifier_of("cnn3d")[0].eval()], ids=["plain", "cnn3d"])
def test_integrated_gradients_sum_to_the_logit_minus_that_of_the_baseline(network):
    x = person()
    result = catalogue.load("explainers", "integrated_gradients").explain(network, x, 1, mask=FULL)
    with torch.no_grad():
        way = float(network(x[None])[0, 1] - network(torch.zeros_like(x)[None])[0, 1])
    assert result.sum(dtype=np.float64) == pytest.approx(way, rel=0.02, abs=1e-4)


def test_guided_backprop_passes_only_positive_gradients():
    """The backward pass written out, convolution by convolution."""
    network, x = Plain().eval(), person()
    first, _, second, _ = network.features
    with torch.no_grad():
        one = first(x[None])
        two = second(one.relu())
        count = two[0, 0].numel()
        back = (network.head.weight[1] / count)[None, :, None, None, None].expand_as(two)
        back = back.clamp(min=0) * (two > 0)
        back = nn.grad.conv3d_input(one.shape, second.weight, back, 2, 1).clamp(min=0) * (one > 0)
        wanted = nn.grad.conv3d_input((1, 1, *SHAPE), first.weight, back, 2, 1)[0, 0].numpy()
    result = catalogue.load("explainers", "guided_backprop").explain(network, x, 1, mask=FULL)
    assert result == pytest.approx(wanted, abs=1e-6 * float(np.abs(wanted).max()))
    assert not np.allclose(result, catalogue.load("explainers", "saliency").explain(network, x, 1, mask=FULL))


def test_guided_gradcam_is_guided_backprop_times_positive_gradcam():
    network, x = Plain().eval(), person()
    guided, gradcam, both = (
        catalogue.load("explainers", name).explain(network, x, 1, mask=FULL)
        for name in ("guided_backprop", "gradcam", "guided_gradcam")
    )
    assert both == pytest.approx(guided * np.maximum(gradcam, 0), abs=0)


def test_guided_methods_refuse_functional_or_shared_relus_and_other_activations():
    class Functional(Plain):
        def forward(self, x):
            return self.head(self.features(x).relu().mean((2, 3, 4)))

    class Smooth(Plain):
        def __init__(self):
            super().__init__()
            self.features[1] = nn.GELU()

    class Shared(Plain):
        def __init__(self):
            super().__init__()
            self.features[3] = self.features[1]

    guided = catalogue.load("explainers", "guided_backprop")
    with pytest.raises(DataError, match="1 ReLUs of this network are not separate modules"):
        guided.explain(Functional().eval(), person(), 1, mask=FULL)
    with pytest.raises(DataError, match="1 ReLUs"):
        guided.explain(Shared().eval(), person(), 1, mask=FULL)
    assert "GELU" in guided.check(Smooth())
    assert "linear model" in guided.check(classifier_of("svm")[0])
    assert "linear model" in catalogue.load("explainers", "guided_gradcam").check(classifier_of("svm")[0])


@pytest.mark.parametrize("kind", ["svm", "cnn3d"])
def test_occlusion_is_the_logit_drop_without_each_region(kind):
    classifier, _, x = classifier_of(kind)
    classifier.eval()
    occlusion = catalogue.load("explainers", "occlusion")
    parcels = np.zeros(SHAPE, int)
    parcels[2:6, :10], parcels[8:12, 5:], parcels[14:] = 3, 1, 7
    result = occlusion.explain(classifier, x, 1, mask=MASK, parcels=parcels)
    inside = parcels[MASK] if kind == "svm" else parcels
    assert not result[inside == 0].any()
    for region in (1, 3, 7):
        without = x.clone()
        without[(inside == region) if kind == "svm" else (slice(None), *np.nonzero(inside == region))] = 0
        with torch.no_grad():
            fall = float(classifier(x[None])[0, 1] - classifier(without[None])[0, 1])
        assert result[inside == region] == pytest.approx(fall, rel=1e-4, abs=1e-6)
        assert np.ptp(result[inside == region]) == 0
    if kind == "svm":
        weights = classifier.linear.weight[1].detach().numpy()
        assert result[inside == 7][0] == pytest.approx((weights * x.numpy())[inside == 7].sum(), rel=1e-3)


def test_lrp0_propagates_relevance_in_proportion_to_the_inputs():
    """R_i = a_i * sum over j of w_ij R_j / z_j, layer by layer; biases keep their part."""
    network, x = Plain().eval().double(), person().double()
    first, _, second, _ = network.features
    with torch.no_grad():
        z1 = first(x[None])
        a1 = z1.relu()
        z2 = second(a1)
        a2 = z2.relu()
        weight = network.head.weight[1][None, :, None, None, None] / a2[0, 0].numel()
        relevance = a2 * weight  # of the last features, whose sum is the logit less the head's bias
        assert float(relevance.sum()) == pytest.approx(float(network(x[None])[0, 1] - network.head.bias[1]))
        share = torch.where(z2 == 0, 0.0, relevance / z2)
        relevance = a1 * nn.grad.conv3d_input(a1.shape, second.weight, share, 2, 1)
        share = torch.where(z1 == 0, 0.0, relevance / z1)
        relevance = x[None] * nn.grad.conv3d_input(x[None].shape, first.weight, share, 2, 1)
    result = catalogue.load("explainers", "lrp0").explain(network, x, 1, mask=FULL)
    assert result == pytest.approx(relevance[0, 0].numpy(), rel=1e-4, abs=1e-6 * float(relevance.abs().max()))


def test_lrp0_without_biases_sums_to_the_logit_even_with_normalisation():
    network, x = Plain().eval().double(), person().double()
    network.features.insert(1, nn.GroupNorm(2, 4).double())
    with torch.no_grad():
        for module in (network.features[0], network.features[3], network.head):
            module.bias.zero_()
    before = float(network(x[None])[0, 1].detach())
    result = catalogue.load("explainers", "lrp0").explain(network, x, 1, mask=FULL)
    assert result.sum(dtype=np.float64) == pytest.approx(before, rel=1e-5)
    assert float(network(x[None])[0, 1].detach()) == before
    plain = torch.autograd.grad(network((y := x.clone().requires_grad_())[None])[0, 1], y)[0]
    assert float((plain * x).sum()) != pytest.approx(before, rel=1e-2)  # the scale does depend on the image


def test_lrp0_refuses_layers_without_a_rule():
    network = Plain()
    network.features[1] = nn.GELU()
    assert "no rule for GELU" in catalogue.load("explainers", "lrp0").check(network)


def test_checks_quantify_incomplete_attributions():
    network, x = Plain().eval(), person()
    integrated, lrp0, guided = (
        catalogue.load("explainers", name) for name in ("integrated_gradients", "lrp0", "guided_backprop")
    )
    result = integrated.explain(network, x, 1, mask=FULL).ravel()
    assert abs(integrated.checks(network, x, 1, result)["convergence_delta"]) < 0.02
    assert integrated.checks(network, x, 1, result * 1.5)["convergence_delta"] == pytest.approx(0.5, abs=0.03)
    with torch.no_grad():
        for module in (network.features[0], network.features[2], network.head):
            module.bias.zero_()
    result = lrp0.explain(network, x, 1, mask=FULL).ravel()
    assert abs(lrp0.checks(network, x, 1, result)["conservation_error"]) < 1e-4
    assert lrp0.checks(network, x, 1, result * 0.5)["conservation_error"] == pytest.approx(-0.5, abs=1e-4)
    assert guided.checks(network, x, 1, result) == {"relus_guided": 2}
