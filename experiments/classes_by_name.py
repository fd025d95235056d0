"""Classes of pictures that no training picture has, found by their names.

    python experiments/classes_by_name.py FEATURES.npz ... [--share 0.1] [--draws 3]

A file holds train, train_labels, test, test_labels (1 present, 0 absent, -1 unknown) and classes,
as for audit_order.py. A tenth of the classes is held out of training. A linear map goes from the
frozen features of a picture to the embedding of a class name (`pumlc.estimators.label_map`, MiniLM
without training); a held-out class is scored by its name.

The labels of a class are divided by a power of its number of pictures, 0 or 1/2. Power and both
penalties are chosen by classes that are held out of those that are left (mean AP of their
training pictures, each by the fit without it); test labels choose nothing. The tables have, for the
new classes on the test pictures: mean AP over the classes, by the map, by the least-squares head of
the seen class with the nearest name, and by chance (the share of pictures); and for pictures with a
new class, AP of their new classes ranked among the new classes and among all classes, where all are
scored by the map, and where those of training are scored by their own heads.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score, label_ranking_average_precision_score

from pumlc.estimators.label_map import described_targets
from pumlc.tables import table
from pumlc.text.config import EncoderConfig
from pumlc.text.data.tokens import tokenize
from pumlc.text.models.build import new_model
from pumlc.text.models.embedding import Embedder

RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
MAPS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
POWERS = (0.0, 0.5)


class Ridge:
    """Ridge regression of standardised features on any targets, with leave-one-out.

    Args:
        train: [N, F].
        test: [M, F].
    """

    def __init__(self, train: np.ndarray, test: np.ndarray) -> None:
        mean, spread = train.mean(0), np.maximum(train.std(0), 1e-12)
        scale = spread * np.sqrt(train.shape[1])
        inputs = np.c_[(train - mean) / scale, np.ones(len(train))].astype(np.float64)
        self.values, basis = np.linalg.eigh(inputs.T @ inputs)
        self.train = inputs @ basis
        self.test = np.c_[(test - mean) / scale, np.ones(len(test))] @ basis

    def fit(self, targets: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
        """Scores of the training rows, each by the fit without it, and of the test rows."""
        shrink = 1 / (np.maximum(self.values, 0) + penalty)
        weights = shrink[:, None] * (self.train.T @ targets)
        leverage = (self.train**2 @ shrink)[:, None]
        left_out = (self.train @ weights - leverage * targets) / (1 - leverage)
        return left_out, self.test @ weights


def embed_names(names: list[str]) -> np.ndarray:
    """float32 [C, D], of length 1."""
    model = new_model(EncoderConfig(model="pip"), labels_with_vector=0)
    embedder = Embedder(model.encoders, document_chunk=64, label_chunk=64)
    tokens = tokenize([name.replace("_", " ") for name in names], model.tokenizer, max_length=16)
    return embedder.label_texts(tokens)


def mean_ap(scores: np.ndarray, present: np.ndarray) -> float:
    """Over classes with a present label, in percent."""
    found = [
        average_precision_score(present[:, column], scores[:, column])
        for column in range(present.shape[1])
        if present[:, column].any()
    ]
    return 100 * float(np.mean(found))


def ranked_ap(scores: np.ndarray, present: np.ndarray) -> float:
    """Label ranking AP of pictures that have one of the labels, in percent."""
    rows = present.any(axis=1)
    return 100 * float(label_ranking_average_precision_score(present[rows], scores[rows]))


def balanced(present: np.ndarray, power: float) -> np.ndarray:
    """Labels divided by a power of the number of pictures of their class; 1 on average."""
    factors = present.sum(0) ** -power
    return present * (factors / factors.mean())


def choose(
    ridge: Ridge, present: np.ndarray, names: np.ndarray, random: np.random.Generator
) -> tuple[float, float, float]:
    """Penalty of ridge regression, that of the map and the power, by classes withheld here."""
    withheld = np.zeros(len(names), bool)
    withheld[random.choice(len(names), max(2, round(0.2 * len(names))), replace=False)] = True
    best: tuple[float, tuple[float, float, float]] | None = None
    for gamma, power in itertools.product(MAPS, POWERS):
        labels = balanced(present[:, ~withheld], power)
        targets = described_targets(labels, names[~withheld], gamma)
        for penalty in RIDGES:
            scores = ridge.fit(targets, penalty)[0] @ names[withheld].T
            value = mean_ap(scores, present[:, withheld])
            if best is None or value > best[0]:
                best = value, (penalty, gamma, power)
    assert best is not None
    return best[1]


def measure(data: dict[str, np.ndarray], names: np.ndarray, share: float, seed: int) -> list[float]:
    """One draw of new classes; see the module."""
    random = np.random.default_rng(seed)
    present, truth = data["train_labels"] == 1, data["test_labels"] == 1
    usable = np.flatnonzero(present.any(0) & truth.any(0))
    new = np.zeros(len(names), bool)
    new[random.choice(usable, max(2, round(share * len(usable))), replace=False)] = True
    seen = ~new & present.any(0)
    ridge = Ridge(data["train"], data["test"])
    penalty, gamma, power = choose(ridge, present[:, seen], names[seen], random)
    targets = described_targets(balanced(present[:, seen], power), names[seen], gamma)
    mapped = ridge.fit(targets, penalty)[1]
    heads = ridge.fit(present[:, seen].astype(np.float64), penalty)[1]
    nearest = np.argmax(names[new] @ names[seen].T, axis=1)
    by_map, unseen = mapped @ names.T, truth & new
    mixed = by_map.copy()
    mixed[:, seen] = heads
    listed = seen | new
    return [
        mean_ap(by_map[:, new], truth[:, new]),
        mean_ap(heads[:, nearest], truth[:, new]),
        100 * float(truth[:, new].mean(0)[truth[:, new].any(0)].mean()),
        ranked_ap(by_map[:, new], truth[:, new]),
        ranked_ap(heads[:, nearest], truth[:, new]),
        ranked_ap(by_map[:, listed], unseen[:, listed]),
        ranked_ap(mixed[:, listed], unseen[:, listed]),
    ]


COLUMNS = [
    "new classes: mAP by name",
    "nearest seen class",
    "chance",
    "AP among new, by name",
    "nearest seen class ",
    "AP among all, by name",
    "seen classes by their heads",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--draws", type=int, default=3)
    options = parser.parse_args()
    rows = []
    for file in options.files:
        with np.load(file) as content:
            data = dict(content)
        names = embed_names(data["classes"].tolist())
        results = [measure(data, names, options.share, seed) for seed in range(options.draws)]
        means, spreads = np.mean(results, axis=0), np.std(results, axis=0)
        cells = [f"{mean:.1f} ± {spread:.1f}" for mean, spread in zip(means, spreads, strict=True)]
        rows.append([file.stem, len(names), len(data["test"]), *cells])
    print(table(["data", "classes", "N", *COLUMNS], rows))


if __name__ == "__main__":
    main()
