"""Heads by least squares with and without a Gaussian kernel: mAP on complete test labels.

    python experiments/kernel_heads.py FEATURES.npz ... [--known 0.5] [--seeds 0 1 2]
    python experiments/kernel_heads.py FEATURES.npz ... --known 1 --seeds 0 --landmarks 250 500
    python experiments/kernel_heads.py FEATURES.npz ... --known 1 --seeds 0 --all
    python experiments/kernel_heads.py FEATURES.npz ... --known 1 --seeds 0 --flip 0.2 0.02

A file holds train, train_labels, test and test_labels, as for audit_order.py. The classes are those
with five positives in train and in test. A line is one draw of the known labels: mAP of linear
heads, of their mean with the kernel, and of ``kernel="auto"``, which takes that mean where left-out
cross entropy says that it is better. With --landmarks it is the mAP of linear heads and of the mean
with each number of landmarks. With --all the classes are all with a positive in test; the line has
the gain of the mean in AP, with its standard error over the classes, and the same over the classes
with ten positives in train. With --flip a share of the present labels is given as absent, and one
of the absent ones as present; the line then has `fit_noisy_labels` as a fourth figure, and what it
chose.
"""

import argparse
from pathlib import Path

import numpy as np

from pumlc.estimators import LeastSquares, fit_kernel_heads, fit_noisy_labels
from pumlc.estimators.kernel_heads import Kernel, KernelHeads
from pumlc.labels import flip, keep_proportion
from pumlc.metrics import average_precision

POSITIVES = 5
"""A class needs so many in train and in test."""
OFTEN = 10
"""The classes of the last figure of --all have so many positives in train."""


class Draw:
    """One draw of the known labels of some classes."""

    def __init__(
        self, features: np.lib.npyio.NpzFile, classes: np.ndarray, known: float, seed: int
    ):
        self.train, self.test = features["train"], features["test"]
        labels = features["train_labels"][:, classes]
        self.positives = (labels == 1).sum(0)
        self.given = keep_proportion(labels, known, seed=seed)
        self.truth = features["test_labels"][:, classes]

    def fit(self, kernel: Kernel, landmarks: int | None = None) -> KernelHeads:
        return fit_kernel_heads(self.train, self.given, kernel=kernel, landmarks=landmarks)

    def each(self, heads: LeastSquares | KernelHeads) -> np.ndarray:
        """AP of each class in percent."""
        return 100 * average_precision(heads.scores(self.test), self.truth)

    def choice(self) -> str:
        """mAP of the three heads, and whether "auto" takes the kernel."""
        auto = self.fit("auto")
        taken = auto.gaussian_part() is not None
        both = auto if taken else self.fit("both")
        figures = [np.nanmean(self.each(heads)) for heads in (auto.linear, both, auto)]
        shown = " / ".join(f"{figure:.2f}" for figure in figures)
        return f"{shown}, {'taken' if taken else 'not taken'}"

    def sizes(self, numbers: list[int]) -> str:
        """mAP of linear heads, and of the mean with so many landmarks."""
        heads = {f"{number} landmarks": self.fit("both", number) for number in numbers}
        found = {"linear": heads[f"{numbers[0]} landmarks"].linear, **heads}
        return ", ".join(f"{name} {np.nanmean(self.each(one)):.2f}" for name, one in found.items())

    def doubted(self, wrong: list[float], seed: int) -> str:
        """The line of `choice` after some labels were flipped, and heads that doubt labels."""
        missed, invented = wrong
        self.given = flip(self.given, false_negative=missed, false_positive=invented, seed=seed)
        heads = fit_noisy_labels(self.train, self.given)
        figure = np.nanmean(self.each(heads))
        return f"{self.choice()}; doubted {figure:.2f}, by labels {heads.chosen}"

    def gains(self) -> str:
        """What the mean with the kernel gains over all classes, and over those with many labels."""
        both = self.fit("both")
        change = self.each(both) - self.each(both.linear)
        parts = {"all": ~np.isnan(change), f"{OFTEN} positives and more": self.positives >= OFTEN}
        return "; ".join(
            f"{name} ({part.sum()} classes): {change[part].mean():+.2f} +- "
            f"{change[part].std(ddof=1) / np.sqrt(part.sum()):.2f}"
            for name, part in parts.items()
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--known", type=float, default=0.5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--landmarks", type=int, nargs="+")
    parser.add_argument("--all", action="store_true", help="all classes with a positive in test")
    parser.add_argument("--flip", type=float, nargs=2, metavar=("PRESENT", "ABSENT"))
    options = parser.parse_args()
    for file in options.files:
        features = np.load(file)
        in_train, in_test = ((features[f"{part}_labels"] == 1).sum(0) for part in ("train", "test"))
        frequent = np.minimum(in_train, in_test) >= POSITIVES
        for seed in options.seeds:
            draw = Draw(features, in_test > 0 if options.all else frequent, options.known, seed)
            if options.all:
                line = draw.gains()
            elif options.flip:
                line = draw.doubted(options.flip, seed)
            else:
                line = draw.sizes(options.landmarks) if options.landmarks else draw.choice()
            print(f"{file.stem}, {options.known:.0%} known, seed {seed}: {line}", flush=True)


if __name__ == "__main__":
    main()
