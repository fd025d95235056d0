"""Frozen features and the heads trained on them."""

import dataclasses
import functools
import os
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from pumlc.errors import UserError
from pumlc.estimators import fit_moved_positives, fit_noisy_labels
from pumlc.labels import keep_proportion
from pumlc.metrics import average_precision
from pumlc.vision.config import DataConfig, LossConfig, ModelConfig
from pumlc.vision.data.split import read_split
from pumlc.vision.frozen import features
from pumlc.vision.frozen.config import Method, ProbeConfig
from pumlc.vision.frozen.features import (
    SplitFeatures,
    frozen_features,
    frozen_network,
    pooled_features,
)
from pumlc.vision.frozen.heads import Heads
from pumlc.vision.frozen.probe import ProbeData, probe_cell, probe_data, trained_heads
from pumlc.vision.models.classifier import create_classifier

pytestmark = pytest.mark.filterwarnings("ignore:features of test_resnet with random weights")
BCE = Method(loss=LossConfig(name="bce", parameters={"unknown": "ignore"}))
CONFIG = ProbeConfig(learning_rates=[1e-2, 1e-1], epochs=[5, 20], batch_size=32)


@pytest.fixture(scope="module")
def data():
    """Gaussian features with linear labels: two frequent classes and one with a single positive."""
    random = np.random.RandomState(0)
    splits = []
    for size in (160, 90):
        features = random.randn(size, 8).astype(np.float32)
        labels = np.where(features[:, :3] > 0.5, 1, -1).astype(np.int8)
        labels[:, 2] = -1
        labels[0, 2] = 1
        splits.append(SplitFeatures(features, labels, ("a", "b", "rare")))
    return splits


def test_features_are_what_the_linear_head_is_given(squares_coco):
    data = DataConfig(name="coco", root=str(squares_coco), image_size=32)
    images = read_split(data, "test")
    torch.manual_seed(0)
    classifier = create_classifier(
        "test_resnet", 3, local_global=False, head="linear", weights=None
    )
    classifier.data_config = {**classifier.data_config, "input_size": (3, 32, 32)}
    given = []
    handle = classifier.head.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    features = pooled_features(classifier, images, batch_size=8)
    assert given == []
    assert features.shape[0] == len(images)
    assert features.dtype == np.float32
    from pumlc.vision.data.loader import Pictures
    from pumlc.vision.data.transforms import evaluation_transform
    from pumlc.vision.scoring import to_device

    pictures = Pictures(images, evaluation_transform(classifier.data_config), range(5))
    with torch.no_grad():
        batch = torch.stack([pictures[i] for i in range(5)])
        classifier(to_device(batch, batch.device, classifier.data_config))
    handle.remove()
    np.testing.assert_allclose(features[:5], given[0].numpy(), rtol=1e-4, atol=1e-5)


def test_second_call_reads_the_cache(squares_coco, tmp_path):
    data = DataConfig(name="coco", root=str(squares_coco), image_size=32)
    model = ModelConfig(backbone="test_resnet")
    first = frozen_features(data, model, "test", tmp_path)
    calls = []
    again = frozen_features(data, model, "test", tmp_path, progress=lambda *a: calls.append(a))
    assert calls == []  # weights are random: computed anew they would also differ
    np.testing.assert_array_equal(again.features, first.features)
    other = DataConfig(name="coco", root=str(squares_coco), image_size=64)
    frozen_features(other, model, "test", tmp_path, progress=lambda *a: calls.append(a))
    assert calls[-1] == (33, 33)
    assert len(list(tmp_path.iterdir())) == 2


def test_other_weights_under_the_same_name_are_noticed(squares_coco, tmp_path):
    data = DataConfig(name="coco", root=str(squares_coco), image_size=32)
    file, cache = tmp_path / "weights.pth", tmp_path / "cache"
    model = ModelConfig(backbone="test_resnet", weights=str(file))
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        torch.save(timm.create_model("test_resnet", num_classes=0).state_dict(), file)
        os.utime(file, ns=(seed, seed))
        found.append(frozen_features(data, model, "test", cache).features)
    assert not np.array_equal(*found)
    os.utime(file, ns=(0, 0))
    assert np.array_equal(frozen_features(data, model, "test", cache).features, found[0])
    assert len(list(cache.iterdir())) == 2


def changed_value(file):
    features = np.load(file)
    features[3, 2] += 1
    np.save(file, features)


def cut(length):
    return lambda file: file.write_bytes(file.read_bytes()[:length])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (cut(-8), "not a complete feature file"),
        (cut(50), "not a complete feature file"),
        (cut(0), "not a complete feature file"),
        (lambda file: np.save(file, np.load(file)[:-1]), "not one row for each of 33 pictures"),
        (changed_value, "was changed since it was written"),
        (lambda file: np.save(file, np.load(file).astype(np.float64)), "was changed"),
    ],
)
def test_a_damaged_or_changed_cache_is_named(squares_coco, tmp_path, damage, reason):
    data = DataConfig(name="coco", root=str(squares_coco), image_size=32)
    model = ModelConfig(backbone="test_resnet")
    features = frozen_features(data, model, "test", tmp_path).features
    (file,) = tmp_path.iterdir()
    damage(file)
    with pytest.raises(UserError, match=f"{file.name} .*{reason}.*delete it"):
        frozen_features(data, model, "test", tmp_path)
    file.unlink()
    np.testing.assert_array_equal(frozen_features(data, model, "test", tmp_path).features, features)


def test_the_cache_is_below_the_home_folder(squares_coco, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    data = DataConfig(name="coco", root=str(squares_coco), image_size=32)
    frozen_features(data, ModelConfig(backbone="test_resnet"), "test", Path("~/of/features"))
    assert len(list((tmp_path / "of" / "features").glob("coco_test_*.npy"))) == 1


def known(data: ProbeData, proportion: float, seed: int) -> np.ndarray:
    return keep_proportion(data.train_labels, proportion, seed=seed)


def test_a_cell_learns_and_repeats_itself(data):
    prepared = probe_data(data[0], data[1], CONFIG)
    assert prepared.averages == {"all": [0, 1, 2], "frequent": [0, 1]}
    before = torch.get_rng_state()
    rows = probe_cell(prepared, BCE, CONFIG, known(prepared, 0.5, 3), 3)
    assert torch.equal(before, torch.get_rng_state())
    assert {(row["learning_rate"], row["epochs"]) for row in rows} == {
        (rate, epochs) for rate in (1e-2, 1e-1) for epochs in (5, 20)
    }
    assert max(row["frequent"] for row in rows) > 85
    assert rows == probe_cell(prepared, BCE, CONFIG, known(prepared, 0.5, 3), 3)
    assert rows != probe_cell(prepared, BCE, CONFIG, known(prepared, 0.5, 4), 4)


def test_a_mask_has_a_seed_of_its_own(data):
    prepared = probe_data(data[0], data[1], CONFIG)
    rows = probe_cell(prepared, BCE, CONFIG, known(prepared, 0.5, 3), 3)
    assert rows == probe_cell(prepared, BCE, CONFIG, known(prepared, 0.5, 3), 3)
    assert rows != probe_cell(prepared, BCE, CONFIG, known(prepared, 0.5, 4), 3)
    # with complete labels there is nothing for the mask to decide
    rows = probe_cell(prepared, BCE, CONFIG, known(prepared, 1.0, 3), 3)
    assert rows == probe_cell(prepared, BCE, CONFIG, known(prepared, 1.0, 4), 3)


def test_hidden_and_test_labels_decide_nothing(data):
    """Changing every label that is hidden, and every test label, changes no validation figure."""
    prepared = probe_data(data[0], data[1], CONFIG)
    rows = probe_cell(prepared, BCE, CONFIG, known(prepared, 0.4, 1), 1)
    hidden = keep_proportion(prepared.train_labels, 0.4, seed=1) == 0
    changed = prepared.train_labels.copy()
    changed[hidden] *= -1
    other = dataclasses.replace(prepared, train_labels=changed, test_labels=-prepared.test_labels)
    again = probe_cell(other, BCE, CONFIG, known(other, 0.4, 1), 1)
    assert [row["validation"] for row in again] == [row["validation"] for row in rows]
    assert [row["all"] for row in again] != [row["all"] for row in rows]
    visible = prepared.train_labels.copy()
    visible[~hidden] *= -1
    other = dataclasses.replace(prepared, train_labels=visible)
    assert probe_cell(other, BCE, CONFIG, known(other, 0.4, 1), 1) != rows


def test_numbers_that_move_with_the_epoch(data):
    labels = torch.tensor([[1, -1], [1, 0], [-1, 1]], dtype=torch.int8)
    splc = LossConfig(name="splc", parameters={"threshold": 0.6, "gamma": 2.0, "margin": 1.0})
    heads = Heads(4, labels, [0.1], Method(loss=splc, first_epoch={"threshold": 1.0}), 0)
    assert [heads.loss_parameters(epoch)["threshold"] for epoch in (1, 2, 3)] == [1.0, 0.6, 0.6]
    large = LossConfig(name="large_loss", parameters={"rate": 0.0, "mode": "reject"})
    heads = Heads(4, labels, [0.1], Method(loss=large, per_epoch={"rate": 0.01}), 0)
    assert [heads.loss_parameters(epoch)["rate"] for epoch in (1, 2, 4)] == [0.0, 0.01, 0.03]
    nnpu: dict[str, float | str | bool | None] = {
        "prior": "known",
        "surrogate": "sigmoid",
        "unlabeled": "all",
    }
    heads = Heads(4, labels, [0.1], Method(loss=LossConfig(name="nnpu", parameters=nnpu)), 0)
    torch.testing.assert_close(heads.loss_parameters(1)["prior"], torch.tensor([2 / 3, 0.5]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"per_epoch": {"gamma": 1.0}},
            r"loss\.parameters\.gamma of large_loss must be a number to start from",
        ),
        ({"per_epoch": {"mode": 1.0}}, "loss.parameters.mode of large_loss must be a number"),
    ],
)
def test_moving_numbers_are_numbers_of_the_loss(change, message):
    loss = LossConfig(name="large_loss", parameters={"rate": 0.0, "mode": "reject"})
    with pytest.raises(ValueError, match=message):
        Method(loss=loss, **change)


def test_trained_and_listed_classes(data):
    config = ProbeConfig(
        learning_rates=[1e-2], epochs=[1], batch_size=32, trained="frequent", classes=["b"]
    )
    prepared = probe_data(data[0], data[1], config)
    assert prepared.train_labels.shape[1] == 2
    assert prepared.averages["listed"] == [1]
    config.classes = ["rare"]
    message = r"\['rare'\] are left out by probe.trained frequent, which takes the classes with at "
    message += "least 5 positives in train and in test; valid: a, b$"
    with pytest.raises(ValueError, match=message):
        probe_data(data[0], data[1], config)
    config.classes = ["c"]
    with pytest.raises(ValueError, match=r"\['c'\] are not among the 2 classes"):
        probe_data(data[0], data[1], config)
    config.trained, config.classes = "test", ["rare"]
    labels = data[1].labels.copy()
    labels[0, 2] = -1
    without = SplitFeatures(data[1].features, labels, data[1].classes)
    with pytest.raises(ValueError, match="trained test, .* classes with a positive in test; valid"):
        probe_data(data[0], without, config)


def test_without_weights_every_split_has_the_same_network(squares_coco, tmp_path):
    data = DataConfig(name="coco", root=str(squares_coco), image_size=32)
    model = ModelConfig(backbone="test_resnet")
    first, again = [frozen_features(data, model, "test", tmp_path / name) for name in "ab"]
    assert np.array_equal(first.features, again.features)


@pytest.mark.filterwarnings("default:features of test_resnet")
def test_random_weights_are_warned_of(squares_coco):
    data = DataConfig(name="coco", root=str(squares_coco), image_size=32)
    with pytest.warns(UserWarning, match="features of test_resnet with random weights"):
        frozen_network(data, ModelConfig(backbone="test_resnet"))


def test_the_key_of_automatic_weights_is_what_they_stand_for(squares_coco, tmp_path, monkeypatch):
    data = DataConfig(name="coco", root=str(squares_coco), image_size=32)
    model = ModelConfig(backbone="test_resnet", weights="auto")
    made = []
    for source in ("timm test_resnet", "random"):
        network = frozen_network(data, ModelConfig(backbone="test_resnet"))
        network.starting_weights = source
        monkeypatch.setattr(features, "frozen_network", lambda *_, network=network: network)
        made.append(frozen_features(data, model, "test", tmp_path))
    assert [split.weights for split in made] == ["timm test_resnet", "random"]
    assert len(list(tmp_path.iterdir())) == 2


def test_weight_decay_is_a_candidate_and_shrinks(data):
    prepared = probe_data(data[0], data[1], CONFIG)
    observed = known(prepared, 0.5, 3)
    decayed = dataclasses.replace(CONFIG, weight_decays=[0.0, 30.0])
    rows = probe_cell(prepared, BCE, decayed, observed, 3)
    plain = [row for row in rows if row["weight_decay"] == 0]
    assert plain == probe_cell(prepared, BCE, CONFIG, observed, 3)
    assert len(rows) == 2 * len(plain)
    (_, trained), *_ = trained_heads(prepared, BCE, decayed, observed, 3)
    norms = [
        float(dict(head.named_parameters())["weight"].detach().norm())
        for head in trained.heads.heads
    ]
    assert trained.heads.candidates == [(0.01, 0.0), (0.01, 30.0), (0.1, 0.0), (0.1, 30.0)]
    assert norms[1] < 0.7 * norms[0]


def test_what_is_measured_can_be_trained_on_all_rows(data):
    prepared = probe_data(data[0], data[1], CONFIG)
    observed = known(prepared, 0.5, 3)
    rows = probe_cell(prepared, BCE, CONFIG, observed, 3)
    final = probe_cell(prepared, BCE, dataclasses.replace(CONFIG, refit=True), observed, 3)
    assert [row["validation"] for row in final] == [row["validation"] for row in rows]
    assert [row["all"] for row in final] != [row["all"] for row in rows]
    last = list(trained_heads(prepared, BCE, CONFIG, observed, 3, all_rows=True))[-1][1]
    assert len(last.heads.labels) == len(observed)
    of_test = average_precision(last.heads.logits(prepared.test)[1], prepared.test_labels)
    assert final[-1]["all"] == pytest.approx(100 * np.nanmean(of_test))


@pytest.mark.parametrize("unknown", ["ignore", "negative"])
@pytest.mark.parametrize("positives", ["moved", "doubted"])
def test_closed_form_heads_are_those_of_the_estimators(data, unknown, positives):
    prepared = probe_data(data[0], data[1], CONFIG)
    observed = known(prepared, 0.5, 3)
    observed[observed[:, 1] == -1, 1] = 0  # a class whose absence nobody has noted
    settings = LossConfig(name="squared", parameters={"unknown": unknown})
    method = Method(loss=settings, heads="closed-form", positives=positives)
    (row,) = probe_cell(prepared, method, CONFIG, observed, 3)
    labels = observed.copy()
    columns = [1] if unknown == "ignore" else [0, 1, 2]
    labels[:, columns] = np.where(labels[:, columns] == 1, 1, -1)
    fit = {"moved": functools.partial(fit_moved_positives, share=0.6), "doubted": fit_noisy_labels}
    heads = fit[positives](prepared.train.numpy(), labels)
    of_test = average_precision(heads.scores(prepared.test.numpy()), prepared.test_labels)
    assert row["all"] == pytest.approx(100 * np.nanmean(of_test))
    judged = observed.copy()  # among positives alone every ranking would be perfect
    judged[:, 1] = np.where(judged[:, 1] == 1, 1, -1)
    of_known = average_precision(heads.loo_scores, judged)
    assert row["validation"] == pytest.approx(100 * np.nanmean(of_known))
    assert row["penalty"] == heads.penalty


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": BCE.loss, "heads": "closed-form"}, "loss.name must be squared"),
        ({"loss": BCE.loss, "positives": "soft"}, "positives must be given but for closed-form"),
    ],
)
def test_methods_that_have_no_closed_form(settings, message):
    with pytest.raises(UserError, match=message):
        Method(**settings)


def test_invalid_decays():
    with pytest.raises(UserError, match="probe.weight_decays must be at least one, from 0"):
        dataclasses.replace(CONFIG, weight_decays=[-1.0])
