"""Every label protocol of the config is the library function it names."""

import dataclasses

import numpy as np
import pytest

from pumlc.labels import (
    NEGATIVE,
    POSITIVE,
    UNKNOWN,
    drop_proportion,
    keep_fixed_per_class,
    keep_proportion,
    keep_proportion_torch,
    keep_single_positive,
)
from pumlc.vision.config import DataConfig
from pumlc.vision.training_data import observe, training_data

LABELS = np.random.RandomState(0).choice([1, -1], size=(40, 6)).astype(np.int8)
PROTOCOLS = {
    "proportion": lambda: keep_proportion(LABELS, 0.4, seed=3),
    "dualcoop": lambda: keep_proportion_torch(LABELS, 0.4, seed=3),
    "csl-rps": lambda: drop_proportion(LABELS, 0.6, seed=3),
    "csl-fpc": lambda: keep_fixed_per_class(LABELS, 2, seed=3),
    "single-positive": lambda: keep_single_positive(LABELS, seed=3),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_protocol_by_config(protocol):
    count = 2 if protocol == "csl-fpc" else None
    config = DataConfig(
        name="voc2007",
        root="unused",
        known=1.0 if protocol in ("csl-fpc", "single-positive") else 0.4,
        protocol=protocol,
        known_per_class=count,
        label_seed=3,
    )
    labels = LABELS.copy()
    manifest = observe(labels, config)
    np.testing.assert_array_equal(labels, PROTOCOLS[protocol]())
    assert (labels == UNKNOWN).any()
    assert manifest.protocol == protocol
    assert manifest.parameters.get("known_per_class") == count


@pytest.mark.parametrize(
    ("protocol", "count"), [("csl-fpc", None), ("csl-fpc", 0), ("proportion", 5)]
)
def test_a_count_goes_with_its_protocol(protocol, count):
    with pytest.raises(ValueError, match="known_per_class"):
        DataConfig(name="voc2007", root="x", protocol=protocol, known_per_class=count)


@pytest.mark.parametrize("protocol", ["proportion", "dualcoop", "csl-rps", "csl-fpc"])
def test_noise_has_its_rate_among_the_known_labels(protocol):
    """Drawn alike, the mask of a seed would keep just what its noise flipped."""
    labels = np.random.RandomState(0).choice([1, -1], size=(20_000, 5)).astype(np.int8)
    fixed = protocol == "csl-fpc"
    config = DataConfig(
        name="voc2007",
        root="unused",
        protocol=protocol,
        known=1.0 if fixed else 0.1,
        known_per_class=1000 if fixed else None,
        false_negative=0.05,
        false_positive=0.05,
    )
    seen = labels.copy()
    observe(seen, config)
    known = seen != UNKNOWN
    # 10,000 known labels: five standard deviations
    assert (seen[known] != labels[known]).mean() == pytest.approx(0.05, abs=0.011)


def test_noise_by_class():
    labels = LABELS.copy()
    config = DataConfig(
        name="voc2007", root="unused", false_negative={"c": 1.0}, false_positive={"a": 1.0}
    )
    manifest = observe(labels, config, tuple("abcdef"))
    expected = LABELS.copy()
    expected[expected[:, 2] == POSITIVE, 2] = NEGATIVE
    expected[expected[:, 0] == NEGATIVE, 0] = POSITIVE
    np.testing.assert_array_equal(labels, expected)
    assert manifest.parameters["false_negative"] == {"c": 1.0}
    with pytest.raises(ValueError, match="data.false_negative: no class 'c'; did you mean 'cat'"):
        observe(LABELS.copy(), config, ("cat", "dog"))
    with pytest.raises(ValueError, match=r"data.false_positive .*in \[0, 1\]"):
        dataclasses.replace(config, false_positive={"a": 1.5})


@pytest.mark.parametrize(("protocol", "count"), [("csl-fpc", 3), ("single-positive", None)])
def test_a_proportion_that_the_protocol_would_ignore(protocol, count):
    with pytest.raises(ValueError, match=f"data.known .*1 with data.protocol {protocol}"):
        DataConfig(name="voc2007", root="x", known=0.5, protocol=protocol, known_per_class=count)


def test_what_the_validation_rows_of_a_csv_file_lost_is_recorded(tmp_path):
    lines = ["split,image,labels,negatives"]
    for index in range(60):
        (tmp_path / f"{index}.jpg").touch()
        lines.append(f"{'val' if index % 3 == 0 else 'train'},{index}.jpg,a,b")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    config = DataConfig(name="csv", csv=str(tmp_path / "labels.csv"), root=str(tmp_path), known=0.5)
    data = training_data(config, seed=0)
    assert data.validation is not None
    assert data.validation_manifest is not None
    assert (data.validation.labels == UNKNOWN).any()
    truth = data.validation_manifest.restore(data.validation.labels)
    np.testing.assert_array_equal(truth, [[POSITIVE, NEGATIVE]] * 20)
