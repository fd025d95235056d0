"""Heads on the features of two layers, beside heads on those of the last one.

    python experiments/two_layers.py --data voc2007 --root VOCdevkit
    python experiments/two_layers.py --data csv --csv corel5k/labels.csv --root corel5k

The earlier layers are stages of tf_efficientnet_lite0, pooled as the last one is: averaged over the
picture. "beside" puts both into one row of features, each part standardised and of the same mean
squared length. "mean" averages the scores of heads on each. The table has the leave-one-out squared
error on known labels (the mean over classes), which could decide, and the mAP of the test split
over frequent classes / all classes with a positive in test.
"""

import argparse
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pumlc.estimators import LeastSquares, fit_least_squares
from pumlc.labels import keep_proportion
from pumlc.metrics import average_precision
from pumlc.tables import table
from pumlc.vision.config import DataConfig, ModelConfig
from pumlc.vision.data.split import read_split
from pumlc.vision.frozen.features import frozen_network, pooled_features

STAGES = (2, 4, 5, 6)
"""Stages of the network: 40, 112, 192 and 320 channels; the last layer has 1,280."""


def features_of_layers(data: DataConfig, weights: str, split: str) -> tuple[list[np.ndarray], Any]:
    """Pooled features of `STAGES` and of the last layer, and the pictures."""
    network = frozen_network(data, ModelConfig(backbone="tf_efficientnet_lite0", weights=weights))
    found: list[Tensor] = []
    for stage in STAGES:
        network.backbone.blocks[stage].register_forward_hook(
            lambda module, inputs, output: found.append(output.mean((2, 3)))
        )
    pooled = network.pooled

    def all_layers(images: Tensor) -> Tensor:
        found.clear()
        last = pooled(images)
        return torch.cat([*found, last], dim=1)

    network.pooled = all_layers  # pyright: ignore[reportAttributeAccessIssue]
    images = read_split(data, split)
    rows = pooled_features(network, images, batch_size=64)
    widths = [each.shape[1] for each in found]
    return np.split(rows, np.cumsum(widths), axis=1), images


def beside(parts: list[np.ndarray], like: list[np.ndarray]) -> np.ndarray:
    """Parts standardised as ``like``, each with a mean squared length of 1."""
    return np.hstack(
        [
            (part - own.mean(0)) / (own.std(0) + 1e-6) / np.sqrt(part.shape[1])
            for part, own in zip(parts, like, strict=True)
        ]
    )


def mean_error(scores: np.ndarray, labels: np.ndarray) -> float:
    """Squared error of left-out scores on the known labels, the mean over classes with both."""
    judged = (labels == 1).any(0) & (labels == -1).any(0)
    known = labels != 0
    errors = np.where(known, (scores - labels) ** 2, 0).sum(0) / np.maximum(known.sum(0), 1)
    return float(errors[judged].mean())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", required=True, help="voc2007, coco2017, csv ...")
    parser.add_argument("--root", required=True)
    parser.add_argument("--csv")
    parser.add_argument("--weights", default="pip")
    parser.add_argument("--known", default="0.1,0.3,1.0")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    settings: dict[str, Any] = {"name": options.data, "root": options.root}
    if options.csv:
        settings |= {"csv": options.csv, "unlisted": "negative"}
    config = DataConfig(**settings)
    train, train_images = features_of_layers(config, options.weights, "train")
    test, test_images = features_of_layers(config, options.weights, "test")
    enough = [(part.labels == 1).sum(0) for part in (train_images, test_images)]
    measured = enough[1] > 0
    frequent = ((enough[0] >= 5) & (enough[1] >= 5))[measured]
    labels, truth = (part.labels[:, measured] for part in (train_images, test_images))
    rows = []
    for known in map(float, options.known.split(",")):
        found: dict[str, list[list[float]]] = {}
        for seed in range(options.seeds if known < 1 else 1):
            given = keep_proportion(labels, known, seed=seed)
            fits: dict[str, tuple[np.ndarray, np.ndarray]] = {}

            def fit(name: str, own: np.ndarray, other: np.ndarray, **more: Any) -> LeastSquares:
                heads = fit_least_squares(own, given, **more)  # noqa: B023 (called in this round)
                fits[name] = heads.loo_scores, heads.scores(other)  # noqa: B023
                return heads

            fit("last layer", train[-1], test[-1])
            for place, stage in enumerate(STAGES):
                of_both = [train[place], train[-1]], [test[place], test[-1]]
                both = [beside(parts, of_both[0]) for parts in of_both]
                fit(f"stage {stage} beside", *both, standardize=False)
                own = fit_least_squares(train[place], given)
                fits[f"stage {stage}, mean"] = (
                    (own.loo_scores + fits["last layer"][0]) / 2,
                    (own.scores(test[place]) + fits["last layer"][1]) / 2,
                )
            for name, (left_out, scores) in fits.items():
                each = 100 * average_precision(scores, truth)
                figures = [float(np.nanmean(each[frequent])), float(np.nanmean(each))]
                found.setdefault(name, []).append([mean_error(left_out, given), *figures])
        for name, figures in found.items():
            error, some, everything = np.mean(figures, axis=0)
            rows.append([f"{known:.0%}", name, f"{error:.4f}", f"{some:.1f} / {everything:.1f}"])
    heads = ["known", "features", "left-out error", "mAP, frequent / all"]
    print(table(heads, rows))


if __name__ == "__main__":
    main()
