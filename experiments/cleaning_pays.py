"""Whether it pays to look at suspects: train on noisy, corrected and clean labels, test on clean.

    python experiments/cleaning_pays.py FEATURES.npz ... [--seeds 0 1 2]

A file holds train, train_labels, test and test_labels, as for audit_order.py. Labels of train are
flipped. Then a person, who is always right here, decides on the first labels of an order: that of
`pumlc audit --folds` (estimated probability of being wrong), that of cleanlab's self-confidence
(5-fold logistic regression, C 1e-3), or a random one. Heads by least squares are trained on the
result. The mAP of the test split is printed, in percent, over the classes with five positives in
both splits.
"""

import argparse
from pathlib import Path

import numpy as np
from audit_order import NOISE, self_confidence

from pumlc.audit.left_out import left_out_scores
from pumlc.audit.noise_model import fit_noise_model
from pumlc.estimators import fit_least_squares
from pumlc.labels import flip
from pumlc.metrics import mean_average_precision

DECISIONS = (100, 300, 1000)


def figures(
    arrays: dict[str, np.ndarray], noise: tuple[float, float], seed: int
) -> dict[str, float]:
    """Name of a training set -> mAP."""
    features, truth = arrays["train"], arrays["train_labels"]
    labels = flip(truth, false_negative=noise[0], false_positive=noise[1], seed=seed)
    frequent = (
        np.minimum(*((arrays[f"{s}_labels"] == 1).sum(axis=0) for s in ("train", "test"))) >= 5
    )

    def quality(of: np.ndarray) -> float:
        heads = fit_least_squares(features, of)
        return mean_average_precision(
            heads.scores(arrays["test"])[:, frequent],
            arrays["test_labels"][:, frequent],
            definition="sklearn",
        )

    model = fit_noise_model(left_out_scores(features, labels), labels)
    confident = self_confidence(features, labels, seed)
    orders = {
        "pumlc": model.wrong,
        "cleanlab": np.where(labels == 1, 1 - confident, confident),
        "random": np.random.RandomState(seed).rand(*labels.shape),
    }
    found = {"noisy": quality(labels)}
    found["suspects of 50 % hidden"] = quality(np.where(model.wrong >= 0.5, 0, labels))
    for name, suspicion in orders.items():
        order = np.argsort(-suspicion, axis=None, kind="stable")
        for number in DECISIONS:
            decided = labels.copy()
            decided.flat[order[:number]] = truth.flat[order[:number]]
            found[f"{number} decisions, {name}"] = quality(decided)
    found["clean"] = quality(truth)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    for file in options.files:
        with np.load(file) as content:
            names = ("train", "train_labels", "test", "test_labels")
            arrays = {name: content[name] for name in names}
        for noise in NOISE:
            runs = [figures(arrays, noise, seed) for seed in options.seeds]
            print(f"{file.stem} {noise}, {len(runs)} seeds")
            for name in runs[0]:
                values = [run[name] for run in runs]
                spread = np.std(values, ddof=len(values) > 1)
                print(f"  {name:28} {np.mean(values):.1f} +- {spread:.1f}", flush=True)


if __name__ == "__main__":
    main()
