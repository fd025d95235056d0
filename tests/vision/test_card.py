"""`pumlc card`: timm and transformers load the folder, and the card says what the run knows."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform

import pumlc
from pumlc.cli.card import main as card
from pumlc.cli.main import main
from pumlc.errors import UserError
from pumlc.report import markdown_text, model_card
from pumlc.tables import printable
from pumlc.vision import create_classifier
from pumlc.vision.timm_folder import timm_network

pytestmark = pytest.mark.filterwarnings("ignore:features of test_resnet with random weights")

HOSTILE = "</td><script>alert(1)</script>|](http://x.org)\n# `red`"


@pytest.fixture(scope="module")
def frozen(squares_coco, tmp_path_factory) -> Path:
    """A measured run with linear heads on a frozen network."""
    folder = tmp_path_factory.mktemp("card")
    common = ["--data.name", "coco", "--data.root", str(squares_coco), "--data.image_size", "32"]
    network = ["--model.backbone", "test_resnet", "--model.weights", "none"]
    cache = ["--features.cache", str(folder / "cache"), "--data.known", "0.5"]
    main(["train", "--config", "frozen", *common, *network, *cache, "--out", str(folder / "run")])
    main(["evaluate", str(folder / "run")])
    return folder / "run"


@pytest.fixture(scope="module")
def trained(squares_coco, tmp_path_factory) -> Path:
    """A network trained for two epochs, with a held-out part and so a calibration."""
    folder = tmp_path_factory.mktemp("trained")
    settings = {
        "data": {"name": "coco", "root": str(squares_coco), "image_size": 32, "validation": 0.3},
        "model": {"backbone": "test_resnet"},
        "loss": {"name": "bce", "parameters": {"unknown": "ignore"}},
        "train": {"epochs": 2, "batch_size": 16, "learning_rate": 0.01, "workers": 0},
    }
    (folder / "settings.yaml").write_text(yaml.safe_dump(settings))
    main(["train", "--config", str(folder / "settings.yaml"), "--out", str(folder / "run")])
    return folder / "run"


def pictures(root: Path) -> list[Image.Image]:
    """Pictures of the size of the network: no program has to resize them."""
    return [Image.open(file).convert("RGB") for file in sorted((root / "val").glob("*.png"))]


def timm_logits(folder: Path, images: list[Image.Image]) -> np.ndarray:
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform: Any = create_transform(**resolve_model_data_config(model), is_training=False)
    with torch.inference_mode():
        return model(torch.stack([transform(image) for image in images])).numpy()


def run_logits(predictor, images: list[Image.Image]) -> np.ndarray:
    batch = torch.stack([predictor.transform(image=np.array(i))["image"] for i in images])
    with torch.inference_mode():
        return predictor.model(batch).numpy()


def test_timm_gives_the_logits_of_the_run(frozen, squares_coco, tmp_path, capsys):
    card([str(frozen), "--out", str(tmp_path / "folder")])
    assert "logits differ from those of the run by at most" in capsys.readouterr().out
    predictor, images = pumlc.load(frozen, device="cpu"), pictures(squares_coco)
    logits = timm_logits(tmp_path / "folder", images)
    np.testing.assert_allclose(logits, run_logits(predictor, images), rtol=1e-4, atol=1e-4)
    config = json.loads((tmp_path / "folder" / "config.json").read_text())
    assert config["label_names"] == list(predictor.labels)
    np.testing.assert_allclose(config["pumlc"]["thresholds"], predictor.thresholds, atol=1e-9)
    files = sorted(file.name for file in (tmp_path / "folder").iterdir())
    assert files == ["README.md", "config.json", "model.safetensors"]
    backbone = timm.create_model(f"local-dir:{tmp_path / 'folder'}", pretrained=True, num_classes=0)
    backbone.eval()
    assert backbone(torch.zeros(1, 3, 32, 32)).ndim == 2  # features, for another head
    with pytest.raises(UserError, match="is there already; name a new folder"):
        card([str(frozen), "--out", str(tmp_path / "folder")])


def test_transformers_gives_the_probabilities_of_the_run(
    frozen, squares_coco, tmp_path, monkeypatch
):
    transformers = pytest.importorskip("transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    card([str(frozen), "--out", str(tmp_path / "folder")])
    classify = transformers.pipeline("image-classification", model=str(tmp_path / "folder"))
    assert classify.model.config.problem_type == "multi_label_classification"
    predictor, images = pumlc.load(frozen, device="cpu"), pictures(squares_coco)[:5]
    expected = predictor.predict([np.array(image) for image in images])
    for image, row in zip(images, expected.probabilities, strict=True):
        found = {entry["label"]: entry["score"] for entry in classify(image, top_k=3)}
        assert found == pytest.approx(dict(zip(expected.labels, row.tolist(), strict=True)), 1e-4)


def test_raw_and_calibrated_folders_decide_as_the_run_does(trained, squares_coco, tmp_path):
    card([str(trained), "--out", str(tmp_path / "raw")])
    card([str(trained), "--calibrated", "--out", str(tmp_path / "calibrated")])
    predictor, images = pumlc.load(trained, device="cpu"), pictures(squares_coco)
    assert predictor.calibrated_on
    probabilities = predictor.predict([np.array(image) for image in images]).probabilities
    logits = timm_logits(tmp_path / "raw", images)
    np.testing.assert_allclose(logits, run_logits(predictor, images), rtol=1e-4, atol=1e-4)
    calibrated = 1 / (1 + np.exp(-timm_logits(tmp_path / "calibrated", images)))
    np.testing.assert_allclose(calibrated, probabilities, atol=1e-5)
    decided = probabilities >= predictor.thresholds
    assert 0 < decided.mean() < 1
    for name, scores in (("raw", 1 / (1 + np.exp(-logits))), ("calibrated", calibrated)):
        stored = json.loads((tmp_path / name / "config.json").read_text())["pumlc"]
        np.testing.assert_array_equal(scores >= stored["thresholds"], decided)


def test_a_folder_without_the_curve_decides_as_the_run_does(trained, squares_coco, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    file = tmp_path / "run" / "weights" / "index.json"
    index = json.loads(file.read_text())
    for entry in index.values():
        entry["extras"]["calibration"]["curve"] = {"at": [-2, 0, 1], "to": [-2.5, 0.5, 1]}
    file.write_text(json.dumps(index))
    run = str(tmp_path / "run")
    card([run, "--out", str(tmp_path / "raw")])
    card([run, "--calibrated", "--out", str(tmp_path / "calibrated")])
    predictor, images = pumlc.load(run, device="cpu"), pictures(squares_coco)
    probabilities = predictor.predict([np.array(image) for image in images]).probabilities
    decided = probabilities >= predictor.thresholds
    assert 0 < decided.mean() < 1
    for name in ("raw", "calibrated"):
        stored = json.loads((tmp_path / name / "config.json").read_text())["pumlc"]
        scores = 1 / (1 + np.exp(-timm_logits(tmp_path / name, images)))
        np.testing.assert_array_equal(scores >= stored["thresholds"], decided)
        assert "follow a curve" in (tmp_path / name / "README.md").read_text()
    card([run, "--out", str(tmp_path / "card.md")])
    assert "a rising curve changes the logits" in (tmp_path / "card.md").read_text()


def test_the_code_of_the_card_runs(frozen, squares_coco, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    card([str(frozen), "--out", "FOLDER"])
    Path("RUN").symlink_to(frozen)
    pictures(squares_coco)[0].save("one.jpg", quality=100)
    card(["RUN"])
    blocks = re.findall(r"```python\n(.*?)```", capsys.readouterr().out, re.DOTALL)
    blocks += re.findall(r"```python\n(.*?)```", Path("FOLDER/README.md").read_text(), re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert all(printed.count(f"'{name}'") == 3 for name in ("red", "green", "blue"))


def test_the_hub_reads_the_head_of_the_card(frozen, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    card([str(frozen), "--out", str(tmp_path / "README.md")])
    loaded = hub.ModelCard.load(tmp_path / "README.md")
    assert loaded.data.library_name == "timm"
    assert loaded.data.pipeline_tag == "image-classification"
    written = json.loads((frozen / "metrics.json").read_text())
    figures = written["weights"]["last"]["mAP"]
    assert [result.metric_value for result in loaded.data.eval_results] == pytest.approx(
        list(figures.values()), abs=1e-4
    )
    assert f"N = {written['N']} pictures" in loaded.text
    labels = json.loads((frozen / "run.json").read_text())["train_labels"]
    assert f"| unknown | {labels['unknown']} " in loaded.text
    assert "labels that are known were hidden before training" in loaded.text


def test_calibrated_needs_a_calibration(trained, tmp_path):
    copied = tmp_path / "run"
    shutil.copytree(trained, copied)
    index = json.loads((copied / "weights" / "index.json").read_text())
    for entry in index.values():
        entry.get("extras", {}).pop("calibration", None)
    (copied / "weights" / "index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="^--calibrated: .* has no calibration"):
        card([str(copied), "--calibrated"])


def test_a_card_without_an_evaluation_says_so(trained, frozen, tmp_path, capsys):
    card([str(trained)])
    assert "Not measured yet: `pumlc evaluate RUN`" in capsys.readouterr().out
    copied = tmp_path / "run"
    shutil.copytree(frozen, copied)
    metrics = json.loads((copied / "metrics.json").read_text())
    metrics["weights"]["last"]["epoch"] = 7  # of an earlier training into the same folder
    (copied / "metrics.json").write_text(json.dumps(metrics))
    capsys.readouterr()
    card([str(copied)])
    assert "Not measured yet" in capsys.readouterr().out
    (copied / "metrics.json").write_text('{"weights": 3}')
    with pytest.raises(UserError, match=r"metrics\.json: not the result of an evaluation"):
        card([str(copied)])


def test_names_of_classes_cannot_break_the_card(frozen, tmp_path):
    copied = tmp_path / "run"
    shutil.copytree(frozen, copied)
    for name in ("run.json", "metrics.json"):
        text = (copied / name).read_text().replace('"red"', json.dumps(HOSTILE))
        (copied / name).write_text(text.replace('"coco"', json.dumps("coco")))
    card([str(copied), "--out", str(tmp_path / "folder")])
    text = (tmp_path / "folder" / "README.md").read_text()
    rows = [line for line in text.splitlines() if "script" in line and line.startswith("|")]
    assert len(rows) == 1
    assert len(re.findall(r"(?<!\\)\|", rows[0])) == 6
    assert not re.search(r"(?<!\\)<", rows[0])
    names = json.loads((tmp_path / "folder" / "config.json").read_text())["label_names"]
    assert HOSTILE in names


@given(st.text(min_size=1, max_size=40))
def test_markdown_shows_text_as_it_is(text):
    parser = pytest.importorskip("markdown_it").MarkdownIt("commonmark").enable("table")
    shown = markdown_text(text)
    cells = [t for t in parser.parse(f"| a | b |\n|--|--|\n| {shown} | x |") if t.type == "inline"]
    assert len(cells) == 4
    assert {child.type for child in cells[2].children} <= {"text", "text_special"}
    content = "".join(child.content for child in cells[2].children)
    assert content.strip() == printable(text).strip()


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_text_ends_the_head_of_a_card(name, title):
    text_of_card = model_card({"tags": [name], "name": f"x\n---\n{name}"}, title, [])
    head = re.match(r"---\n(.*?)\n---\n", text_of_card, re.DOTALL)
    assert head is not None
    assert yaml.safe_load(head[1]) == {
        "tags": [printable(name)],
        "name": printable(f"x\n---\n{name}"),
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"local_global": True, "head": "linear"}, "have a local-global branch .*pumlc export"),
        ({"local_global": False, "head": "ml_decoder"}, "head of this run is MLDecoder .*ONNX"),
    ],
)
def test_what_timm_cannot_express_is_refused(settings, message):
    classifier = create_classifier("test_resnet", 3, weights=None, **settings)
    with pytest.raises(UserError, match=message):
        timm_network(classifier, "test_resnet", 3)


@pytest.mark.parametrize(
    ("backbone", "size"),
    [("test_vit", 96), ("test_convnext", None), ("deit_tiny_distilled_patch16_224", None)],
)
def test_networks_of_every_kind(backbone, size):
    classifier = create_classifier(
        backbone, 3, local_global=False, head="linear", weights=None, image_size=size
    ).eval()
    network, arguments = timm_network(classifier, backbone, 3)
    assert arguments == ({"img_size": [size, size]} if size else {})
    images = torch.randn(2, *classifier.data_config["input_size"])
    with torch.inference_mode():
        torch.testing.assert_close(network(images), classifier(images), atol=1e-5, rtol=1e-5)


def test_a_layer_for_classes_that_is_not_linear_is_refused():
    classifier = create_classifier(
        "levit_128s", 3, local_global=False, head="linear", weights=None
    ).eval()
    with pytest.raises(UserError, match=r"no single linear layer \(it has head\.bn\.weight"):
        timm_network(classifier, "levit_128s", 3)
