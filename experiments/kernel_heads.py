"""Heads by least squares with and without a Gaussian kernel: mAP on complete test labels.

    python experiments/kernel_heads.py FEATURES.npz ... [--known 0.5] [--seeds 0 1 2]

A file holds train, train_labels, test and test_labels, as for audit_order.py. The classes are those
with five positives in train and in test. A line is one draw of the known labels: mAP of linear
heads, of their mean with the kernel, and of ``kernel="auto"``, which takes that mean where left-out
cross entropy says that it is better.
"""

import argparse
from pathlib import Path

import numpy as np

from pumlc.estimators import fit_kernel_heads
from pumlc.labels import keep_proportion
from pumlc.metrics import average_precision

POSITIVES = 5
"""A class needs so many in train and in test."""


def measured(features: np.lib.npyio.NpzFile, known: float, seed: int) -> tuple[str, bool]:
    """The three figures in percent, and whether "auto" takes the kernel."""
    counts = [(features[name] == 1).sum(0) for name in ("train_labels", "test_labels")]
    classes = np.minimum(*counts) >= POSITIVES
    given = keep_proportion(features["train_labels"][:, classes], known, seed=seed)
    truth = features["test_labels"][:, classes]
    auto = fit_kernel_heads(features["train"], given, kernel="auto")
    taken = auto.gaussian_part() is not None
    both = auto if taken else fit_kernel_heads(features["train"], given, kernel="both")
    scores = (heads.scores(features["test"]) for heads in (auto.linear, both, auto))
    figures = [100 * np.nanmean(average_precision(each, truth)) for each in scores]
    return " / ".join(f"{figure:.2f}" for figure in figures), taken


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--known", type=float, default=0.5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    for file in options.files:
        features = np.load(file)
        for seed in options.seeds:
            figures, taken = measured(features, options.known, seed)
            what = "taken" if taken else "not taken"
            print(f"{file.stem}, {options.known:.0%} known, seed {seed}: {figures}, {what}")


if __name__ == "__main__":
    main()
