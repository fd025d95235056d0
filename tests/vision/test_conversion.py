"""LG-conv in whole networks: which convolutions are converted, and that the families train."""

from typing import Any

import pytest
import timm
import torch
from torch import nn

from pumlc.vision import LocalGlobalConv, add_local_global, fold_local_global
from pumlc.vision.models.lgconv import FoldedLocalGlobalConv

# family -> number of converted convolutions, one of them; otherwise the smallest of each family
FAMILIES = {
    "resnet18": (16, "layer1.0.conv1"),
    "resnet50": (16, "layer1.0.conv2"),
    "resnet101": (33, "layer1.0.conv2"),
    "resnet26d": (10, "conv1.6"),  # the stem's first convolution reads 3 channels
    "resnext50_32x4d": (16, "layer1.0.conv2"),
    "seresnet50": (16, "layer1.0.conv2"),
    "res2net50_26w_4s": (48, "layer1.0.convs.0"),
    "resnest14d": (6, "layer1.0.conv2.conv"),
    "tresnet_m": (29, "body.layer1.0.conv1.conv"),
    "densenet121": (58, "features.denseblock1.denselayer1.conv2"),
    "efficientnet_b0": (7, "blocks.0.0.conv_dw"),
    "tf_efficientnet_lite0": (7, "blocks.1.0.conv_dw"),
    "mobilenetv3_small_050": (3, "blocks.0.0.conv_dw"),
    "regnety_002": (13, "s1.b1.conv2.conv"),
    "hrnet_w18_small": (None, "stage2.0.branches.0.0.conv1"),
}
# these need multiples of 32 and of 4 pixels themselves
SIZES = {"hrnet_w18_small": (64, 32), "tresnet_m": (68, 44)}


def train_step(
    network: Any, images: torch.Tensor, converted: list[str], *, mixed: bool = False
) -> None:
    """One step, in bfloat16 where ``mixed``, which no test asks for on maps of a few pixels.

    Why not, as a report for PyTorch and oneDNN:

    Title: bfloat16 convolution on CPU with AMX reads memory that was not written, on a small map.
    torch 2.14.1, x86-64 with amx_bf16; not seen without AMX, nor in float32. The convolution: 3x3,
    stride 2, padding 1, 512 to 1024 channels, channels_last, of a map of 4 x 2 pixels, as in timm's
    hrnet_w18_small (downsamp_modules) with pictures of 64 x 32. A training step gives nan in two
    processes of three. The plain network shows it when freed memory is filled with nan first::

        import timm, torch
        network: Any = timm.create_model("hrnet_w18_small").to(memory_format=torch.channels_last)
        images = torch.randn(2, 3, 64, 32).contiguous(memory_format=torch.channels_last)
        for _ in range(20):
            freed = [torch.full((1 << 20,), float("nan")) for _ in range(64)]
            del freed
            with torch.autocast("cpu", torch.bfloat16):
                output = network(images)
            assert torch.isfinite(output).all()

    Expected: finite outputs, those of float32 to the precision of bfloat16.
    """
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        loss = network(images).float().square().mean()
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    for name in converted:
        assert network.get_parameter(f"{name}.global_branch.v.weight").grad.any(), name
    torch.optim.SGD(network.parameters(), lr=1e-3).step()
    with torch.no_grad():
        assert torch.isfinite(network(images)).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_families_convert_and_train_a_step(family):
    torch.manual_seed(0)
    network: Any = timm.create_model(family, num_classes=3)
    for module in network.modules():  # some families start blocks at zero: no gradient inside
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
    parameters = sum(p.numel() for p in network.parameters())
    converted = add_local_global(network)
    count, example = FAMILIES[family]
    assert example in converted
    assert len(converted) == count or count is None
    assert all(isinstance(network.get_submodule(name), LocalGlobalConv) for name in converted)
    added = sum(p.numel() for p in network.parameters()) - parameters
    assert 0 < added < 0.35 * parameters
    images = torch.randn(2, 3, *SIZES.get(family, (65, 47))).contiguous(
        memory_format=torch.channels_last
    )
    train_step(network.to(memory_format=torch.channels_last), images, converted)


@pytest.mark.parametrize("family", ["resnet18", "regnety_002", "tf_efficientnet_lite0"])
def test_converted_networks_train_a_step_in_bfloat16(family):
    """Dense, grouped, depthwise; the smallest map has 8 x 6 pixels (see above)."""
    torch.manual_seed(0)
    network: Any = timm.create_model(family, num_classes=3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
    converted = add_local_global(network)
    images = torch.randn(2, 3, 256, 192).contiguous(memory_format=torch.channels_last)
    train_step(network.to(memory_format=torch.channels_last), images, converted, mixed=True)


@pytest.mark.parametrize("family", ["resnest14d", "regnety_002", "tf_efficientnet_lite0"])
def test_converted_networks_compile_in_one_graph(family):
    """Radix attention, groups, depthwise; docs/lgconv.md records the other families."""
    torch.manual_seed(0)
    network: Any = timm.create_model(family, num_classes=3)
    add_local_global(network)
    network.eval()  # BatchNorm frozen: the same step twice
    images = torch.randn(2, 3, 64, 96)

    def step(forward):
        network.zero_grad()
        logits = forward(images)
        logits.square().mean().backward()
        return logits.detach(), [p.grad.clone() for p in network.parameters()]

    expected = step(network)
    torch.testing.assert_close(
        step(torch.compile(network, fullgraph=True, backend="aot_eager")), expected
    )


@pytest.mark.parametrize(("family", "blocks"), [("resnet50", 16), ("resnet101", 33)])
def test_bottlenecks_are_converted_as_published(family, blocks):
    """One branch a block, beside its 3x3 convolution, of the released sizes."""
    with torch.device("meta"):
        network: Any = timm.create_model(family)
    converted = add_local_global(network)
    assert len(converted) == blocks
    for name in converted:
        assert name.endswith("conv2")
        branch = network.get_submodule(name).global_branch
        channels = branch.v.in_channels
        assert branch.heads == 8
        assert branch.reduction.out_channels == channels // 4
        assert branch.v.weight.shape == branch.proj.weight.shape == (channels, channels, 1, 1)


def test_larger_kernels_by_option():
    torch.manual_seed(0)
    network: Any = timm.create_model("convnext_atto", num_classes=3)
    with pytest.raises(ValueError, match=r"7x7 kernel \(stages.0.blocks.0.conv_dw\)"):
        add_local_global(network)
    converted = add_local_global(network, kernel_sizes=(7,))
    assert len(converted) == 12
    train_step(network, torch.randn(2, 3, 65, 97), converted)
    lite = timm.create_model("tf_efficientnet_lite0")
    assert len(add_local_global(lite, kernel_sizes=(3, 5))) == 16


@pytest.mark.parametrize("family", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_transformers_are_refused(family):
    with torch.device("meta"):
        network: Any = timm.create_model(family)
    before = [name for name, _ in network.named_modules()]
    with pytest.raises(ValueError, match=r"patch_embed.*transformer"):
        add_local_global(network)
    assert [name for name, _ in network.named_modules()] == before


def small_network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 24, 3, 2, 1),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.Sequential(nn.Conv2d(24, 24, 3, padding=1, groups=24), nn.Conv2d(24, 8, 1)),
    )


def test_options_choose_the_convolutions():
    assert add_local_global(small_network()) == ["2", "5.0"]
    assert add_local_global(small_network(), depthwise=False) == ["2"]
    assert add_local_global(small_network(), minimum_channels=20) == ["5.0"]
    assert add_local_global(small_network(), minimum_channels=3) == ["0", "2", "5.0"]
    with pytest.raises(ValueError, match="depthwise"):
        add_local_global(small_network()[5:], depthwise=False)


def test_a_converted_network_is_not_converted_again():
    network: Any = small_network()
    add_local_global(network)
    with pytest.raises(ValueError, match="no convolution"):
        add_local_global(network)
    fold_local_global(network)
    with pytest.raises(ValueError, match="no convolution"):
        add_local_global(network)


def test_convolutions_keep_their_weights_and_place():
    network: Any = small_network().double()
    state = network.state_dict()
    add_local_global(network)
    converted = network.state_dict()
    for name, value in state.items():
        name = (
            name.replace("2.w", "2.conv.w").replace("2.b", "2.conv.b").replace("5.0.", "5.0.conv.")
        )
        assert torch.equal(converted[name], value)
    assert all(v.dtype == torch.float64 for v in converted.values() if v.is_floating_point())


@pytest.mark.parametrize("family", ["resnet18", "tf_efficientnet_lite0", "regnety_002"])
def test_folded_network_has_the_same_outputs(family):
    torch.manual_seed(0)
    network: Any = timm.create_model(family, num_classes=3).eval()
    for name in add_local_global(network):
        norm = network.get_submodule(name).global_branch.norm
        nn.init.normal_(norm.weight, std=0.1)
        nn.init.normal_(norm.running_mean)
    images = torch.randn(2, 3, 65, 97)
    with torch.no_grad():
        before = network(images)
        plain = network.state_dict()
        folded = fold_local_global(network)(images)
    assert any(isinstance(m, FoldedLocalGlobalConv) for m in network.modules())
    assert not any(isinstance(m, LocalGlobalConv) for m in network.modules())
    assert len(network.state_dict()) < len(plain)
    torch.testing.assert_close(folded, before, rtol=1e-4, atol=1e-4 * before.abs().max().item())


def test_folding_leaves_a_network_without_branches_alone():
    network: Any = small_network()
    state = network.state_dict()
    assert fold_local_global(network) is network
    assert network.state_dict().keys() == state.keys()
