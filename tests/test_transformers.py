"""Vision transformers and their explainers, compared with torchvision and explicit formulas."""

import numpy as np
import pytest
import torch
import vit_small
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torch.nn.functional import unfold
from torchvision.models import VisionTransformer

from bids_app import catalogue
from bids_app.explainers._attention import attentions, open_attention

SHAPE = (17, 20, 16)
FULL = np.ones(SHAPE, bool)
TRANSFORMERS = ("attention", "rollout", "lrp_ahln")


def explainer(name):
    return catalogue.load("explainers", name)


def network_of(shape=SHAPE, channels=1, biases=True, **options):
    """A small transformer in double precision whose attention is far from even, with or without what is not linear in
    the image: biases, the class token and the places of tokens.
    """
    network = vit_small.build(channels, 2, shape, seed=0, **options).double().eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "qkv" in name or "mlp" in name:
                parameter.mul_(8)
            if parameter.ndim == 1 or name.endswith(("cls_token", "pos_embed")):
                is_scale = "norm" in name and name.endswith("weight")
                parameter.copy_((1.0 if is_scale else 0.0) + 0.3 * torch.randn_like(parameter))
                if not biases and not is_scale:
                    parameter.zero_()
    return network


def person(shape=SHAPE, channels=1, seed=0):
    return torch.randn(channels, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def written_out(network, images, frozen=None):
    """Logits (images, classes) of the transformer by its formulas, and the attention (images, heads, queries, keys),
    scales and gates in the order in which they come; these are taken from `frozen` where it is given.
    """
    backbone, kept = network.backbone, []

    def held(value):
        kept.append(value if frozen is None else frozen[len(kept)])
        return kept[-1]

    def norm(layer, x):
        scale = held((x.var(-1, correction=0, keepdim=True) + layer.eps).sqrt())
        return (x - x.mean(-1, keepdim=True)) / scale * layer.weight + layer.bias

    def attend(layer, x):
        q, k, v = (
            part.unflatten(-1, (layer.num_heads, -1)).movedim(2, 1)
            for part in (x @ layer.qkv.weight.T + layer.qkv.bias).chunk(3, dim=-1)
        )
        scores = torch.einsum("ihqc,ihkc->ihqk", q, k) / q.shape[-1] ** 0.5
        weights = held(scores.exp() / scores.exp().sum(-1, keepdim=True))
        mixed = torch.einsum("ihqk,ihkc->iqhc", weights, v).flatten(2)
        return mixed @ layer.proj.weight.T + layer.proj.bias

    def perceive(layer, x):
        x = x @ layer.fc1.weight.T + layer.fc1.bias
        x = x * held((1 + torch.erf(x / 2**0.5)) / 2)
        return x @ layer.fc2.weight.T + layer.fc2.bias

    size, proj = backbone.patch_embed.patch_size[0], backbone.patch_embed.proj
    tokens = unfold(images, size, stride=size).movedim(1, 2) @ proj.weight.flatten(1).T + proj.bias
    x = torch.cat([backbone.cls_token.expand(len(images), -1, -1), tokens], dim=1) + backbone.pos_embed
    for block in backbone.blocks:
        x = x + attend(block.attn, norm(block.norm1, x))
        x = x + perceive(block.mlp, norm(block.norm2, x))
    return norm(backbone.norm, x)[:, 0] @ backbone.head.weight.T + backbone.head.bias, kept


def peer_of(network, **size):
    """torchvision's transformer with the same weights."""
    state, backbone = {}, network.backbone
    peer = VisionTransformer(num_classes=backbone.num_classes, **size)
    names = {
        "cls_token": "class_token", "pos_embed": "encoder.pos_embedding", "patch_embed.proj": "conv_proj",
        "norm": "encoder.ln", "head": "heads.head", "blocks.": "encoder.layers.encoder_layer_", ".norm1": ".ln_1",
        ".norm2": ".ln_2", ".attn.qkv.": ".self_attention.in_proj_", ".attn.proj": ".self_attention.out_proj",
        ".mlp.fc1": ".mlp.0", ".mlp.fc2": ".mlp.3",
    }  # fmt: skip
    for name, value in backbone.state_dict().items():
        theirs = name
        for ours, other in names.items():
            if theirs.startswith(ours) or (ours.startswith(".") and ours in theirs):
                theirs = theirs.replace(ours, other, 1)
        state[theirs] = value
    peer.load_state_dict(state)
    return peer.eval()


def test_backbone_matches_the_torchvision_vision_transformer():
    network = network_of().float()
    size = {"num_layers": 2, "num_heads": 3, "hidden_dim": 48, "mlp_dim": 192}
    peer = peer_of(network, image_size=32, patch_size=8, **size)
    images = network.slices(person()[None].float())
    with torch.no_grad():
        assert network.backbone(images).numpy() == pytest.approx(peer(images).numpy(), abs=1e-5)


@pytest.mark.slow
def test_vit_b16_matches_the_torchvision_base_model_with_16_pixel_patches():
    network = catalogue.load("classifiers", "vit_b16").build(1, 2, (6, 7, 3), voxel_mm=(3.0,) * 3, seed=0).eval()
    size = {"num_layers": 12, "num_heads": 12, "hidden_dim": 768, "mlp_dim": 3072}
    peer = peer_of(network, image_size=224, patch_size=16, **size)
    images = network.slices(person((6, 7, 3))[None].float())
    assert images.shape == (1, 3, 224, 224)
    with torch.no_grad():
        assert network.backbone(images).numpy() == pytest.approx(peer(images).numpy(), abs=1e-4)


def test_attention_is_the_softmax_of_queries_and_keys():
    network, x = network_of(), person()
    _, kept = written_out(network, network.slices(x[None]))
    wanted = kept[-4].mean(1)[:, 0, 1:]  # then come a scale, a gate and the last scale
    result = explainer("attention").attention_map(network, x, 0)
    assert result == pytest.approx(wanted.unflatten(1, (4, 4)).detach().numpy(), abs=1e-7)
    assert np.ptp(result) > 0.1


def test_rollout_is_the_product_of_block_attentions_averaged_with_the_identity():
    network, x = network_of(), person()
    _, kept = written_out(network, network.slices(x[None]))
    first, last = (one.detach().numpy() for one in kept if one.ndim == 4)
    result = explainer("rollout").rollout_map(network, x, 0)
    for one in range(len(result)):
        both = []
        for block in (first, last):
            mixed = 0.5 * block[one].mean(0) + 0.5 * np.eye(17)
            both.append(mixed / mixed.sum(1, keepdims=True))
        assert result[one] == pytest.approx((both[1] @ both[0])[0, 1:].reshape(4, 4), abs=1e-7)
    assert not np.allclose(result, explainer("attention").attention_map(network, x, 0), atol=1e-2)


@pytest.mark.parametrize("name", ["attention", "rollout"])
def test_attention_shares_are_positive_sum_to_less_than_one_and_ignore_the_class(name):
    network, x = network_of(), person()
    result = getattr(explainer(name), f"{name}_map")(network, x, 0)
    assert result.min() > 0
    assert (result.sum((1, 2)) < 1).all()
    maps = [explainer(name).explain(network, x, target, mask=FULL) for target in (0, 1)]
    assert (maps[0] == maps[1]).all()


def test_gradcam_of_a_transformer_equals_pytorch_grad_cam_on_its_tokens():
    network, x = network_of().float(), person().float()
    raw, images = explainer("gradcam").cam_map(network, x, 1), network.slices(x[None])
    backbone = network.backbone
    method = GradCAM(
        backbone,
        [backbone.blocks[-1].norm1],
        reshape_transform=lambda tokens: tokens[:, 1:].reshape(len(tokens), 4, 4, -1).permute(0, 3, 1, 2),
    )
    peers = method(images, [ClassifierOutputTarget(1)] * len(images))
    method.activations_and_grads.release()
    assert raw.shape == (len(images), 4, 4)
    resized = np.maximum(scale_cam_image(np.maximum(raw, 0), (32, 32)), 0)
    assert scale_cam_image(resized) == pytest.approx(peers, abs=1e-5)
    assert peers.max() > 0.5


def test_voxel_relevance_is_the_logit_contribution_with_frozen_nonlinearities():
    network, x = network_of(), person()
    result = explainer("lrp_ahln").explain(network, x, 1, mask=FULL)
    with torch.no_grad():
        logits, kept = written_out(network, network.slices(x[None]))
        assert logits.mean(0).tolist() == pytest.approx(network(x[None])[0].tolist())
        nothing = written_out(network, network.slices(torch.zeros_like(x)[None]), kept)[0].mean(0)[1]
        for voxel in ((2, 3, 4), (8, 10, 8), (14, 1, 15), (0, 19, 0), (16, 9, 7)):
            alone = torch.zeros_like(x)
            alone[(0, *voxel)] = x[(0, *voxel)]
            added = written_out(network, network.slices(alone[None]), kept)[0].mean(0)[1] - nothing
            assert result[voxel] == pytest.approx(float(added), rel=1e-4, abs=1e-9)
            assert abs(float(added)) > 1e-7


def test_relevances_sum_to_the_logit_without_biases():
    lrp, x = explainer("lrp_ahln"), person()
    network = network_of(biases=False)
    result = lrp.explain(network, x, 1, mask=FULL)
    logit = float(network(x[None])[0, 1].detach())
    assert result.sum(dtype=np.float64) == pytest.approx(logit, rel=1e-4)
    assert abs(lrp.checks(network, x, 1, result.ravel())["conservation_error"]) < 1e-4
    assert lrp.checks(network, x, 1, 2 * result.ravel())["conservation_error"] == pytest.approx(1, abs=1e-3)
    plain = torch.autograd.grad(network((y := x.clone().requires_grad_())[None])[0, 1], y)[0]
    assert float((plain * x).sum()) != pytest.approx(logit, rel=0.05)  # the gradient alone does not


def test_logits_are_unchanged_during_relevance_propagation():
    network, x = network_of(), person()
    seen = []
    hook = network.register_forward_hook(lambda *given: seen.append(given[2].detach()))
    explainer("lrp_ahln").explain(network, x, 1, mask=FULL)
    hook.remove()
    assert seen[0].tolist() == [pytest.approx(network(x[None])[0].tolist(), abs=1e-12)]


@pytest.mark.parametrize("name", [*TRANSFORMERS, "gradcam", "gradcampp", "saliency", "integrated_gradients"])
def test_a_flipped_volume_gives_the_flipped_map(name):
    """Of a network whose patches and places look the same from either side."""
    network, x = network_of(shape=(18, 20, 16)), person((18, 20, 16))
    with torch.no_grad():
        weight, places = network.backbone.patch_embed.proj.weight, network.backbone.pos_embed
        weight.copy_((weight + weight.flip(2)) / 2)
        grid = places[:, 1:].unflatten(1, (4, 4))
        places[:, 1:] = ((grid + grid.flip(1)) / 2).flatten(1, 2)
    explain, full = explainer(name).explain, np.ones((18, 20, 16), bool)
    first, flipped = explain(network, x, 1, mask=full), explain(network, x.flip(1), 1, mask=full)
    assert flipped == pytest.approx(first[::-1], abs=1e-5 * float(np.abs(first).max()))
    assert not np.allclose(flipped, first, atol=1e-2 * float(np.abs(first).max()))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_attention_peaks_at_the_patch_queried_by_the_class_token(axis):
    shape = (12, 14, 13)
    network, x = network_of(shape, biases=False, axis=axis), torch.zeros(1, *shape, dtype=torch.float64)
    bright = [3, 4, 3]
    bright[axis] = network.slices.positions[2]
    x[(0, *[slice(one - 1, one + 2) for one in bright])] = 5
    with torch.no_grad():
        block = network.backbone.blocks[0]
        network.backbone.blocks = nn.Sequential(block)
        network.cam = "blocks.0.norm1"
        # brightness goes to the first half of the channels, which the class token looks for
        half = torch.cat([torch.ones(24), -torch.ones(24)])
        network.backbone.patch_embed.proj.weight.copy_(half[:, None, None, None].expand(-1, 3, 8, 8) / 192)
        network.backbone.cls_token.copy_(half)
        for name, parameter in block.named_parameters():
            if name.startswith("norm1"):
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
        block.attn.qkv.weight.zero_()
        block.attn.qkv.weight[:48] = block.attn.qkv.weight[48:96] = torch.eye(48)
    result = explainer("attention").explain(network, x, 1, mask=np.ones(shape, bool))
    peak = np.argwhere(result == result.max()).mean(0)
    cell = 14 / 4  # voxels, of the largest side
    assert np.abs(peak - bright).max() <= cell / 2


@pytest.mark.parametrize("name", ["attention", "rollout", "lrp_ahln"])
@pytest.mark.parametrize("kind", ["svm", "cnn3d"])
def test_transformer_explainers_refuse_other_classifiers_with_a_hint(name, kind):
    part = catalogue.load("classifiers", kind)
    shape = SHAPE if part.INPUT_FORMAT == "volumes" else (60,)
    classifier = part.build(1, 2, shape, voxel_mm=(3.0,) * 3, seed=0)
    assert explainer(name).check(classifier).startswith(f"{name} requires a transformer")


@pytest.mark.parametrize("name", ["cam", "guided_backprop", "guided_gradcam", "mean_activation", "lrp0", "weights"])
def test_convolutional_and_linear_explainers_refuse_a_transformer(name):
    assert explainer(name).check(network_of()).startswith(name)


def test_lrp_refuses_activations_without_a_rule():
    for other in (nn.GELU("tanh"), nn.SiLU()):
        network = network_of()
        network.backbone.blocks[1].mlp.act = other
        assert f"no rule for {other}" in explainer("lrp_ahln").check(network)


def test_fused_attention_is_restored_after_an_error():
    network = network_of()
    parts = attentions(network)
    parts[0].fused_attn, parts[1].fused_attn = True, False
    fused = []

    def fail(*given):
        fused.extend(one.fused_attn for one in parts)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), open_attention(network, fail):
        network(person()[None])
    assert fused == [False, False]
    assert [one.fused_attn for one in parts] == [True, False]
    assert not any(module._forward_hooks for module in network.modules())


def test_each_map_has_three_channels_in_the_first_layer():
    network = network_of(channels=2)
    assert network.backbone.patch_embed.proj.in_channels == 6
    x = person(channels=2)
    for name in TRANSFORMERS:
        assert explainer(name).explain(network, x, 1, mask=FULL).shape == SHAPE
