"""Heads on frozen features of tags that people have corrected: docs/frozen.md.

    python experiments/corrected_tags.py FEATURES.npz

FEATURES.npz has train, test [N, D] and train_labels, test_labels [N, C] of 1 and -1. A quarter of
the present training labels is not listed, and 1 % of the absent ones is. The true label takes the
place of each unlisted one whose left-out logit is above 0, as people would decide who see the
picture. Then the heads are fitted again: on the known labels alone, and as the package does it.
"""

import argparse
from unittest import mock

import numpy as np

from pumlc.metrics import mean_average_precision
from pumlc.vision.config import DataConfig, LossConfig, ModelConfig, TrainConfig, VisionConfig
from pumlc.vision.frozen import fit

CONFIG = VisionConfig(
    data=DataConfig(name="coco", root="."),
    model=ModelConfig(backbone="test_resnet"),
    loss=LossConfig(name="auto"),
    train=TrainConfig(epochs=1, batch_size=1, learning_rate=1.0),
    heads="auto",
)
MISSED, INVENTED = 0.25, 0.01


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("features")
    options = parser.parse_args()
    with np.load(options.features) as archive:
        data = {name: archive[name] for name in archive.files}
    rows = []
    for seed in range(3):
        random, true = np.random.RandomState(seed), data["train_labels"]
        given = np.where((true == 1) & (random.rand(*true.shape) >= MISSED), 1, 0)
        given[(true != 1) & (random.rand(*true.shape) < INVENTED)] = 1
        given = given.astype(np.int8)
        before = fit.fit_heads(data["train"], given, CONFIG)
        decided = (given == 0) & (before.left_out_logits > 0)
        given[decided] = true[decided]
        after = fit.fit_heads(data["train"], given, CONFIG)
        with mock.patch.object(fit, "as_listed", lambda labels, observation: labels):
            known_alone = fit.fit_heads(data["train"], given, CONFIG)
        fitted = (before, known_alone, after)
        rows.append([number for heads in fitted for number in _measured(heads, data)])
        print(f"seed {seed}: {decided.sum()} decisions, {(given == -1).sum()} of them absent")
    print("mAP and F1 at 0.5 before, on known labels alone, as the package does it")
    print("mean", np.mean(rows, axis=0).round(1), "standard deviation", np.std(rows, 0).round(1))


def _measured(heads: fit.FittedHeads, data: dict[str, np.ndarray]) -> tuple[float, float]:
    """Test mAP over the classes with a positive, and F1 over all labels, in percent."""
    logits, true = data["test"] @ heads.coefficients + heads.intercept, data["test_labels"] == 1
    found = logits > 0
    f1 = 200 * (found & true).sum() / (found.sum() + true.sum())
    return mean_average_precision(logits, data["test_labels"], definition="sklearn"), float(f1)


if __name__ == "__main__":
    main()
