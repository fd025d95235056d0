"""create_classifier: backbones, heads, input sizes, BatchNorm."""

from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from pumlc.vision import Classifier, create_classifier

SMALL = "test_resnet"


def small_classifier(**changes) -> Classifier:
    torch.manual_seed(0)
    options: dict[str, Any] = {"local_global": True, "head": "linear", "weights": None}
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
    reference: Any = timm.create_model("mobilenetv3_small_050", num_classes=5).eval()
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "resnt18"}, "did you mean resnet18"),
        ({"num_classes": 0}, "num_classes"),
        ({"head": "conv"}, "'ml_decoder'"),
        ({"batch_norm": "sync"}, "batch_norm"),
        ({"weights": "no/such/file.pth"}, "not an existing"),
        ({"weights": __file__}, "valid: a .safetensors or .pth file"),
        ({"head": "ssgrl"}, "needs 5 label_vectors, got none"),
        ({"head": "ssgrl", "label_vectors": torch.zeros(4, 3)}, "needs 5 label_vectors, got 4"),
        ({"label_vectors": torch.zeros(5, 3)}, "takes neither"),
        ({"head": "ml_decoder", "label_graph": torch.eye(5)}, "takes neither"),
        ({"backbone": "test_vit"}, "no convolution"),
    ],
)
def test_bad_input(changes, message):
    options: dict[str, Any] = {
        "backbone": SMALL,
        "num_classes": 5,
        "local_global": True,
        "head": "linear",
        "weights": None,
        **changes,
    }
    with pytest.raises(ValueError, match=message):
        create_classifier(options.pop("backbone"), options.pop("num_classes"), **options)


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
    options: dict[str, Any] = {"local_global": False, "head": "ssgrl"}
    model = small_classifier(**options, label_vectors=vectors, label_graph=graph).eval()
    other = small_classifier(
        **options, label_vectors=torch.zeros(5, 6), label_graph=torch.zeros(5, 5)
    ).eval()
    images = torch.randn(2, 3, 64, 64)
    assert not torch.equal(other(images), model(images))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(images), model(images))


@pytest.mark.parametrize(
    "backbone", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "maxvit_nano_rw_256"]
)
def test_networks_with_positions_are_told_the_input_size(backbone):
    with torch.device("meta"):
        model = create_classifier(
            backbone, 3, local_global=False, head="linear", weights=None, image_size=128
        )
        if not hasattr(model.backbone, "set_input_size"):
            pytest.skip(f"this version of timm cannot tell {backbone} a size; a run refuses it")
        assert model.data_config["input_size"] == (3, 128, 128)
        assert model(torch.zeros(2, 3, 128, 128)).shape == (2, 3)


def test_positions_of_a_weights_file_are_kept_and_resized(tmp_path):
    """As timm does it: the weights are of one size, the run is of another."""
    torch.manual_seed(0)
    network: Any = timm.create_model("test_vit", num_classes=0).eval()
    save_file(network.state_dict(), tmp_path / "vit.safetensors")
    model = create_classifier(
        "test_vit",
        3,
        local_global=False,
        head="linear",
        weights=str(tmp_path / "vit.safetensors"),
        image_size=96,
    ).eval()
    network.set_input_size(img_size=(96, 96))
    images = torch.randn(2, 3, 96, 96)
    torch.testing.assert_close(
        model.backbone.forward_features(images), network.forward_features(images)
    )


def test_branches_where_they_apply():
    for backbone, count in (("test_resnet", 9), ("test_vit", 0), ("convnext_atto", 0)):
        with torch.device("meta"):
            model = create_classifier(backbone, 3, local_global="auto", head="linear", weights=None)
        assert len(model.converted) == count
