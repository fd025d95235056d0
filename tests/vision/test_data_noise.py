"""`data.noise`: every kind is the library function it names, alone and with hidden labels."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from pumlc import labels as protocols
from pumlc.engine.command_line import parse
from pumlc.engine.config import TrainConfig, from_plain, plain
from pumlc.errors import UserError
from pumlc.labels import UNKNOWN, SparseLabels, keep_proportion
from pumlc.vision.config import LossConfig, ModelConfig, VisionConfig
from pumlc.vision.data.config import DataConfig
from pumlc.vision.data.noise import NoiseConfig, add_noise
from pumlc.vision.data.observation import Observation
from pumlc.vision.data.observe import observe, observe_sparse

RANDOM = np.random.RandomState(0)
LABELS = np.where(RANDOM.rand(300, 5) < 0.3, 1, -1).astype(np.int8)
VISIBILITY = RANDOM.rand(300, 5)
RATES = {"rate": 0.3}
KINDS: dict[Any, tuple[dict[str, Any], Callable[[], np.ndarray]]] = {
    "flip": (
        {"false_negative": 0.3, "false_positive": 0.1},
        lambda: protocols.flip(LABELS, false_negative=0.3, false_positive=0.1, seed=3),
    ),
    "uniform": (
        RATES,
        lambda: protocols.flip(LABELS, false_negative=0.3, false_positive=0.3, seed=3),
    ),
    "mislabel": (RATES, lambda: protocols.mislabel(LABELS, 0.3, seed=3)),
    "symmetric": (RATES, lambda: protocols.symmetric_noise(LABELS, 0.3, seed=3)),
    "pair-flip": (RATES, lambda: protocols.pair_flip(LABELS, 0.3, seed=3)),
    "subtractive": (RATES, lambda: protocols.subtract_and_add(LABELS, subtracted=0.3, seed=3)),
    "additive": (RATES, lambda: protocols.subtract_and_add(LABELS, added=0.3, seed=3)),
    "mixed": (
        {"subtracted": 0.3, "added": 0.2},
        lambda: protocols.subtract_and_add(LABELS, subtracted=0.3, added=0.2, seed=3),
    ),
    "single-positive": ({}, lambda: protocols.miss_all_but_one(LABELS, seed=3)),
    "hard-to-see": (RATES, lambda: protocols.miss_by_visibility(LABELS, VISIBILITY, 0.3, seed=3)),
}


def config_with(noise: NoiseConfig | None, **settings) -> DataConfig:
    return DataConfig(name="voc2007", root="x", noise=noise, label_seed=3, **settings)


@pytest.fixture
def visible(tmp_path):
    np.save(tmp_path / "scores.npy", VISIBILITY)
    return {"visibility": str(tmp_path / "scores.npy")}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_the_function_it_names(kind, visible):
    numbers, expected = KINDS[kind]
    noise = NoiseConfig(kind=kind, **numbers, **(visible if kind == "hard-to-see" else {}))
    before = LABELS.copy()
    seen, manifest = observe(LABELS, config_with(noise), seed=3)
    np.testing.assert_array_equal(LABELS, before)
    np.testing.assert_array_equal(seen, expected())
    assert (seen != LABELS).any()
    assert manifest.parameters["noise"] == plain(noise)
    np.testing.assert_array_equal(manifest.restore(seen), LABELS)
    run = VisionConfig(
        data=config_with(noise),
        model=ModelConfig(backbone="x"),
        loss=LossConfig(name="pnu"),
        train=TrainConfig(epochs=1, batch_size=2, learning_rate=0.1),
    )
    assert from_plain(VisionConfig, plain(run)) == run  # what run.json brings back


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_labels_are_drawn_on_their_own(kind):
    """Drawn alike, the mask of a seed would keep more or fewer wrong labels than there are."""
    truth = np.where(np.random.RandomState(1).rand(20_000, 5) < 0.3, 1, -1).astype(np.int8)
    noise = NoiseConfig(kind=kind, **KINDS[kind][0])
    visibility = np.random.RandomState(2).rand(*truth.shape)
    noisy, _ = observe(truth, config_with(noise), seed=3, visibility=visibility)
    seen, manifest = observe(truth, config_with(noise, known=0.1), seed=3, visibility=visibility)
    np.testing.assert_array_equal(seen, keep_proportion(noisy, 0.1, seed=3))
    np.testing.assert_array_equal(
        manifest.restore(seen)[manifest.changed()], truth[manifest.changed()]
    )
    wrong = (noisy != truth).mean()
    known = seen != UNKNOWN
    assert (seen[known] != truth[known]).mean() == pytest.approx(wrong, abs=0.03)


def test_labels_that_are_unknown_stay_unknown(visible):
    hidden = keep_proportion(LABELS, 0.6, seed=0)
    for kind, (numbers, _) in KINDS.items():
        noise = NoiseConfig(kind=kind, **numbers, **(visible if kind == "hard-to-see" else {}))
        seen, _ = observe(hidden, config_with(noise), seed=3)
        assert (seen[hidden == UNKNOWN] == UNKNOWN).all(), kind


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "mislable", "rate": 0.1}, "noise.kind must be one of flip, uniform, mislabel"),
        ({"kind": "mislabel"}, r"noise.rate must be a number in \[0, 1\], got None"),
        ({"kind": "mislabel", "rate": 1.5}, r"noise.rate must be a number in \[0, 1\], got 1.5"),
        ({"kind": "additive", "rate": -1.0}, "noise.rate must be a number of at least 0"),
        ({"kind": "additive", "rate": float("inf")}, "noise.rate must be a number of at least 0"),
        ({"kind": "flip", "false_negative": 0.1}, "noise.false_positive must be a number"),
        (
            {"kind": "flip", "rate": 0.1, "false_negative": 0.1, "false_positive": 0.0},
            "noise.rate must be left out with flip; flip takes false_negative, false_positive",
        ),
        ({"kind": "single-positive", "rate": 0.1}, "noise.rate must be left out"),
        (
            {"kind": "uniform", "rate": 0.1, "visibility": "x.npy"},
            "noise.visibility must be left out with uniform",
        ),
    ],
)
def test_numbers_that_do_not_go_with_the_kind(settings, message):
    with pytest.raises(UserError, match=message):
        NoiseConfig(**settings)


def test_an_additive_share_may_be_above_one():
    seen = add_noise(LABELS, NoiseConfig(kind="additive", rate=1.5), seed=0)
    assert (seen == 1).sum() == round(2.5 * (LABELS == 1).sum())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"false_negative": 0.1}, "data.noise must be another kind beside false_negative"),
        (
            {"protocol": "positive-list", "positive_list": "list.txt"},
            "data.noise must be left out with data.protocol positive-list",
        ),
    ],
)
def test_what_noise_does_not_go_with(settings, message):
    with pytest.raises(UserError, match=message):
        config_with(NoiseConfig(kind="uniform", rate=0.1), **settings)


def test_labels_that_cannot_have_the_noise():
    with pytest.raises(UserError, match="noise.kind pair-flip: .*two classes are needed"):
        add_noise(LABELS[:, :1], NoiseConfig(kind="pair-flip", rate=0.1), seed=0)
    with pytest.raises(UserError, match="noise.visibility must be a file"):
        add_noise(LABELS, NoiseConfig(kind="hard-to-see", rate=0.1), seed=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "not a numpy array"),
        (b"text", "not a numpy array"),
        (np.zeros((3, 5)), r"300 pictures and 5 classes, got float64 \(3, 5\)"),
        (np.full((300, 5), "a"), "got <U1"),
        (np.full((300, 5), np.nan), "it has nan; every entry"),
        (np.array([[None]], object), "not a numpy array"),
    ],
)
def test_a_file_that_has_no_visibility(tmp_path, content, message):
    file = tmp_path / "scores.npy"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        np.save(file, content)
    noise = NoiseConfig(kind="hard-to-see", rate=0.1, visibility=str(file))
    with pytest.raises(UserError, match=f"noise.visibility .*{message}"):
        add_noise(LABELS, noise, seed=0)


def test_noise_by_the_command_line(tmp_path):
    rest = ["--model.backbone=x", "--loss.name=pnu", "--train={epochs: 1, batch_size: 2}"]
    rest += ["--train.learning_rate=0.1", "--data.name=voc2007", "--data.root=x"]
    options = ["--data.noise.kind", "mislabel", "--data.noise.rate", "0.2"]
    config, _ = parse(VisionConfig, [*rest, *options], program="train")
    assert config.data.noise == NoiseConfig(kind="mislabel", rate=0.2)
    (tmp_path / "run.yaml").write_text("data: {noise: {kind: mislabel, rate: 0.2}}")
    again, _ = parse(VisionConfig, ["--config", str(tmp_path / "run.yaml"), *rest], program="train")
    assert again == config
    for wrong, message in (
        (["--data.noise.kind=mislabel", "--data.noise.rat=1"], "did you mean 'data.noise.rate'"),
        (["--data.noise.kind=mislabel"], "noise.rate must be a number"),
        (["--data.noise.kind=mislable"], "mislable"),
    ):
        with pytest.raises(UserError, match=message):
            parse(VisionConfig, [*rest, *wrong], program="train")


@pytest.mark.parametrize(
    "settings",
    [
        {"false_negative": 0.2},
        {"false_positive": {"b": 0.1}},
        {"noise": {"kind": "uniform", "rate": 0.2}},
    ],
)
def test_noise_is_refused_where_nothing_is_known_to_be_absent(settings):
    """Listed labels are present and the others unknown: false positives would be left out."""
    listed = np.where(LABELS == 1, 1, UNKNOWN).astype(np.int8)
    config = from_plain(Observation, settings)
    sparse = SparseLabels(csr_array(listed), np.zeros(len(listed), np.int8))
    for observed in (
        lambda: observe(listed, config, tuple("abcde"), seed=0),
        lambda: observe_sparse(sparse, config, tuple("abcde"), seed=0),
    ):
        with pytest.raises(UserError, match="no training label is known to be absent"):
            observed()
