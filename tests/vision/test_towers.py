"""Vision models of transformers as frozen backbones, on tiny ones in local folders."""

import json
import shutil
from typing import Any

import numpy as np
import pytest
import torch

import pumlc
from pumlc.cli.main import main
from pumlc.errors import UserError
from pumlc.metrics import mean_average_precision
from pumlc.vision.config import DataConfig, ModelConfig
from pumlc.vision.data.split import read_split
from pumlc.vision.models.classifier import create_classifier
from pumlc.vision.models.tower import create_tower, read_tower

transformers = pytest.importorskip("transformers")
KINDS = ("clip", "siglip", "dinov2", "vit", "resnet")
SIDE = 32
PROCESSOR = {
    "image_mean": [0.4, 0.5, 0.6],
    "image_std": [0.2, 0.3, 0.4],
    "size": {"shortest_edge": 36},
    "crop_size": {"height": SIDE, "width": SIDE},
}
SMALL = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": 8,
}


def model_of(kind: str):
    torch.manual_seed(0)
    if kind == "clip":
        texts = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
        texts |= {"num_attention_heads": 2, "vocab_size": 20, "projection_dim": 8}
        return transformers.CLIPModel(
            transformers.CLIPConfig(
                text_config=texts, vision_config={**SMALL, "projection_dim": 8}, projection_dim=8
            )
        )
    if kind == "siglip":
        texts = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
        texts |= {"num_attention_heads": 2, "vocab_size": 20}
        return transformers.SiglipModel(
            transformers.SiglipConfig(text_config=texts, vision_config=SMALL)
        )
    if kind == "resnet":
        widths = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}
        return transformers.ResNetModel(transformers.ResNetConfig(**widths, layer_type="basic"))
    if kind == "dinov2":
        return transformers.Dinov2Model(transformers.Dinov2Config(**SMALL))
    return transformers.ViTModel(transformers.ViTConfig(**SMALL))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("towers")
    for kind in KINDS:
        model_of(kind).save_pretrained(root / kind)
        (root / kind / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    return root


def tower(folder, weights="auto", **options):
    return create_classifier(
        f"transformers/{folder}",
        2,
        local_global=False,
        head="linear",
        weights=weights,
        **options,
    ).eval()


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_the_features_are_what_the_model_pools(folders, kind):
    network = tower(folders / kind)
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    model = model_of(kind).eval()
    expected = getattr(model, "vision_model", model)(pixel_values=images).pooler_output
    expected = expected.flatten(1)
    torch.testing.assert_close(network.pooled(images), expected)
    assert network.data_config["input_size"] == (3, SIDE, SIDE)
    assert network.data_config["mean"] == (0.4, 0.5, 0.6)
    assert network.starting_weights == f"transformers {folders / kind}"


@torch.no_grad()
def test_other_sizes_and_mirror_images(folders):
    network = tower(folders / "dinov2", image_size=48, mirror=True)
    images = torch.randn(1, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(network(images), network(images.flip(-1)))


def test_what_cannot_be_a_tower_is_named(folders, tmp_path):
    with pytest.raises(UserError, match="no vision model of transformers that can be read"):
        tower(tmp_path / "nothing")
    with pytest.raises(UserError, match="weights 'pip' do not exist"):
        tower(folders / "vit", "pip")
    bert = transformers.BertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    transformers.BertModel(bert).save_pretrained(tmp_path / "bert")
    (tmp_path / "bert" / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    with pytest.raises(UserError, match="bert takes no pictures"):
        tower(tmp_path / "bert")
    with pytest.raises(UserError, match="model.pooling.*none with a backbone of transformers"):
        ModelConfig(backbone="transformers/x", pooling="max")


def test_a_description_names_no_code(folders, tmp_path):
    backbone: Any = tower(folders / "vit").backbone
    content = backbone.described()
    settings = {"_attn_implementation": "someone/kernel", "attn_implementation": "someone/kernel"}
    settings |= {"auto_map": {"AutoModel": "someone/code--model.Model"}}
    content["config"] |= settings
    (tmp_path / "tower.json").write_text(json.dumps(content))
    network: Any = read_tower(tmp_path).network
    assert "someone" not in json.dumps(network.config.to_dict())
    assert "someone" not in str(network.config._attn_implementation)


def test_a_folder_asks_for_no_kernel_of_the_hub(folders, tmp_path):
    folder = shutil.copytree(folders / "vit", tmp_path / "vit")
    content = json.loads((folder / "config.json").read_text())
    content["attn_implementation"] = "someone/kernel"
    (folder / "config.json").write_text(json.dumps(content))
    for weights in ("auto", None):
        network: Any = create_tower(f"transformers/{folder}", weights)[0].network
        assert "someone" not in str(network.config._attn_implementation)


def test_a_run_needs_the_folder_of_its_tower_no_more(folders, squares_coco, tmp_path, capsys):
    shutil.copytree(folders / "clip", tmp_path / "clip")
    run = tmp_path / "run"
    main(
        [
            *("train", "--config", "frozen", "--data.name", "coco"),
            *("--data.root", str(squares_coco)),
            *("--model.backbone", f"transformers/{tmp_path / 'clip'}", "--evaluate"),
            *("--features.cache", str(tmp_path / "cache"), "--out", str(run)),
        ]
    )
    shutil.rmtree(tmp_path / "clip")
    measured = json.loads((run / "metrics.json").read_text())["weights"]["last"]["mAP"]["sklearn"]
    images = read_split(DataConfig(name="coco", root=str(squares_coco)), "test")
    predicted = pumlc.load(run).predict([images.path(row) for row in range(len(images))])
    expected = mean_average_precision(predicted.probabilities, images.labels, definition="sklearn")
    assert measured == pytest.approx(expected, abs=1e-6)
    assert np.isfinite(predicted.probabilities).all()
    with pytest.raises(SystemExit):
        main(["card", str(run), "--out", str(tmp_path / "card")])
    assert "is a model of transformers" in capsys.readouterr().err
