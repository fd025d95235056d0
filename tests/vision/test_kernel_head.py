"""Frozen runs whose heads have a Gaussian kernel: what the network, its file and its start are."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.sparse import csr_array

import pumlc
from pumlc.cli.main import main
from pumlc.engine.config import TrainConfig
from pumlc.errors import UserError
from pumlc.estimators import PartialLabelClassifier, fit_kernel_heads
from pumlc.labels import SparseLabels
from pumlc.vision.config import DataConfig, LossConfig, ModelConfig, VisionConfig
from pumlc.vision.frozen.fit import fit_heads
from pumlc.vision.frozen.known_fit import choose_known_heads
from pumlc.vision.frozen.task import _set_head
from pumlc.vision.models.build import build_for_training
from pumlc.vision.models.classifier import create_classifier
from pumlc.vision.timm_folder import check_for_timm

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("ignore:features of test_resnet with random weights")


def command(root, cache):
    """The arguments of a run, but for its folder."""
    return [
        *("train", "--config", "frozen", "--heads", "kernel", "--data.name", "coco"),
        *("--data.root", str(root), "--data.image_size", "32", "--data.known", "0.5"),
        *("--model.backbone", "test_resnet", "--model.weights", "none"),
        *("--features.cache", str(cache), "--evaluate"),
    ]


@pytest.fixture(scope="module")
def run(squares_coco, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kernel")
    own = ["-m", "pumlc", *command(squares_coco, folder / "cache"), "--out", str(folder / "run")]
    threads = {**os.environ, "OMP_NUM_THREADS": "1"}  # as torchrun sets it: the same order of sums
    subprocess.run([sys.executable, *own], cwd=ROOT, env=threads, check=True)
    return folder / "run"


def test_two_processes_make_and_measure_the_run_of_one(run, squares_coco, tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    launch += ["--standalone", "-m", "pumlc", *command(squares_coco, run.parent / "cache")]
    launch += ["--out", str(tmp_path / "run")]
    done = subprocess.run(launch, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    one, two = (load_file(each / "weights/last.safetensors") for each in (run, tmp_path / "run"))
    torch.testing.assert_close(two, one, rtol=0, atol=0)
    one, two = (json.loads((each / "metrics.json").read_text()) for each in (run, tmp_path / "run"))
    assert two["weights"] == one["weights"]


def config(heads, **model):
    bce = LossConfig(name="bce", parameters={"unknown": "ignore"})
    return VisionConfig(
        data=DataConfig(name="coco", root="nowhere", image_size=32),
        model=ModelConfig(backbone="test_resnet", **model),
        loss=bce if heads == "none" else LossConfig(name="auto"),
        train=TrainConfig(epochs=1, batch_size=16, learning_rate=1),
        heads=heads,
    )


@pytest.fixture(scope="module")
def ring():
    random = np.random.default_rng(0)
    features = random.normal(size=(300, 5)).astype(np.float32)
    labels = np.where(np.hypot(features[:, :3], features[:, 1:4]) > 1.2, 1, -1).astype(np.int8)
    labels[random.uniform(size=labels.shape) < 0.4] = 0
    labels[:, 1] = 0
    return features, labels


def test_one_fit_for_run_and_estimator(ring):
    features, labels = ring
    heads = fit_heads(features, labels, config("auto"))
    assert heads.gaussian is not None
    assert "a Gaussian kernel beside the linear heads lowers" in heads.facts["why"]
    classifier = create_classifier(
        "test_resnet", 3, local_global=False, head="linear", weights=None, image_size=32
    )
    classifier.head = torch.nn.Linear(5, 3)
    _set_head(classifier, heads)
    with torch.no_grad():
        logits = classifier.head(torch.from_numpy(features)).numpy()
    known = [0, 2]
    plain = fit_kernel_heads(features, labels[:, known])
    Y = np.where(labels == 0, np.nan, labels == 1)[:, known]
    estimator = PartialLabelClassifier().fit(features, Y)
    for place, c in enumerate(known):
        scores = plain.scores(features)[:, place]
        slope, bias = np.polyfit(scores, logits[:, c], 1)
        np.testing.assert_allclose(slope * scores + bias, logits[:, c], atol=1e-3)
        np.testing.assert_allclose(
            estimator.decision_function(features)[:, place], logits[:, c], atol=1e-3
        )
    assert np.ptp(logits[:, 1]) < 1e-5  # without a known label: one probability


def test_linear_heads_are_kept_as_the_settings_say(ring):
    features, labels = ring
    assert fit_heads(features, labels, config("least_squares")).gaussian is None


def test_too_many_classes_for_a_matrix_get_linear_heads():
    labels = SparseLabels.of(csr_array(np.eye(4, dtype=np.int8)), np.full(4, -1, np.int8))
    with pytest.raises(UserError, match="heads kernel: 4 pictures x 4 classes .* least_squares"):
        choose_known_heads(config("kernel"), labels)
    assert choose_known_heads(config("auto"), labels)[0] == "least_squares"


def test_the_exported_file_gives_the_logits_of_the_run(run):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    file = run.parent / "run.onnx"
    main(["export", str(run), "--out", str(file)])
    pixels = np.random.default_rng(0).normal(size=(3, 3, 32, 32)).astype(np.float32)
    (logits,) = onnxruntime.InferenceSession(str(file)).run(["logits"], {"images": pixels})
    with torch.inference_mode():
        expected = pumlc.load(run).model(torch.from_numpy(pixels)).numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_half_precision_of_the_network_leaves_the_kernel_alone(run):
    head = pumlc.load(run).model.head
    features = torch.randn(4, head.in_features, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = head(features)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(head(features), expected)


def test_a_network_starts_from_the_linear_part(run):
    classes = tuple(json.loads((run / "run.json").read_text())["classes"])
    started = build_for_training(
        config("none", weights=str(run)), classes, np.zeros((4, len(classes)), np.int8)
    )
    assert started.has_trained_head
    head = pumlc.load(run).model.head
    torch.testing.assert_close(started.head.weight, head.weight)
    torch.testing.assert_close(started.head.bias, head.bias)


def test_timm_has_no_such_head(run):
    with pytest.raises(UserError, match="Gaussian kernel .* heads least_squares"):
        check_for_timm(pumlc.load(run).model)
