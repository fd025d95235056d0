"""Are probabilities what they say? ECE on complete test labels, with part of the training labels.

    python experiments/calibration.py FEATURES.npz ... [--seeds 0 1 2] [--only positives]

A file holds train, train_labels, test and test_labels, as for audit_order.py. Of the training
labels a share is known: of all labels, or of the present ones, the rest being unknown. Heads by
least squares and their probabilities are those of `pumlc train --config frozen`. ECE over 15 bins
of equal mass, in percent, over the classes with a known label; and for positives alone the
estimated share of listed labels, and the ECE of probabilities that take unlisted for absent.
"without the curve" has slope and bias of each class alone. The cross entropy ("entropy") also tells
whether probabilities that are right on average tell pictures apart. For it the probabilities of
isotonic regression are kept between `LEAST` and 1 - `LEAST`: a wrong 0 would cost infinitely much.
mAP is that of the scores, and of the isotonic probabilities, whose ties lose part of the order.

Beside the package's probabilities: Platt's sigmoid of each class; isotonic regression of each class
(scikit-learn); and one temperature for all classes, the slope of a sigmoid without a bias.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from pumlc.estimators import fit_least_squares
from pumlc.estimators.calibration import calibrate
from pumlc.estimators.class_calibration import calibrate_classes
from pumlc.estimators.fitted_labels import fitted_labels
from pumlc.labels import keep_proportion
from pumlc.metrics import expected_calibration_error, mean_average_precision

SHARES = (0.1, 0.5, 1.0)
LEAST = 0.001
"""The least probability of isotonic regression in a cross entropy."""


def positives_alone(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """A share of the present labels; the rest is unknown."""
    drawn = np.random.RandomState(seed).rand(*labels.shape) < share
    return np.where((labels == 1) & drawn, 1, 0).astype(np.int8)


def isotonic(left_out: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Probabilities by the best rising step function of each class, on its known labels."""
    probabilities = np.empty(scores.shape)
    for column in range(labels.shape[1]):
        rows = labels[:, column] != 0
        curve = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
        curve.fit(left_out[rows, column], labels[rows, column] == 1)
        # float32 scores: a step may be a hair above 1
        probabilities[:, column] = np.clip(curve.predict(scores[:, column]), 0, 1)
    return probabilities


def temperature(left_out: np.ndarray, labels: np.ndarray) -> float:
    """The slope of the sigmoid that fits all known labels best."""
    known = labels != 0
    present = labels[known] == 1
    model = LogisticRegression(C=np.inf, fit_intercept=False)
    return float(model.fit(left_out[known][:, None], present).coef_[0, 0])


def cross_entropy(logits: np.ndarray, truth: np.ndarray) -> float:
    """The mean over known labels, in percent of a nat."""
    return 100 * float(np.logaddexp(0, -logits * truth)[truth != 0].mean())


def figures(arrays: dict[str, np.ndarray], labels: np.ndarray) -> dict[str, float]:
    """What the probabilities of the test split are worth."""
    known = (labels != 0).any(axis=0)
    fitted = fitted_labels(labels)[:, known]
    heads = fit_least_squares(arrays["train"], fitted)
    scores, truth = heads.scores(arrays["test"]), arrays["test_labels"][:, known]
    ours = calibrate_classes(heads.loo_scores, labels[:, known])
    each = calibrate(heads.loo_scores, fitted, np.ones(len(labels)))
    straight = ours.slope * scores + ours.bias
    warmth = temperature(heads.loo_scores, fitted)
    steps = isotonic(heads.loo_scores, fitted, scores)
    platt = each[0] * scores + each[1]
    return {
        "ECE": expected_calibration_error(expit(ours.curve(straight)), truth),
        "ECE, without the curve": expected_calibration_error(expit(straight), truth),
        "entropy": cross_entropy(ours.curve(straight), truth),
        "entropy, without the curve": cross_entropy(straight, truth),
        "knots": float(len(ours.curve.at)),
        "ECE, Platt of each class": expected_calibration_error(expit(platt), truth),
        "entropy, Platt of each class": cross_entropy(platt, truth),
        "ECE, isotonic of each class": expected_calibration_error(steps, truth),
        "entropy, isotonic of each class": cross_entropy(
            logit(np.clip(steps, LEAST, 1 - LEAST)), truth
        ),
        "mAP": mean_average_precision(scores, truth, definition="sklearn"),
        "mAP, isotonic of each class": mean_average_precision(steps, truth, definition="sklearn"),
        "ECE, temperature": expected_calibration_error(expit(warmth * scores), truth),
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
    parser.add_argument("--shares", nargs="+", type=float, default=SHARES)
    parser.add_argument("--every", type=int, default=1, help="take every N-th class")
    parser.add_argument("--only", choices=("known", "positives"), help="one kind of labels")
    options = parser.parse_args()
    for file in options.files:
        with np.load(file) as content:
            names = ("train", "train_labels", "test", "test_labels")
            arrays = {
                name: content[name][:, :: options.every] if "labels" in name else content[name]
                for name in names
            }
        truth = arrays["train_labels"]
        for name, hide in (("known", keep_proportion), ("positives", positives_alone)):
            if options.only not in (None, name):
                continue
            for share in options.shares:
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
