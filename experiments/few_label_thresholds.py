"""When is a threshold of its own worth it for a class? Measured on training labels alone.

    python experiments/few_label_thresholds.py FROZEN_RUN ...

Thresholds are fitted on the left-out logits of one half of the training rows, and measured on the
other half: one of all classes, one of each class, and one of each class with at least N present and
N absent labels. The table has OF1 and CF1_macro in percent, means over halves.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.special import expit

import pumlc
from pumlc.metrics import fit_thresholds, precision_recall_f1
from pumlc.tables import table
from pumlc.vision.data.split import read_split
from pumlc.vision.predictor import VisionPredictor

LEAST = (1, 2, 5, 10, 20)


def measure(probabilities: np.ndarray, labels: np.ndarray, seed: int) -> list[tuple[float, float]]:
    """OF1 and CF1_macro with one threshold, then with those of each of `LEAST`."""
    order = np.random.RandomState(seed).permutation(len(labels))
    fitted, judged = order[: len(order) // 2], order[len(order) // 2 :]
    fewer = np.minimum(*((labels[fitted] == sign).sum(axis=0) for sign in (1, -1)))
    one = fit_thresholds(probabilities[fitted], labels[fitted], per_class=False)
    each = fit_thresholds(probabilities[fitted], labels[fitted], per_class=True)
    tried = [np.full(labels.shape[1], one), *(np.where(fewer < n, one, each) for n in LEAST)]
    found = []
    for thresholds in tried:
        # labels decide at 0.5: the same decisions as at thresholds of their own
        decided = (probabilities[judged] >= thresholds).astype(np.float64)
        figures = precision_recall_f1(decided, labels[judged], threshold=0.5)
        found.append((figures["OF1"], figures["CF1_macro"]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--halves", type=int, default=20)
    options = parser.parse_args()
    rows = []
    for run in options.runs:
        predictor = pumlc.load(run)
        assert isinstance(predictor, VisionPredictor)
        labels = read_split(predictor.config.data, "train").labels
        probabilities = expit(np.load(run / "left_out.npy").astype(np.float64))
        halves = [measure(probabilities, labels, seed) for seed in range(options.halves)]
        means = np.mean(halves, axis=0)
        rows.append([run.name, len(labels), *(f"{o:.1f} / {c:.1f}" for o, c in means)])
    print(table(["run", "rows", "one", *(f"own from {n}" for n in LEAST)], rows))


if __name__ == "__main__":
    main()
