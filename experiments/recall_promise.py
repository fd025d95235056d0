"""Is the promise of `pumlc predict --recall 0.9` kept? Coverage over many draws of masks.

    python experiments/recall_promise.py FEATURES.npz ... [--draws 1000] [--halves 200]
    python experiments/recall_promise.py FEATURES.npz --cells 0.5-hard 1       # these rows alone

A file holds train, train_labels, test and test_labels, as for audit_order.py; both splits together
are the pictures here, so that nothing but the draw is at random. 10 or 50 % of the present labels
are known, drawn at random; least squares are fitted with all others taken for absent, and each
picture is scored by the fit without it. A class with 29 known present labels gets the threshold
that finds 90 % of its true tags with confidence 95 %. Coverage: the share of draws and classes in
which it finds 90 % of all true tags, known and hidden. With 100 % a random half of the pictures has
all of its labels known, the fit on it scores the other half, and the true tags of both count.

"hard": a tag is the more likely to be known the higher its score is (by its rank, linearly), so
that tags are missing because they are hard to see. Then nothing is promised.

The penalty is the package's choice on the first draw; leave-one-out is checked against it there.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from pumlc.estimators import fit_least_squares
from pumlc.metrics import positives_needed, recall_thresholds

RECALL, CONFIDENCE = 0.9, 0.95
NEEDED = positives_needed(recall=RECALL, confidence=CONFIDENCE)
CELLS = ("0.1", "0.1-hard", "0.5", "0.5-hard", "1")


class LeftOut:
    """Leave-one-out scores of the same pictures for many label matrices: one decomposition."""

    def __init__(self, features: np.ndarray, penalty: float) -> None:
        inputs = (features - features.mean(0)) / np.maximum(features.std(0), 1e-12)
        inputs = np.c_[inputs / np.sqrt(inputs.shape[1]), np.ones(len(inputs))]
        basis, lengths, _ = np.linalg.svd(inputs, full_matrices=False)
        self.basis = basis.astype(np.float32)
        self.shrink = (lengths**2 / (lengths**2 + penalty)).astype(np.float32)[:, None]
        self.leverage = ((basis**2) @ self.shrink).astype(np.float32)

    def scores(self, listed: np.ndarray) -> np.ndarray:
        """[N, C] for listed (True) and other labels."""
        targets = np.where(listed, 1, -1).astype(np.float32)
        fitted = self.basis @ (self.shrink * (self.basis.T @ targets))
        return (fitted - self.leverage * targets) / (1 - self.leverage)


class Kept(NamedTuple):
    """How often a promise was kept, and for how many classes it was made."""

    classes: list[int]
    kept: list[float]
    recalls: list[float]

    def add(self, scores: np.ndarray, known: np.ndarray, present: np.ndarray) -> None:
        """Judge the classes with enough known present labels of one draw."""
        thresholds = recall_thresholds(scores, known * 1, recall=RECALL, confidence=CONFIDENCE)
        served = np.isfinite(thresholds)
        found = ((scores >= thresholds) & present).sum(0) / np.maximum(present.sum(0), 1)
        self.classes.append(int(served.sum()))
        self.kept.extend((found[served] >= RECALL - 1e-12).tolist())
        self.recalls.extend(found[served].tolist())

    def __str__(self) -> str:
        if not self.kept:
            return "no class has enough known labels"
        return (
            f"coverage {100 * np.mean(self.kept):.2f} %, recall {100 * np.mean(self.recalls):.1f} %"
            f" (5 % of them below {100 * np.percentile(self.recalls, 5):.1f}), "
            f"{np.mean(self.classes):.1f} classes served, {len(self.kept)} classes and draws"
        )


def masks(
    features: np.ndarray, present: np.ndarray, share: float, draws: int, *, hard: bool
) -> Kept:
    """Over draws of which present labels are known."""
    random = np.random.RandomState(0)
    chance = np.full(present.shape, share)
    if hard:
        scores = fit_least_squares(features, np.where(present, 1, -1)).loo_scores
        for column in range(present.shape[1]):
            rows = present[:, column]
            ranks = rankdata(scores[rows, column]) - 0.5
            chance[rows, column] = np.minimum(2 * share * ranks / max(len(ranks), 1), 1)
    first = present & (random.rand(*present.shape) < chance)
    package = fit_least_squares(features, np.where(first, 1, -1))
    left_out = LeftOut(features, package.penalty)
    assert np.abs(left_out.scores(first) - package.loo_scores).max() < 5e-3
    result = Kept([], [], [])
    for _ in range(draws):
        known = present & (random.rand(*present.shape) < chance)
        enough = known.sum(axis=0) >= NEEDED
        result.add(left_out.scores(known[:, enough]), known[:, enough], present[:, enough])
    return result


def halves(features: np.ndarray, present: np.ndarray, draws: int) -> Kept:
    """Over draws of which half of the pictures is known."""
    random = np.random.RandomState(0)
    result = Kept([], [], [])
    for _ in range(draws):
        half = random.permutation(len(features)) < len(features) // 2
        enough = present[half].sum(axis=0) >= NEEDED
        heads = fit_least_squares(features[half], np.where(present[half][:, enough], 1, -1))
        scores = heads.scores(features)
        scores[half] = heads.loo_scores
        known = present[:, enough] & half[:, None]
        result.add(scores, known, present[:, enough])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--halves", type=int, default=200, help="draws with 100 %% known")
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=CELLS, help="share known")
    options = parser.parse_args()
    for file in options.files:
        with np.load(file) as arrays:
            features = np.concatenate([arrays["train"], arrays["test"]])
            present = np.concatenate([arrays["train_labels"], arrays["test_labels"]]) == 1
        _, first = np.unique(
            features, axis=0, return_index=True
        )  # equal ones are left out together
        features, present = features[np.sort(first)], present[np.sort(first)]
        print(f"{file.stem}: {len(features)} pictures, {present.shape[1]} classes", flush=True)
        for cell in options.cells:
            share, _, hard = cell.partition("-")
            if share == "1":
                kept = halves(features, present, options.halves)
            else:
                kept = masks(features, present, float(share), options.draws, hard=bool(hard))
            what = f"{100 * float(share):g} % known"
            print(f"  {what}{', hard' if hard else ''}: {kept}", flush=True)


if __name__ == "__main__":
    main()
