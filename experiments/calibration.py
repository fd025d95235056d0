"""Are probabilities what they say? ECE on complete test labels, with part of the training labels.

    python experiments/calibration.py FEATURES.npz ... [--seeds 0 1 2] [--only positives]

A file holds train, train_labels, test and test_labels, as for audit_order.py. Of the training
labels a share is known: of all labels, or of the present ones, the rest being unknown. Heads by
least squares and their probabilities are those of `pumlc train --config frozen`. ECE over 15 bins
of equal mass, in percent, over the classes with a known label; and for positives alone the
estimated share of listed labels, and the ECE of probabilities that take unlisted for absent.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.special import expit

from pumlc.estimators import fit_least_squares
from pumlc.estimators.calibration import calibrate
from pumlc.estimators.class_calibration import calibrate_classes
from pumlc.estimators.fitted_labels import fitted_labels
from pumlc.labels import keep_proportion
from pumlc.metrics import expected_calibration_error

SHARES = (0.1, 0.5, 1.0)


def positives_alone(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """A share of the present labels; the rest is unknown."""
    drawn = np.random.RandomState(seed).rand(*labels.shape) < share
    return np.where((labels == 1) & drawn, 1, 0).astype(np.int8)


def figures(arrays: dict[str, np.ndarray], labels: np.ndarray) -> dict[str, float]:
    """What the probabilities of the test split are worth."""
    known = (labels != 0).any(axis=0)
    fitted = fitted_labels(labels)[:, known]
    heads = fit_least_squares(arrays["train"], fitted)
    scores, truth = heads.scores(arrays["test"]), arrays["test_labels"][:, known]
    ours = calibrate_classes(heads.loo_scores, labels[:, known])
    each = calibrate(heads.loo_scores, fitted, np.ones(len(labels)))
    return {
        "ECE": expected_calibration_error(expit(ours.slope * scores + ours.bias), truth),
        "ECE, Platt of each class": expected_calibration_error(
            expit(each[0] * scores + each[1]), truth
        ),
        "classes": float(known.sum()),
        "classes of their own": float(ours.own.sum()),
        "listed": ours.listed,
        "present": 100 * float((truth == 1).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--only", choices=("known", "positives"), help="one kind of labels")
    options = parser.parse_args()
    for file in options.files:
        with np.load(file) as content:
            names = ("train", "train_labels", "test", "test_labels")
            arrays = {name: content[name] for name in names}
        truth = arrays["train_labels"]
        for name, hide in (("known", keep_proportion), ("positives", positives_alone)):
            if options.only not in (None, name):
                continue
            for share in SHARES:
                drawn = [
                    figures(arrays, hide(truth, share, seed=seed))
                    for seed in (options.seeds if share < 1 else options.seeds[:1])
                ]
                values = {key: [one[key] for one in drawn] for key in drawn[0]}
                shown = ", ".join(
                    f"{key} {np.mean(v):.2f} +- {np.std(v, ddof=len(v) > 1):.2f}"
                    for key, v in values.items()
                )
                print(f"{file.stem} {name} {share:g} ({len(drawn)} draws): {shown}", flush=True)


if __name__ == "__main__":
    main()
