"""Pictures that belong together are left out together; refitting without them is the oracle."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pumlc.cli.main import main
from pumlc.engine.config import TrainConfig
from pumlc.errors import UserError
from pumlc.estimators.design import joined_groups
from pumlc.vision.config import DataConfig, LossConfig, ModelConfig, VisionConfig
from pumlc.vision.frozen.fit import fit_heads, left_out_together
from pumlc.vision.frozen.loss_heads import fit_loss_heads

BCE = LossConfig(name="bce", parameters={"unknown": "ignore"})


def settings() -> VisionConfig:
    return VisionConfig(
        data=DataConfig(name="coco", root="nowhere"),
        model=ModelConfig(backbone="test_resnet"),
        loss=LossConfig(name="auto"),
        train=TrainConfig(epochs=1, batch_size=16, learning_rate=1),
        heads="auto",
    )


def patients(rows=40, seed=0):
    """Features, labels and the patient of each row; two pictures of two patients are the same."""
    random = np.random.RandomState(seed)
    features = random.randn(rows, 5).astype(np.float32)
    features[7] = features[30]
    labels = np.where(features[:, :2] + random.randn(rows, 2) > 0.2, 1, -1).astype(np.int8)
    labels[random.rand(rows, 2) < 0.3] = 0
    return features, labels, np.arange(rows) // 3


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12))
def test_joined_groups_split_neither_numbering_and_are_the_finest(pairs):
    first, second = np.array(pairs).T
    joined = joined_groups(first, second)
    expected = np.arange(len(first))
    for _ in expected:  # the least row that can be reached, by steps within either numbering
        for numbers in (first, second):
            expected = np.array([expected[numbers == number].min() for number in numbers])
    same = joined[:, None] == joined
    np.testing.assert_array_equal(same, expected[:, None] == expected)


def test_left_out_logits_are_those_of_a_fit_without_the_patient():
    features, labels, groups = patients()
    fitted = fit_heads(features, labels, settings(), groups=left_out_together(features, groups))
    # patients 2 and 10 share a picture: their blocks become one
    together = np.where(groups == 10, 2, groups)
    assert fitted.facts["left_out_blocks"] == len(np.unique(together)) == 13
    x = features.astype(np.float64)
    x = (x - x.mean(0)) / x.std(0) / np.sqrt(x.shape[1])
    x = np.c_[x, np.ones(len(x))]
    penalty = fitted.facts["penalty"] * np.eye(x.shape[1])
    for c, logits in enumerate(fitted.left_out_logits.T):
        by_hand = np.empty(len(x))
        for group in np.unique(together):
            rows = (labels[:, c] != 0) & (together != group)
            gram = x[rows].T @ x[rows] + penalty
            theta = np.linalg.solve(gram, x[rows].T @ labels[rows, c].astype(float))
            by_hand[together == group] = x[together == group] @ theta
        slope, bias = np.polyfit(by_hand, logits, 1)  # the logits are the calibrated scores
        np.testing.assert_allclose(logits, slope * by_hand + bias, atol=1e-4)
    alone = fit_heads(features, labels, settings())
    assert not np.allclose(alone.left_out_logits, fitted.left_out_logits, atol=1e-3)


def test_no_fold_of_loss_heads_divides_a_patient():
    features, labels, groups = patients()
    heads = fit_loss_heads(features, labels, BCE, seed=0, weight_decays=[1e-2], groups=groups)
    changed = labels.copy()
    changed[groups == 4] *= -1
    again = fit_loss_heads(features, changed, BCE, seed=0, weight_decays=[1e-2], groups=groups)
    np.testing.assert_array_equal(again.left_out[groups == 4], heads.left_out[groups == 4])
    assert not np.allclose(again.left_out, heads.left_out)
    with pytest.raises(UserError, match=r"at least 5 pictures \(of different groups.*got 4"):
        fit_loss_heads(features, labels, BCE, seed=0, groups=np.arange(40) % 4)


@pytest.mark.filterwarnings("ignore:features of test_resnet with random weights")
def test_a_run_leaves_out_the_groups_of_its_file(tmp_path):
    random = np.random.RandomState(0)
    rows = ["image,labels,split"]
    for row in range(24):
        path = tmp_path / f"p{row // 3}" / f"{row}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(random.randint(0, 255, (32, 32, 3), np.uint8)).save(path)
        rows.append(f"p{row // 3}/{row}.png,{'cat' if row % 2 else 'dog'},train")
    (tmp_path / "l.csv").write_text("\n".join(rows) + "\n")
    main(
        [
            *("train", "--config", "frozen", "--data.labels", str(tmp_path / "l.csv")),
            *("--data.root", str(tmp_path), "--data.group", "path:1", "--data.test", "0.25"),
            *("--data.unlisted", "negative"),
            *("--data.image_size", "32", "--model.backbone", "test_resnet"),
            *("--model.weights", "none", "--features.cache", str(tmp_path / "cache")),
            *("--out", str(tmp_path / "run"), "--evaluate"),
        ]
    )
    index = json.loads((tmp_path / "run" / "weights" / "index.json").read_text())
    assert index["last"]["heads"]["left_out_blocks"] == 6  # a quarter of 8 patients is the test
    measured = (tmp_path / "run" / "metrics.json").read_text()
    main(["evaluate", str(tmp_path / "run")])
    assert (tmp_path / "run" / "metrics.json").read_text() == measured
