"""The ways to run a frozen network give the features of plain torch."""

import pytest
import torch
from torch import nn

from pumlc.vision.frozen.engines import fold_batch_norms, working_engines
from pumlc.vision.models.classifier import create_classifier


def classifier_of(backbone):
    torch.manual_seed(0)
    classifier = create_classifier(
        backbone, 1, local_global=False, head="linear", weights=None, image_size=64
    ).eval()
    for module in classifier.modules():
        if isinstance(module, nn.BatchNorm2d):  # not at their start, where they change nothing
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.bias)
    return classifier


@pytest.mark.parametrize("backbone", ["test_resnet", "test_efficientnet", "test_vit"])
def test_all_ways_give_the_features_of_torch(backbone):
    classifier = classifier_of(backbone)
    pictures = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        maps = classifier.backbone.forward_features(pictures)
        expected = classifier.backbone.forward_head(maps, pre_logits=True)
    engines = working_engines(classifier, pictures, "float32", 1000)
    names = [engine.name for engine in engines]
    assert names[0] == "torch"
    assert ("torch, BatchNorm folded" in names) == (backbone != "test_vit")
    other = torch.randn(2, 3, 64, 64)
    for engine in engines:
        torch.testing.assert_close(engine.pooled(pictures), expected, rtol=1e-3, atol=1e-4)
        assert engine.pooled(other).shape == (2, expected.shape[1])


class Swapped(nn.Module):
    """The layers stand in one order and are used in another one."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)
        nn.init.constant_(self.norm.weight, 2.0)
        nn.init.constant_(self.norm.bias, 1.0)

    def forward_features(self, images):
        return self.convolution(self.norm(images))

    def forward_head(self, maps, pre_logits):
        assert pre_logits
        return maps.mean((2, 3))


def test_layers_that_are_used_in_another_order_stay_apart():
    classifier = classifier_of("test_resnet")
    classifier.backbone = Swapped().eval()
    assert fold_batch_norms(classifier.backbone) is not None
    names = [e.name for e in working_engines(classifier, torch.randn(2, 3, 8, 8), "float32", 1)]
    assert names == ["torch"]
