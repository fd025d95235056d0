"""What is trained: stages of any backbone, and the recipes by the names of their parameters."""

from pathlib import Path

import pytest
import timm
import torch
import yaml
from torch import nn

from pumlc.vision import Classifier, create_classifier, freeze
from pumlc.vision.models.trained_part import stages, train_last_stages

ROOT = Path(__file__).parents[2]
# what the recipes trained when they named it by patterns
LITE0 = ["blocks.3.*global_branch*", "blocks.[56].*", "conv_head.*", "head.*"]
PUBLISHED = ["layer4.*", "*global_branch*", "head.*"]
PATTERNS = {"tf_efficientnet_lite0": LITE0, "resnet101": PUBLISHED}
RECIPES = {
    path.stem: content
    for path in sorted((ROOT / "configs").glob("*.yaml"))
    if "train_stages" in (content := yaml.safe_load(path.read_text())).get("model", {})
}


def classifier(backbone: str, local_global=False) -> Classifier:
    with torch.device("meta"):
        return create_classifier(
            backbone, 3, local_global=local_global, head="linear", weights=None
        )


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_train_the_parameters_that_they_always_trained(recipe):
    settings = RECIPES[recipe]["model"]
    branches = settings.get("local_global", False)
    model = classifier(settings["backbone"], local_global=branches)
    trained = train_last_stages(model, settings["train_stages"], settings.get("train_branches"))
    patterns = [p for p in PATTERNS[settings["backbone"]] if branches or "branch" not in p]
    assert trained == freeze(model, patterns)
    assert trained
    assert len(trained) < len(list(model.parameters()))


def test_the_recipes_are_all_there():
    assert {"csv_lite0_cpu", "csv_pnu_lite0_cpu", "voc2007_lite0_cpu", "voc2007_lite0_cpu_bce"} < (
        RECIPES.keys()
    )
    assert len(RECIPES) == 13


@pytest.mark.parametrize(
    ("backbone", "count", "last", "left"),
    [
        ("resnet18", 4, "layer4.0.conv1.weight", "bn1.weight"),
        ("vit_tiny_patch16_224", 12, "blocks.11.mlp.fc2.bias", "norm.weight"),
        ("convnext_atto", 4, "stages.3.downsample.0.weight", "head.norm.weight"),
        ("tf_efficientnet_lite0", 7, "conv_head.weight", "bn2.weight"),
        ("swin_tiny_patch4_window7_224", 4, "layers.3.downsample.norm.weight", "norm.weight"),
        ("densenet121", 4, "features.denseblock4.denselayer1.conv1.weight", "features.norm5.bias"),
    ],
)
def test_stages_of_networks(backbone, count, last, left):
    with torch.device("meta"):
        network = timm.create_model(backbone, num_classes=0)
    parts = stages(network)
    assert len(parts) == count + 1  # the stem
    assert last in parts[-1]
    assert left not in parts[-1]
    names = [name for part in parts for name in part]
    assert len(names) == len(set(names))
    rest = {name for name, _ in network.named_parameters()} - set(names)
    assert all("norm" in name or name.startswith("bn") for name in rest)


def test_stages_and_branches_are_counted_from_the_last():
    model = classifier("test_resnet", local_global=True)
    for number, branches in ((0, None), (1, 2), (2, 1), (4, 0)):
        trained = train_last_stages(model, number, branches)
        assert trained == [n for n, p in model.named_parameters() if p.requires_grad]
        for name, parameter in model.named_parameters():
            stage = 5 if name.startswith("head.") else 0
            if name.startswith("backbone.layer"):
                stage = int(name[len("backbone.layer")])
            limit = number
            if ".global_branch." in name:
                limit = 5 if branches is None else branches
            assert parameter.requires_grad == (stage > 4 - limit), name


def test_a_backbone_with_fewer_stages_says_how_many_it_has():
    model = classifier("test_resnet")
    with pytest.raises(ValueError, match=r"train_stages 5: ResNet has 4 stages.*valid: 0 \.\.\. 4"):
        train_last_stages(model, 5)


def test_a_network_that_timm_does_not_divide():
    with pytest.raises(ValueError, match=r"does not divide MetaFormer.*model\.trainable"):
        train_last_stages(classifier("poolformerv2_s12"), 1)


def test_freeze_trains_what_matches_and_nothing_else():
    model = classifier("test_resnet", local_global=True)
    names = freeze(model, PUBLISHED)
    assert names == [n for n, p in model.named_parameters() if p.requires_grad]
    for name, parameter in model.named_parameters():
        wanted = name.startswith(("backbone.layer4.", "head.")) or "global_branch" in name
        assert parameter.requires_grad == wanted, name
    assert freeze(model, ["backbone.layer4.*"]) == freeze(model, ["layer4.*"])
    assert freeze(model, ["*"]) == [n for n, _ in model.named_parameters()]


def test_freeze_refuses_patterns_without_a_match():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    with pytest.raises(ValueError, match=r"model\.trainable: .*'layer9\.\*'.*names are like 0\.w"):
        freeze(model, ["1.*", "layer9.*"])
    assert all(p.requires_grad for p in model.parameters())
