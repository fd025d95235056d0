"""ONNX export: the same logits on real pictures at any batch size, and what the file says."""

import copy
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pumlc.estimators.logit_curve import STRAIGHT, LogitCurve
from pumlc.vision import create_classifier, fold_local_global
from pumlc.vision.data.decode import load_image
from pumlc.vision.data.transforms import evaluation_transform
from pumlc.vision.export import export_onnx, largest_difference
from pumlc.vision.scoring import probabilities_of

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

PAGE = (Path(__file__).parents[2] / "docs" / "export.md").read_text()
NAMES = ["bus", "car", "cat", "person", "train"]


def classifier(head: str, backbone: str = "test_resnet", local_global: bool = True):
    """Trained enough to need every part: norms of the branches far from their start."""
    torch.manual_seed(0)
    graph: Any = {"label_vectors": torch.randn(5, 6), "label_graph": torch.rand(5, 5)}
    model = create_classifier(
        backbone,
        5,
        local_global=local_global,
        head=head,
        weights=None,
        **(graph if head == "ssgrl" else {}),
    )
    if local_global:
        model.data_config["input_size"] = (3, 72, 56)
    for name in model.converted:
        torch.nn.init.normal_(model.backbone.get_submodule(name).global_branch.norm.weight)
    return model


def test_logits_classes_and_preprocessing(tmp_path):
    model = classifier("ssgrl")
    state = copy.deepcopy(model.state_dict())
    path = tmp_path / "model.onnx"
    export_onnx(model, path, class_names=NAMES, thresholds=[0.5, 0.25, 0.5, 0.5, 1])
    assert model.training
    assert model.state_dict().keys() == state.keys()
    for batch in (1, 3):
        assert largest_difference(path, model, torch.randn(batch, 3, 72, 56)) < 1e-4
    unlike = classifier("ssgrl")
    torch.nn.init.normal_(next(unlike.backbone.parameters()))
    assert largest_difference(path, unlike, torch.randn(2, 3, 72, 56)) > 1e-2

    metadata = {p.key: json.loads(p.value) for p in onnx.load(path).metadata_props}
    assert metadata["classes"] == NAMES
    assert metadata["thresholds"] == [0.5, 0.25, 0.5, 0.5, 1]
    assert metadata["preprocessing"]["size"] == [72, 56]
    assert metadata["preprocessing"]["mean"] == list(model.data_config["mean"])
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize(
    ("backbone", "head"),
    [
        ("test_resnet", "linear"),
        ("test_resnet", "ml_decoder"),
        ("test_efficientnet", "linear"),
        ("test_vit", "linear"),
    ],
)
def test_other_heads_and_backbones(tmp_path, backbone, head):
    model = classifier(head, backbone, local_global=backbone != "test_vit")
    path = tmp_path / "model.onnx"
    export_onnx(model, path, class_names=NAMES)
    for batch in (1, 3):
        images = torch.randn(batch, *model.data_config["input_size"])
        assert largest_difference(path, model, images) < 1e-4


def test_real_pictures_with_real_weights(shared, tmp_path):
    weights = shared / "weights" / "tf_efficientnet_lite0.safetensors"
    torch.manual_seed(0)
    model = create_classifier(
        "tf_efficientnet_lite0", 5, local_global=True, head="linear", weights=str(weights)
    )
    path = tmp_path / "model.onnx"
    export_onnx(model, path, class_names=NAMES)
    transform = evaluation_transform(model.data_config)
    pictures = sorted((shared / "data/VOCdevkit/VOC2007/JPEGImages").glob("*.jpg"))[:4]
    images = torch.stack([transform(image=load_image(p))["image"] for p in pictures])
    assert len(images) == 4
    assert largest_difference(path, model, images) < 1e-4


def test_names_and_thresholds_must_fit(tmp_path):
    model = classifier("linear")
    with pytest.raises(ValueError, match="4 class_names for a classifier of 5"):
        export_onnx(model, tmp_path / "m.onnx", class_names=NAMES[:4])
    with pytest.raises(ValueError, match="1 thresholds for a classifier of 5"):
        export_onnx(model, tmp_path / "m.onnx", class_names=NAMES, thresholds=[0.5])
    with pytest.raises(ValueError, match="4 biases for a classifier of 5"):
        export_onnx(model, tmp_path / "m.onnx", class_names=NAMES, calibration=([1] * 5, [0.0] * 4))
    assert not list(tmp_path.iterdir())


def test_folded_weights_can_be_saved(tmp_path):
    """No two of them share memory."""
    from safetensors.torch import save_file

    save_file(fold_local_global(classifier("linear")).state_dict(), tmp_path / "m.safetensors")


def test_a_missing_extra_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ValueError, match=r"needs onnx, .*: pip install 'pumlc\[export\]'"):
        export_onnx(classifier("linear"), tmp_path / "m.onnx", class_names=NAMES)


def test_out_that_cannot_be_a_file_is_refused_before_the_work(tmp_path, tool):
    run = tmp_path / "run"  # of pictures; nothing but its settings is looked at
    run.mkdir()
    (run / "run.json").write_text('{"config": {"task": "vision"}}')
    for out, message in (
        (tmp_path / "missing" / "m.onnx", "--out .*m.onnx: there is no folder .*missing"),
        (tmp_path, f"--out {tmp_path} is a folder; name a file"),
    ):
        with pytest.raises(ValueError, match=message):
            tool("export").main([str(run), "--out", str(out)])


@pytest.mark.parametrize(
    "curve", [STRAIGHT, LogitCurve(np.array([-1.0, 0, 2]), np.array([-4.0, 0, 1]))]
)
def test_probabilities_of_the_file_are_those_of_the_package(tmp_path, curve):
    model, path = classifier("linear").eval(), tmp_path / "model.onnx"
    slope, bias = np.array([1, 2, 0.5, 3, 1]), np.array([0, 1, -1, 0.5, 0])
    calibration = (slope.tolist(), bias.tolist())
    export_onnx(model, path, class_names=NAMES, calibration=calibration, curve=curve)
    images = torch.randn(6, 3, 72, 56)
    session = pytest.importorskip("onnxruntime").InferenceSession(str(path))
    logits, probabilities = session.run(None, {"images": images.numpy()})
    expected = probabilities_of(logits, slope, bias, curve)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    if curve is not STRAIGHT:
        assert np.abs(probabilities_of(logits, slope, bias) - expected).max() > 0.1


@pytest.mark.parametrize(
    ("size", "thresholds"), [((150, 90), [0.5, 0, 0.5, 1, 0]), ((40, 30), None), ((605, 385), None)]
)
def test_the_page_shows_how_to_use_the_file(tmp_path, monkeypatch, capsys, size, thresholds):
    """Its code gives the probabilities and decisions of this package, and needs no torch."""
    block = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]  # the next one is of texts
    assert "torch" not in block
    model = classifier("linear").eval()
    model.data_config.update(input_size=(3, 64, 64), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))
    monkeypatch.chdir(tmp_path)
    slope, bias = [1, 2, 0.5, 3, 1], [0, 1, -1, 0.5, 0]
    calibration = (slope, bias)
    export_onnx(
        model, "model.onnx", class_names=NAMES, thresholds=thresholds, calibration=calibration
    )
    noise = np.random.RandomState(0).randint(0, 256, (*size[::-1], 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.fromarray(noise).save("one.jpg", exif=exif)
    used: dict = {}
    exec(compile(block, "export.md", "exec"), used)
    transform = evaluation_transform(model.data_config)
    decoded = load_image("one.jpg", at_least=transform.decoded_size)  # the largest at a quarter
    image = transform(image=decoded)["image"]
    with torch.no_grad():
        logits = model(image[None])[0].numpy()
    np.testing.assert_allclose(used["image"], image, atol=1.01 / 255 / 0.2)  # one level of grey
    probabilities = 1 / (1 + np.exp(-(slope * logits + bias)))
    np.testing.assert_allclose(used["scores"], probabilities, atol=0.01)
    present = probabilities >= (0.5 if thresholds is None else thresholds)
    assert used["present"].tolist() == present.tolist()
    printed = capsys.readouterr().out.strip().splitlines()
    assert [line.split(",")[0] for line in printed] == [f"({name!r}" for name in NAMES]
