"""How well wrong labels are found: the order of `pumlc audit --folds` beside other orders.

    python experiments/audit_order.py FEATURES.npz ... [--split train] [--seeds 0 1 2] [--quick]
    python experiments/audit_order.py FEATURES.npz ... --copies together

A file holds arrays train [N, D] and train_labels [N, C] in {1, 0, -1} (or those of another split).
Labels are flipped; every order gets the same features and the noisy labels. It prints the AP
of ranking wrong negatives and wrong positives first, over all classes in one list, in percent, and
the number of errors that the noise model estimates.

The first order is cleanlab's self-confidence, the out-of-fold probability of the given label. Here
it is from logistic regression, 5 folds, C 1e-3, on standardised features; --quick leaves it out.
With --copies together identical rows are in one fold, as all other orders leave them out together.
"calibrated" are the scores of least squares after a sigmoid of each class. The last order is one
that nobody can have: that of the heads of the audit fitted on the true labels of all other
pictures.
"""

import argparse
from argparse import Namespace
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, KFold

from pumlc.audit import score_finding
from pumlc.audit.left_out import left_out_scores
from pumlc.audit.noise_model import fit_noise_model
from pumlc.estimators import fit_least_squares
from pumlc.estimators.calibration import calibrate
from pumlc.estimators.design import identical_rows
from pumlc.labels import flip

NOISE = ((0.2, 0.02), (0.4, 0.05))
LISTS = ("negative", "positive")


def self_confidence(
    features: np.ndarray, labels: np.ndarray, seed: int, together: bool = False
) -> np.ndarray:
    """Out-of-fold probability of being present, [N, C]; each class is a problem of its own."""
    inputs = (features - features.mean(0)) / np.maximum(features.std(0), 1e-6)
    probabilities = np.zeros(labels.shape)
    folds = (GroupKFold if together else KFold)(5, shuffle=True, random_state=seed)
    for fit, held in folds.split(inputs, groups=identical_rows(features)):
        for column in range(labels.shape[1]):
            targets = labels[fit, column] == 1
            if targets.all() or not targets.any():
                probabilities[held, column] = targets.mean()
                continue
            head = LogisticRegression(C=1e-3, max_iter=300).fit(inputs[fit], targets)
            probabilities[held, column] = head.predict_proba(inputs[held])[:, 1]
    return probabilities


def orders(
    features: np.ndarray, labels: np.ndarray, truth: np.ndarray, seed: int, options: Namespace
) -> dict[str, np.ndarray]:
    """Name -> scores [N, C], higher for present."""
    scores, of_truth = left_out_scores(features, labels), left_out_scores(features, truth)
    plain = fit_least_squares(features, labels).loo_scores
    slope, bias = calibrate(plain, labels, np.ones(len(labels)))
    found = {
        "least squares, leave-one-out": plain,
        "the same, calibrated": slope * plain + bias,
        "and Gaussian kernel, added": scores,
        "and noise model (pumlc audit)": fit_noise_model(scores, labels).probabilities,
        "heads of the true labels": fit_noise_model(of_truth, truth).probabilities,
    }
    if options.quick:
        return found
    together = options.copies == "together"
    return {"logistic, 5 folds": self_confidence(features, labels, seed, together), **found}


def show(
    features: np.ndarray,
    truth: np.ndarray,
    noise: tuple[float, float],
    options: Namespace,
) -> None:
    """Print the figures of one noise, as mean and standard deviation over the seeds."""
    seeds: list[int] = options.seeds
    found: dict[str, list[list[float]]] = {}
    estimates = []
    for seed in seeds:
        labels = flip(truth, false_negative=noise[0], false_positive=noise[1], seed=seed)
        for name, scores in orders(features, labels, truth, seed, options).items():
            figures = [score_finding(scores, labels, truth, given=given)["AP"] for given in LISTS]
            found.setdefault(name, []).append(figures)
        model = fit_noise_model(left_out_scores(features, labels), labels)
        counts = [
            (each[labels == sign]).sum()
            for sign in (-1, 1)
            for each in (model.wrong, truth != labels)
        ]
        estimates.append([model.missed, model.invented, *counts])
    for name, figures in found.items():
        mean, spread = np.mean(figures, axis=0), np.std(figures, axis=0, ddof=len(seeds) > 1)
        pairs = zip(mean, spread, strict=True)
        print(
            f"  {noise} {name:30}", " / ".join(f"{m:.1f} +- {s:.1f}" for m, s in pairs), flush=True
        )
    missed, invented, *counts = np.mean(estimates, axis=0)
    print(
        f"  {noise} estimated: missed {missed:.3f}, invented {invented:.3f}; "
        "wrong negatives {:.0f} (truly {:.0f}), wrong positives {:.0f} ({:.0f})".format(*counts),
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--split", default="train")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--copies", choices=("apart", "together"), default="apart")
    options = parser.parse_args()
    for file in options.files:
        with np.load(file) as arrays:
            features, truth = arrays[options.split], arrays[f"{options.split}_labels"]
        model = fit_noise_model(left_out_scores(features, truth), truth)
        lengths = [int((model.wrong[truth == sign] >= 0.25).sum()) for sign in (-1, 1)]
        print(
            f"{file.stem} {options.split}: {len(truth)} rows, "
            f"{len(np.unique(identical_rows(features)))} of them different, "
            f"{truth.shape[1]} classes\n"
            f"  labels as they are: missed {model.missed:.3f}, invented {model.invented:.3f}, "
            f"worth a look {lengths}",
            flush=True,
        )
        for noise in NOISE:
            show(features, truth, noise, options)


if __name__ == "__main__":
    main()
