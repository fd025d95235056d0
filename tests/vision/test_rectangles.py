"""Pictures that are no squares, from training to ONNX."""

import json

import numpy as np
import pytest

import pumlc
from pumlc.cli.evaluate import main as evaluate
from pumlc.cli.predict import main as predict
from pumlc.cli.train import main as train
from pumlc.vision import load_image

SIZE = (48, 80)


@pytest.mark.parametrize(
    "network",
    [
        ["--model.backbone", "test_resnet", "--model.local_global", "true"],
        ["--model.backbone", "test_vit"],
        ["--model.backbone", "test_resnet", "--model.head", "ml_decoder"],
    ],
    ids=["local-global", "vit", "ml-decoder"],
)
def test_training_evaluation_prediction_and_export(network, squares_coco, tmp_path, capsys):
    run = tmp_path / "run"
    train(
        [
            *("--data.name", "coco", "--data.root", str(squares_coco), "--out", str(run)),
            *("--data.image_size", f"[{SIZE[0]}, {SIZE[1]}]", "--data.validation", "0.25"),
            *("--train.epochs", "1", "--train.batch_size", "16", "--train.learning_rate", "0.01"),
            *("--loss.name", "pu", "--loss.parameters", "{gamma: 0.5, alpha: 1.0}"),
            *("--loss.mixup_weight", "1", *network),
        ]
    )
    assert json.loads((run / "run.json").read_text())["config"]["data"]["image_size"] == list(SIZE)
    capsys.readouterr()
    evaluate([str(run), "--json"])
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures

    predictor = pumlc.load(run)
    pictures = sorted((squares_coco / "val").rglob("*.*g"))[:4]
    assert tuple(predictor.model.data_config["input_size"][-2:]) == SIZE
    expected = predictor.predict(pictures).probabilities
    predict([str(run), str(pictures[0].parent), "--out", str(tmp_path / "p.csv")])
    assert (tmp_path / "p.csv").read_text().count("\n") > 4
    _check_export(predictor, run, tmp_path / "model.onnx", pictures, expected)


def _check_export(predictor, run, file, pictures, expected):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from pumlc.cli.export import main as export

    export([str(run), "--out", str(file)])
    session = onnxruntime.InferenceSession(str(file))
    assert session.get_inputs()[0].shape[1:] == [3, *SIZE]
    metadata = json.loads(session.get_modelmeta().custom_metadata_map["preprocessing"])
    assert metadata["size"] == list(SIZE)
    decoded = [load_image(p, at_least=tuple(metadata["decoded_size"])) for p in pictures]
    images = np.stack([predictor.transform(image=image)["image"].numpy() for image in decoded])
    (probabilities,) = session.run(["probabilities"], {"images": images})
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)
