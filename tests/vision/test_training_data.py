"""Every label protocol of the config is the library function it names."""

import numpy as np
import pytest

from pumlc.labels import (
    UNKNOWN,
    drop_proportion,
    keep_fixed_per_class,
    keep_proportion,
    keep_proportion_torch,
    keep_single_positive,
)
from pumlc.vision.config import DataConfig
from pumlc.vision.training_data import observe

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
        known=0.4,
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
