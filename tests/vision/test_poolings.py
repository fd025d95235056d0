"""Other features of the same network: another pooling, and the mean with the mirror image."""

import json

import numpy as np
import pytest
import torch

import pumlc
from pumlc.cli.main import main
from pumlc.engine.config import TrainConfig
from pumlc.errors import UserError
from pumlc.metrics import mean_average_precision
from pumlc.vision.config import DataConfig, LossConfig, ModelConfig, VisionConfig
from pumlc.vision.data.split import read_split
from pumlc.vision.models.classifier import create_classifier
from pumlc.vision.timm_folder import timm_network

SIZE = 64


def classifier(backbone="test_resnet", **options):
    torch.manual_seed(0)
    return create_classifier(
        *(backbone, 2),
        **{"local_global": False, "head": "linear", "weights": None, "image_size": SIZE, **options},
    ).eval()


@pytest.fixture
def images():
    return torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "by_hand"),
    [
        ("avg", lambda maps: maps.mean((2, 3))),
        ("max", lambda maps: maps.amax((2, 3))),
        ("avgmax", lambda maps: (maps.mean((2, 3)) + maps.amax((2, 3))) / 2),
        ("catavgmax", lambda maps: torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1)),
    ],
)
def test_poolings_of_a_convolutional_network(name, by_hand, images):
    network = classifier(pooling=name)
    expected = by_hand(network.backbone.forward_features(images))
    torch.testing.assert_close(network.pooled(images), expected)
    torch.testing.assert_close(network(images), network.head(expected))


@torch.no_grad()
def test_poolings_of_a_transformer(images):
    own, mean = classifier("test_vit"), classifier("test_vit", pooling="avg")
    tokens = mean.backbone.forward_features(images)
    expected = tokens[:, mean.backbone.num_prefix_tokens :].mean(1)
    torch.testing.assert_close(mean.pooled(images), mean.backbone.fc_norm(expected))
    assert not torch.allclose(own.pooled(images), mean.pooled(images))
    with pytest.raises(UserError, match="test_vit has no pooling 'map'"):
        classifier("test_vit", pooling="map")


def test_an_unknown_pooling_is_named():
    with pytest.raises(UserError, match="no pooling 'mean' .unknown.; valid .*: avg, max, avgmax"):
        classifier(pooling="mean")


@torch.no_grad()
def test_a_mirror_image_has_the_same_features(images):
    plain, both = classifier(), classifier(mirror=True)
    expected = (plain.pooled(images) + plain.pooled(images.flip(-1))) / 2
    torch.testing.assert_close(both.pooled(images), expected)
    torch.testing.assert_close(both(images.flip(-1)), both(images))
    assert not torch.allclose(plain(images.flip(-1)), plain(images))


@torch.no_grad()
def test_timm_pools_in_the_same_way_but_knows_no_mirror_images(images):
    network = classifier(pooling="max")
    found, arguments = timm_network(network, "test_resnet", 2)
    assert arguments == {"global_pool": "max"}
    torch.testing.assert_close(found(images), network(images))
    with pytest.raises(UserError, match="averages the features of two pictures"):
        timm_network(classifier(mirror=True), "test_resnet", 2)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"mirror": True}, "model.mirror.* false without heads"),
        ({"pooling": "max", "head": "ml_decoder"}, "model.pooling.* none with head ml_decoder"),
    ],
)
def test_what_a_trained_network_does_not_take(model, message):
    with pytest.raises(UserError, match=message):
        VisionConfig(
            data=DataConfig(name="coco", root="nowhere"),
            model=ModelConfig(backbone="test_resnet", **model),
            loss=LossConfig(name="bce", parameters={"unknown": "ignore"}),
            train=TrainConfig(epochs=1, batch_size=16, learning_rate=1),
        )


@pytest.mark.filterwarnings("ignore:features of test_resnet with random weights")
def test_a_run_with_both_is_a_run_like_any_other(squares_coco, tmp_path, capsys):
    cache, run = tmp_path / "cache", tmp_path / "run"
    given = [
        *("train", "--config", "frozen", "--data.name", "coco", "--data.root", str(squares_coco)),
        *("--data.image_size", "32", "--model.backbone", "test_resnet"),
        *("--model.weights", "none", "--features.cache", str(cache)),
    ]
    main([*given, "--out", str(tmp_path / "plain")])
    both = ["--model.pooling", "catavgmax", "--model.mirror", "true"]
    main([*given, *both, "--out", str(run), "--evaluate"])
    assert len(list(cache.iterdir())) == 2  # features of another kind do not answer for these
    measured = json.loads((run / "metrics.json").read_text())["weights"]["last"]["mAP"]["sklearn"]
    images = read_split(DataConfig(name="coco", root=str(squares_coco)), "test")
    predicted = pumlc.load(run).predict([images.path(row) for row in range(len(images))])
    expected = mean_average_precision(predicted.probabilities, images.labels, definition="sklearn")
    assert measured == pytest.approx(expected, abs=1e-6)
    assert np.isfinite(measured)
    exported = tmp_path / "model.onnx"
    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 9):  # its exporter knows no maximum
        with pytest.raises(SystemExit):
            main(["export", str(run), "--out", str(exported)])
        assert "cannot write this network as ONNX" in capsys.readouterr().err
    else:
        main(["export", str(run), "--out", str(exported)])
        assert exported.is_file()
