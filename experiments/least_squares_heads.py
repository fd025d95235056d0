"""Closed-form heads on frozen features, and what was tried beside them.

    python experiments/least_squares_heads.py --data voc2007 --root VOCdevkit
    python experiments/least_squares_heads.py --data csv --csv corel5k/labels.csv --root corel5k \\
        --classes frequent
    python experiments/least_squares_heads.py --data coco2017 --root coco --variants all \\
        --conditions 0.1,0.3,1.0

A condition is the share of known labels, a pair of rates FN+FP at which complete labels are
flipped, or ``single`` (one positive per picture, the rest absent). The table has the mAP of the
test split with its complete labels: over the classes with five positives in train and in test, and
over all classes with one in test. Penalties are chosen by leave-one-out on the training labels that
are left. For flipped labels it also has the average precision of finding them by leave-one-out
scores. The last column is the leave-one-out squared error of the labels that are left, the mean
over classes. --mirror averages the features of a picture and of its mirror image.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from two_layers import mean_error

from pumlc.audit import score_finding
from pumlc.estimators import PENALTIES, fit_kernel_heads, fit_least_squares
from pumlc.estimators.kernel_heads import Kernel
from pumlc.labels import flip, keep_proportion, keep_single_positive
from pumlc.metrics import average_precision
from pumlc.tables import table
from pumlc.vision.config import DataConfig, ModelConfig
from pumlc.vision.frozen.features import frozen_features

Scores = tuple[np.ndarray, np.ndarray]
"""Leave-one-out scores of the training rows and scores of the test rows."""


def linear(train: np.ndarray, test: np.ndarray, labels: np.ndarray, **options: Any) -> Scores:
    heads = fit_least_squares(train, labels, **options)
    return heads.loo_scores, heads.scores(test)


def standardised(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean, spread = train.mean(0), train.std(0) + 1e-6
    return (train - mean) / spread, (test - mean) / spread


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def kernel(widths: tuple[float, ...], with_linear: bool) -> Callable[..., Scores]:
    """Ridge regression with the sum of kernels exp(-width (1 - cosine)), and the linear one."""

    def fit(train: np.ndarray, test: np.ndarray, labels: np.ndarray) -> Scores:
        train, test = standardised(train, test)

        def similarity(rows: np.ndarray) -> np.ndarray:
            cosine = unit(rows) @ unit(train).T
            total = sum(np.exp(-width * (1 - cosine)) for width in widths)
            return total + rows @ train.T / train.shape[1] if with_linear else np.asarray(total)

        values, vectors = np.linalg.eigh(similarity(train))
        kept = values > 1e-8 * values[-1]
        root = np.sqrt(values[kept])
        train_map, test_map = vectors[:, kept] * root, similarity(test) @ vectors[:, kept] / root
        mean = train_map.mean(0)
        return linear(train_map - mean, test_map - mean, labels, standardize=False)

    return fit


def neighbour_vote(
    train: np.ndarray,
    test: np.ndarray,
    labels: np.ndarray,
    *,
    leave_out: np.ndarray | None = None,
    count: int = 25,
) -> np.ndarray:
    """Mean label of the nearest known rows, weighted by cosine, shrunk to the class's mean.

    If the test rows are those of train, ``leave_out`` has their groups; rows of the own group do
    not vote.
    """
    similarity = unit(test) @ unit(train).T
    if leave_out is not None:
        similarity[leave_out[:, None] == leave_out] = -np.inf
    votes = np.zeros((len(test), labels.shape[1]))
    for c, label in enumerate(labels.T):
        known = np.flatnonzero(label)
        if not len(known):
            continue
        own = similarity[:, known]
        nearest = np.argpartition(-own, min(count, len(known)) - 1, axis=1)[:, :count]
        weight = np.exp(4 * (np.take_along_axis(own, nearest, axis=1) - 1))
        prior = weight.mean() * label[known].mean()
        votes[:, c] = (weight * label[known][nearest]).sum(1) + prior
        votes[:, c] /= weight.sum(1) + weight.mean()
    return votes


def with_neighbours(share: float) -> Callable[..., Scores]:
    def fit(train: np.ndarray, test: np.ndarray, labels: np.ndarray) -> Scores:
        own, others = linear(train, test, labels)
        train, test = standardised(train, test)
        vote = neighbour_vote(train, train, labels, leave_out=np.arange(len(train)))
        return own + share * vote, others + share * neighbour_vote(train, test, labels)

    return fit


def with_other_labels(share: float) -> Callable[..., Scores]:
    """Add heads on the leave-one-out scores of all classes: label co-occurrence."""

    def fit(train: np.ndarray, test: np.ndarray, labels: np.ndarray) -> Scores:
        own, others = linear(train, test, labels)
        stacked, stacked_test = linear(own, others, labels)
        return own + share * stacked, others + share * stacked_test

    return fit


def transformed(change: Callable[[np.ndarray], np.ndarray]) -> Callable[..., Scores]:
    return lambda train, test, labels: linear(change(train), change(test), labels)


def spectral_rows(
    train: np.ndarray, test: np.ndarray, power: float
) -> tuple[np.ndarray, np.ndarray]:
    """Standardised features, their principal directions scaled: a power below 1 whitens."""
    train, test = standardised(train, test)
    values, vectors = np.linalg.eigh(train.T @ train / len(train))
    scale = np.maximum(values, 1e-3 * values[-1]) ** ((power - 1) / 2)
    change = (vectors * scale) @ vectors.T
    return train @ change, test @ change


def spectral(power: float) -> Callable[..., Scores]:
    def fit(train: np.ndarray, test: np.ndarray, labels: np.ndarray) -> Scores:
        return linear(*spectral_rows(train, test, power), labels, standardize=False)

    return fit


def second_moment_of_all(share: float) -> Callable[..., Scores]:
    """The PNU risk with the squared loss: unknown rows take part in the second moment.

    min sum_i q_i f_i^2 - 2 b_i f_i + penalty |theta|^2, with b = t and q = 1 - e + e r for known
    rows, b = 0 and q = e r for unknown ones; e: ``share``, r: share of known rows (du Plessis et
    al. 2015, Sakai et al. 2017). Left out: f_-i = (f_i - b_i a_i) / (1 - q_i a_i) with
    a = phi A^-1 phi.
    """

    def fit(train: np.ndarray, test: np.ndarray, labels: np.ndarray) -> Scores:
        train, test = standardised(train, test)
        phi, phi_test = (
            np.hstack([part / np.sqrt(train.shape[1]), np.ones((len(part), 1))])
            for part in (train, test)
        )
        left_out = np.zeros((len(PENALTIES), *labels.shape))
        scores = np.zeros((len(PENALTIES), len(test), labels.shape[1]))
        for c, label in enumerate(labels.T.astype(np.float64)):
            known = label != 0
            quadratic = np.where(known, 1 - share, 0) + share * known.mean()
            values, vectors = np.linalg.eigh((phi * quadratic[:, None]).T @ phi)
            rows, rows_test = phi @ vectors, phi_test @ vectors
            for place, penalty in enumerate(PENALTIES):
                inverse = 1 / (np.maximum(values, 0) + penalty)
                theta, leverage = inverse * (rows.T @ label), rows**2 @ inverse
                scores[place, :, c] = rows_test @ theta
                left_out[place, :, c] = (rows @ theta - label * leverage) / (
                    1 - quadratic * leverage
                )
        errors = np.where(labels != 0, (left_out - labels) ** 2, 0).sum(1)
        judged = (labels == 1).any(0) & (labels == -1).any(0)
        best = np.argmin((errors / errors.min(0))[:, judged].mean(1))
        return left_out[best], scores[best]

    return fit


def with_gaussian(choice: Kernel) -> Callable[..., Scores]:
    """The heads of the package: the mean of linear heads and of a Gaussian kernel."""

    def fit(train: np.ndarray, test: np.ndarray, labels: np.ndarray) -> Scores:
        heads = fit_kernel_heads(train, labels, kernel=choice)
        return heads.loo_scores, heads.scores(test)

    return fit


VARIANTS: dict[str, Callable[..., Scores]] = {
    "linear": linear,
    "mean with a Gaussian kernel": with_gaussian("both"),
    "that mean where it proves better": with_gaussian("auto"),
    "kernel exp(-(1 - cos))": kernel((1.0,), with_linear=False),
    "kernel exp(-2 (1 - cos))": kernel((2.0,), with_linear=False),
    "linear + kernel exp(-2 (1 - cos))": kernel((2.0,), with_linear=True),
    "linear + 0.25 vote of 25 neighbours": with_neighbours(0.25),
    "linear + 1 vote of 25 neighbours": with_neighbours(1.0),
    "linear + 0.3 heads on all labels' scores": with_other_labels(0.3),
    "square roots of the features": transformed(lambda x: np.sign(x) * np.sqrt(np.abs(x))),
    "features of unit length": transformed(unit),
    "spectrum ** 0.8": spectral(0.8),
    "spectrum ** 1.2": spectral(1.2),
    "unknown rows at share 0.01": second_moment_of_all(0.01),
    "unknown rows at share 0.25": second_moment_of_all(0.25),
    "unknown rows at share 1": second_moment_of_all(1.0),
}


def changed(labels: np.ndarray, condition: str, seed: int) -> np.ndarray:
    """The labels that training sees."""
    if condition == "single":
        return np.where(keep_single_positive(labels, seed=seed) == 1, 1, -1).astype(np.int8)
    if "+" in condition:
        negative, positive = map(float, condition.split("+"))
        return flip(labels, false_negative=negative, false_positive=positive, seed=seed)
    return keep_proportion(labels, float(condition), seed=seed)


def figures(scores: Scores, given: np.ndarray, data: dict[str, np.ndarray]) -> list[float]:
    """mAP of frequent and of all classes; AP of wrong negatives and positives, if any; error."""
    each = 100 * average_precision(scores[1], data["test_labels"])
    result = [float(np.nanmean(each[data["frequent"]])), float(np.nanmean(each))]
    for sign in ("negative", "positive"):
        wrong = (given == {"negative": -1, "positive": 1}[sign]) & (data["train_labels"] == -given)
        found = {"AP": np.nan}
        if wrong.any() and (given != 0).all():
            found = score_finding(scores[0], given, data["train_labels"], given=sign)
        result.append(found["AP"])
    return [*result, mean_error(scores[0], given)]


def read(options: argparse.Namespace) -> dict[str, np.ndarray]:
    settings: dict[str, Any] = {"name": options.data, "root": options.root}
    if options.csv:
        settings |= {"csv": options.csv, "unlisted": "negative"}
    model = ModelConfig(backbone=options.backbone, weights=options.weights, mirror=options.mirror)
    train, test = (
        frozen_features(DataConfig(**settings), model, split, options.cache)
        for split in ("train", "test")
    )
    enough = [(part.labels == 1).sum(0) for part in (train, test)]
    frequent = (enough[0] >= 5) & (enough[1] >= 5)
    columns = frequent if options.classes == "frequent" else enough[1] > 0
    return {
        "train": train.features,
        "test": test.features,
        "train_labels": train.labels[:, columns],
        "test_labels": test.labels[:, columns],
        "frequent": frequent[columns],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Closed-form heads on frozen features.")
    parser.add_argument("--data", required=True, help="voc2007, coco2017, csv ...")
    parser.add_argument("--root", required=True)
    parser.add_argument("--csv")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--weights", default="pip")
    parser.add_argument("--mirror", action="store_true")
    parser.add_argument("--cache", type=Path, default=Path("features"))
    parser.add_argument("--classes", choices=("test", "frequent"), default="test")
    parser.add_argument("--conditions", default="0.1,0.3,0.5,1.0")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--variants", default="linear", help="names, comma separated, or all")
    options = parser.parse_args()
    data = read(options)
    names = list(VARIANTS) if options.variants == "all" else options.variants.split(",")
    rows = []
    for condition in options.conditions.split(","):
        for name in names:
            results = []
            for seed in range(1 if condition in ("1", "1.0") else options.seeds):
                given = changed(data["train_labels"], condition, seed)
                scores = VARIANTS[name](data["train"], data["test"], given)
                results.append(figures(scores, given, data))
            mean = [None if np.isnan(value) else float(value) for value in np.mean(results, axis=0)]
            rows.append([condition, name, *mean[:-1], f"{mean[-1]:.4f}"])
    figures_of = ["frequent", "all", "wrong absent", "wrong present", "error"]
    print(table(["condition", "heads", *figures_of], rows))


if __name__ == "__main__":
    main()
