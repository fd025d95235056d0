"""Training procedures of heads that expect wrong labels."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pumlc.errors import UserError
from pumlc.estimators import clean_probabilities
from pumlc.labels import flip
from pumlc.metrics import average_precision
from pumlc.vision.config import LossConfig
from pumlc.vision.frozen.config import Method
from pumlc.vision.frozen.heads import Heads
from pumlc.vision.frozen.procedures import (
    HEADS,
    CoTeaching,
    managed_labels,
    small_losses,
    without_errors,
)

BCE = LossConfig(name="bce", parameters={"unknown": "ignore"})
REWEIGHTED = LossConfig(name="reweighted", parameters={"unknown": "ignore"})


def method(procedure, **settings):
    loss = REWEIGHTED if procedure == "transitions" else BCE
    return Method(loss=loss, procedure=procedure, **settings)


def noisy_data(rows=600, classes=4):
    random = np.random.RandomState(0)
    features = random.randn(rows, 20).astype(np.float32)
    truth = np.where(features @ random.randn(20, classes) > 1.5, 1, -1).astype(np.int8)
    noisy = flip(truth, false_negative=0.2, false_positive=0.1, seed=0)
    return torch.from_numpy(features), truth, noisy


@given(st.integers(0, 10_000), st.floats(0.05, 1.0))
def test_small_losses_are_a_share_of_each_kind(seed, kept):
    random = np.random.RandomState(seed)
    losses, labels = random.rand(12, 3), random.randint(-1, 2, (12, 3))
    chosen = small_losses(torch.from_numpy(losses), torch.from_numpy(labels), kept).numpy()
    assert not chosen[labels == 0].any()
    for c in range(3):
        for value in (1, -1):
            rows = np.flatnonzero(labels[:, c] == value)
            number = int(np.ceil(kept * len(rows) - 1e-6))
            expected = rows[np.argsort(losses[rows, c])[:number]]
            assert set(expected) == set(np.flatnonzero(chosen[:, c] & (labels[:, c] == value)))


def test_a_head_is_trained_on_what_its_peer_chooses():
    features, _, noisy = noisy_data(40, 1)
    labels = torch.from_numpy(noisy)
    heads = CoTeaching(20, labels, [1e-3], method("co-teaching", forget_rate=0.5), 0)
    heads.kept = 0.5
    with torch.no_grad():
        torch.nn.init.normal_(heads.heads[0].weight)
        torch.nn.init.normal_(heads.peers[0].weight)
        logits = [each(features) for each in (heads.heads[0], heads.peers[0])]
    rows = torch.arange(40)
    heads.total_loss(features, rows, {}).backward()
    for own, other, module in zip(
        logits, logits[::-1], (heads.heads[0], heads.peers[0]), strict=True
    ):
        losses = torch.where(labels == 1, -other.sigmoid().log(), -(-other).sigmoid().log())
        chosen = small_losses(losses, labels, 0.5)
        slopes = (own.sigmoid() - (labels == 1).float()) * chosen / 40
        torch.testing.assert_close(module.weight.grad, (slopes.T @ features), atol=1e-6, rtol=1e-4)


def test_labels_are_clean_or_changed_or_weighted():
    random = np.random.RandomState(0)
    labels = np.where(np.arange(100)[:, None] < 90, -1, 0)
    logits = np.where(np.arange(100)[:, None] < 80, -3 + 0.1 * random.randn(100, 1), 5.0)
    logits[85:90] = 0.5  # not sure of these
    changed, weights = managed_labels(
        torch.from_numpy(logits).float(), torch.from_numpy(labels), 0.975
    )
    clean = clean_probabilities(np.log1p(np.exp(logits.astype(np.float32))), labels)
    assert (changed[:80] == -1).all()
    assert (weights[:80] == 1).all()
    assert (changed[80:85] == 1).all()
    assert (weights[80:85] == 1).all()
    assert (changed[85:90] == -1).all()
    torch.testing.assert_close(weights[85:90], torch.from_numpy(clean[85:90]).float())
    assert (weights[85:90] < 0.5).all()
    assert (weights[90:] == 0).all()


def test_pruned_labels_are_mostly_wrong_ones():
    features, truth, noisy = noisy_data()
    noisy[:, 3] = 0  # nothing known
    cleaned = without_errors(features, noisy, 0)
    hidden = (cleaned == 0) & (noisy != 0)
    wrong = (noisy != truth) & (noisy != 0)
    assert (cleaned[~hidden] == noisy[~hidden]).all()
    assert (hidden & wrong).sum() > 0.6 * hidden.sum()
    assert (hidden & wrong).sum() > 0.5 * wrong.sum()


@pytest.mark.parametrize("procedure", ["co-teaching", "label-wise", "transitions"])
def test_heads_learn_in_each_procedure(procedure):
    features, truth, noisy = noisy_data()
    labels = torch.from_numpy(noisy)
    scores = []
    for _ in range(2):
        settings = method(procedure, warmup_epochs=2)
        heads = HEADS[procedure](20, labels, [1e-2], settings, 0, [0.0, 0.1])
        before = torch.get_rng_state()
        for epoch in range(1, 7):
            heads.train_epoch(features, 100, epoch)
        assert torch.equal(before, torch.get_rng_state())
        scores.append(heads.logits(features))
    np.testing.assert_array_equal(scores[0], scores[1])
    assert len(scores[0]) == 2
    assert average_precision(scores[0][0], truth).mean() > 0.8


@pytest.mark.parametrize("procedure", ["label-wise", "transitions"])
def test_the_warm_up_is_plain(procedure):
    features, _, noisy = noisy_data(100)
    both = []
    for one in (procedure, "plain"):
        settings = Method(loss=BCE) if one == "plain" else method(one, warmup_epochs=2)
        heads = HEADS[one](20, torch.from_numpy(noisy), [1e-2], settings, 0)
        for epoch in (1, 2, 3):
            heads.train_epoch(features, 20, epoch)
            if epoch > 1:
                both.append(heads.logits(features)[0])
    np.testing.assert_allclose(both[0], both[2], atol=1e-6)
    assert np.abs(both[1] - both[3]).max() > 1e-4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": REWEIGHTED, "procedure": "co-teaching"}, "loss.name must be bce for procedure"),
        ({"loss": BCE, "procedure": "transitions"}, "loss.name must be reweighted for procedure"),
        ({"loss": BCE, "forget_rate": 1.0}, r"forget_rate must be in \[0, 1\)"),
        ({"loss": BCE, "relabel_threshold": 0.4}, r"relabel_threshold must be in \[0.5, 1\]"),
    ],
)
def test_settings_that_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        Method(**settings)


def test_every_procedure_has_heads():
    assert HEADS["plain"] is Heads
    assert set(HEADS) == {"plain", "confident-learning", "co-teaching", "label-wise", "transitions"}
