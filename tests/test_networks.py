"""Networks from libraries and papers: weights by name, parameter counts, ReLUs and heatmap positions."""

import numpy as np
import pytest
import torch
from monai.networks.nets import resnet18 as monai_resnet18
from safetensors.torch import save_file
from small_networks import SMALL, tower
from torch import nn
from torchvision.models import GoogLeNet, GoogLeNet_Weights, ResNet18_Weights, resnet18, vgg

from bids_app import catalogue
from bids_app.classifiers import biomedclip, vgg3d
from bids_app.classifiers._min_input_size import min_input_size, output_shape
from bids_app.errors import DataError, MissingInputError
from bids_app.explainers._activations import feature_grid

MM = (3.0, 3.0, 3.0)


def build(name, channels=1, classes=2, shape=(12, 14, 9), mm=MM):
    return catalogue.load("classifiers", name).build(channels, classes, shape, voxel_mm=mm, seed=0)


def on_meta(name, shape, **options):
    with torch.device("meta"):
        return build(name, shape=shape, **options)


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def drawn(network, seed=0):
    """The network with moments and weights of batch normalisation that do something."""
    torch.manual_seed(seed)
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
            for one in (module.weight, module.bias, module.running_mean, module.running_var):
                nn.init.uniform_(one, 0.5, 1.5)
    return network.eval()


@pytest.mark.parametrize("heads", [False, True])
def test_torchvision_googlenet_state_loads_strictly_and_gives_equal_outputs(heads):
    peer = drawn(GoogLeNet(2, aux_logits=heads, init_weights=False))
    network = build("googlenet").eval()
    state = {name: one for name, one in peer.state_dict().items() if not name.startswith("aux")}
    network.backbone.load_state_dict(state, strict=True)
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        assert torch.allclose(network.backbone(images), peer(images), atol=1e-5)


def test_torchvision_resnet18_state_loads_strictly_and_gives_equal_outputs():
    peer, network = drawn(resnet18(num_classes=2)), build("resnet18").eval()
    network.backbone.load_state_dict(peer.state_dict(), strict=True)
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        assert torch.allclose(network.backbone(images), peer(images), atol=1e-5)


@pytest.mark.parametrize(("mm", "stride"), [(3.0, 1), (2.0, 1), (1.5, 2)])
def test_monai_resnet18_state_loads_strictly_and_gives_equal_outputs(mm, stride):
    peer = drawn(monai_resnet18(spatial_dims=3, n_input_channels=2, num_classes=3, conv1_t_stride=stride))
    network = build("resnet18_3d", channels=2, classes=3, mm=(mm,) * 3).eval()
    network.load_state_dict(peer.state_dict(), strict=True)
    volumes = torch.randn(2, 2, 17, 20, 16)
    with torch.no_grad():
        assert torch.allclose(network(volumes), peer(volumes), atol=1e-4)


def test_parameter_counts_match_libraries_and_papers():
    assert (
        count(on_meta("googlenet", (9, 9, 9), classes=1000).backbone)
        == (GoogLeNet_Weights.IMAGENET1K_V1.meta["num_params"])
    )
    assert (
        count(on_meta("resnet18", (9, 9, 9), classes=1000).backbone)
        == (ResNet18_Weights.IMAGENET1K_V1.meta["num_params"])
    )
    first = on_meta("ng2018", (121, 145, 121)).dense[1]
    assert first.weight.numel() == 48_600_000  # 5 channels of 30 x 36 x 30 cells, 300 units
    with torch.device("meta"):
        for name, units in (("wang_a", 864), ("wang_b", 1920), ("wang_c", 1920), ("wang_d", 1920)):
            part = catalogue.load("classifiers", name)
            network = part.build(1, 2, (193, 229, 193), voxel_mm=(1.0, 1.0, 1.0), seed=0, width=24)
            assert network.dense[1].in_features == units
    # torchvision's eleven layers, a quarter as wide
    assert [width for stage in vgg3d.STAGES for width in stage] == [
        width // 4 for width in vgg.cfgs["A"] if width != "M"
    ]
    convolutions = [one for one in vgg.vgg11_bn().features if isinstance(one, nn.Conv2d)]
    ours = [one for one in build("vgg3d", shape=(16,) * 3).modules() if isinstance(one, nn.Conv3d)]
    for conv, peer in list(zip(ours, convolutions, strict=True))[1:]:
        assert conv.weight.numel() * 16 == peer.weight.numel() * 3


@pytest.mark.parametrize(("name", "needed"), [("ng2018", 4), ("vgg3d", 16), ("wang_a", 110), ("wang_b", 94),
                                              ("wang_c", 112), ("wang_d", 105)])  # fmt: skip
def test_too_small_grid_is_refused_naming_the_minimum(name, needed):
    network = on_meta(name, (needed,) * 3)
    with torch.device("meta"):
        assert network.eval()(torch.empty(1, 1, needed, needed, needed)).shape == (1, 2)
    with pytest.raises(
        DataError, match=rf"{name} requires maps of at least {needed} voxels .* {needed - 1} x 200 x 200"
    ):
        on_meta(name, (needed - 1, 200, 200))


def test_computed_output_size_matches_the_layers():
    steps = [(6, 2), (4, 3), (0, 1)]
    layers = nn.Sequential(nn.Conv1d(1, 1, 7), nn.MaxPool1d(2), nn.Conv1d(1, 1, 5), nn.MaxPool1d(3))
    for edge in range(min_input_size(steps), 60):
        assert output_shape((edge,), steps, name="x") == (layers(torch.zeros(1, 1, edge)).shape[-1],)


@pytest.mark.parametrize(("name", "relus"), [("googlenet_small", 57), ("resnet18_small", 17),
                                             ("resnet18_3d_small", 17)])  # fmt: skip
def test_every_relu_is_a_separate_module_and_not_in_place(name, relus):
    network = SMALL[name].build(1, 2, (17, 20, 16), voxel_mm=MM, seed=0).eval()
    guided = catalogue.load("explainers", "guided_backprop")
    x = torch.randn(1, 17, 20, 16)
    values = guided.explain(network, x, 1, mask=np.ones((17, 20, 16), bool))  # refuses others
    assert guided.checks(network, x, 1, values) == {"relus_guided": relus}
    assert not any(one.inplace for one in network.modules() if isinstance(one, nn.ReLU))
    assert not np.allclose(
        values, catalogue.load("explainers", "saliency").explain(network, x, 1, mask=np.ones((17, 20, 16), bool))
    )


def evenly(network):
    """All weights the same and positive, so that whatever is bright stays so and speaks for every class."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            norm = isinstance(network.get_submodule(name.rpartition(".")[0]), (nn.BatchNorm2d, nn.BatchNorm3d))
            weight = 1.0 if norm else 1 / parameter[0].numel()
            parameter.fill_(weight if name.endswith("weight") else 0.0)
    return network.eval()


@pytest.mark.parametrize("planted", [(9, 16, 4), (16, 7, 7)], ids=str)
@pytest.mark.parametrize("name", ["googlenet", "resnet18"])
def test_slice_gradcam_peaks_at_a_planted_bright_voxel(name, planted):
    shape = (24, 26, 9)
    part = catalogue.load("classifiers", name)
    network = evenly(part.build(1, 2, shape, voxel_mm=(3.0, 3.0, 3.0), seed=0, size=160))
    heat = catalogue.load("explainers", "gradcam").explain(
        network, bright(shape, planted), 1, mask=np.ones(shape, bool)
    )
    apart = np.abs(peak(heat) - planted)
    assert (apart <= np.array(feature_grid(network, shape).step) / 2 + 1e-6).all()


@pytest.mark.parametrize("planted", [(14, 21, 19), (20, 10, 15)], ids=str)
@pytest.mark.parametrize("name", ["ng2018", "vgg3d_small", "wang_small", "resnet18_3d_small"])
def test_volume_gradcam_peaks_at_a_planted_bright_voxel(name, planted):
    shape = (33, 34, 35)  # cells before and behind
    part = SMALL.get(name) or catalogue.load("classifiers", name)
    network = evenly(part.build(1, 2, shape, voxel_mm=MM, seed=0))
    heat = catalogue.load("explainers", "gradcam").explain(
        network, bright(shape, planted), 1, mask=np.ones(shape, bool)
    )
    apart = np.abs(peak(heat) - planted)
    assert (apart <= np.array(feature_grid(network, shape).step) / 2 + 1e-6).all()


def bright(shape, planted):
    x = torch.zeros(1, *shape)
    x[(0, *planted)] = 1
    return x


def peak(heat):
    return np.argwhere(heat >= heat.max() * 0.999).mean(0)


def names_of_open_clip(width, blocks, size, patch, projection):
    """Names and shapes of the image tower as open_clip writes them, for timm's vision transformer."""
    tokens = (size // patch) ** 2 + 1
    result = {
        "cls_token": (1, 1, width), "pos_embed": (1, tokens, width), "norm.weight": (width,), "norm.bias": (width,),
        "patch_embed.proj.weight": (width, 3, patch, patch), "patch_embed.proj.bias": (width,),
    }  # fmt: skip
    for block in range(blocks):
        shapes = {
            "norm1": (width,), "norm2": (width,), "attn.qkv": (3 * width, width), "attn.proj": (width, width),
            "mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width),
        }  # fmt: skip
        for name, shape in shapes.items():
            result[f"blocks.{block}.{name}.weight"] = shape
            result[f"blocks.{block}.{name}.bias"] = shape[:1]
    trunk = {f"visual.trunk.{name}": shape for name, shape in result.items()}
    return trunk | {"visual.head.proj.weight": (projection, width)}


def written(folder, shapes, file):
    """A file of random tensors of these names and shapes, among what the text tower has."""
    torch.manual_seed(3)
    state = {name: torch.randn(shape) for name, shape in shapes.items()}
    whole = state | {"logit_scale": torch.ones(()), "text.proj.0.weight": torch.ones(4, 4)}
    if file.endswith("bin"):
        torch.save(whole, folder / file)
    else:
        save_file(whole, folder / file)
    return state


SMALL_TOWER = {"width": 48, "blocks": 2, "size": 32, "patch": 8, "projection": 16}


@pytest.mark.parametrize("file", ["open_clip_pytorch_model.bin", "open_clip_model.safetensors"])
def test_open_clip_weights_load_strictly_into_the_tower(tmp_path, file):
    network = SMALL["biomedclip_small"].build(1, 3, (9, 10, 11), voxel_mm=MM, seed=0)
    state = written(tmp_path, names_of_open_clip(**SMALL_TOWER), file)
    head = network.backbone.classify.weight.clone()
    biomedclip.load_weights(network, tmp_path)
    loaded = {f"visual.{name}": one for name, one in network.backbone.visual.state_dict().items()}
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], one) for name, one in state.items())
    assert torch.equal(network.backbone.classify.weight, head)


def test_tower_output_for_two_identical_maps_equals_that_for_one(tmp_path):
    written(tmp_path, names_of_open_clip(**SMALL_TOWER), "open_clip_model.safetensors")
    single, double = (tower(maps, 2, (9, 10, 11), voxel_mm=MM, seed=0).eval() for maps in (1, 2))
    for one in (single, double):
        biomedclip.load_weights(one, tmp_path)
    double.backbone.classify.load_state_dict(single.backbone.classify.state_dict())
    x = torch.randn(1, 1, 9, 10, 11)
    with torch.no_grad():
        assert torch.allclose(single(x), double(x.expand(-1, 2, -1, -1, -1)), atol=1e-5)


def test_missing_or_mismatched_weights_are_refused(tmp_path):
    network = SMALL["biomedclip_small"].build(1, 2, (9, 10, 11), voxel_mm=MM, seed=0)
    with pytest.raises(MissingInputError, match="hf download microsoft/BiomedCLIP"):
        biomedclip.load_weights(network, tmp_path)
    before = {name: one.clone() for name, one in network.state_dict().items()}
    written(tmp_path, names_of_open_clip(**SMALL_TOWER | {"blocks": 3}), "open_clip_model.safetensors")
    with pytest.raises(
        DataError, match=r"of 12 tensors that differ, .*blocks\.2\..* is 48 in the file and not there in the tower"
    ):
        biomedclip.load_weights(network, tmp_path)
    assert all(torch.equal(one, before[name]) for name, one in network.state_dict().items())


@pytest.mark.slow
def test_biomedclip_tower_has_150_tensors_and_a_projection(tmp_path):
    shapes = names_of_open_clip(width=768, blocks=12, size=224, patch=16, projection=512)
    assert len(shapes) == 151
    network = build("biomedclip")
    state = written(tmp_path, shapes, "open_clip_model.safetensors")
    biomedclip.load_weights(network, tmp_path)
    assert count(network.backbone.visual) == sum(one.numel() for one in state.values()) == 85_798_656 + 768 * 512
    assert network.slices.axis == 0
