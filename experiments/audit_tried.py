"""Orders of an audit that were tried: what each changes in the order of `pumlc audit --folds`.

    python experiments/audit_tried.py voc.npz coco.npz [--split train] [--seeds 0 1 2]
    python experiments/audit_tried.py clipart.npz --seeds 0 --orders "labels of neighbours" ...

Files and noise are those of audit_order.py. A row is an order: the average precision of wrong
negatives and of wrong positives, in percent, and by how much the mean of both lists is above that
of the audit (mean and standard deviation over the seeds). The last column counts the draws in which
the noise model finds invented labels; in every one there are some.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from audit_order import LISTS, NOISE
from least_squares_heads import neighbour_vote, standardised
from scipy.special import expit
from two_kernels import Kernels, Pair, Targets, hidden, left_out, scores_of_folds

from pumlc.audit import score_finding
from pumlc.audit.noise_model import fit_noise_model
from pumlc.estimators import fit_least_squares
from pumlc.estimators.asymptotes import Errors, fit_curve, probability_wrong
from pumlc.labels import POSITIVE, flip
from pumlc.tables import table

SHARE = 0.3
"""Of scores that are added to those of the audit."""


class Draw(NamedTuple):
    """Noisy labels [N, C], their features [N, D], and the fits of the audit."""

    features: np.ndarray
    labels: np.ndarray
    kernels: Kernels
    pair: Pair


class Order(NamedTuple):
    """What ranks, [N, C], higher for present; and the estimated rate of invented labels."""

    scores: np.ndarray
    invented: float


def modelled(scores: np.ndarray, labels: np.ndarray) -> Order:
    """The last step of the audit: probabilities of the noise model."""
    model = fit_noise_model(scores, labels)
    return Order(model.probabilities, model.invented)


def audit(draw: Draw) -> Order:
    return modelled(left_out(draw.pair), draw.labels)


def vote(draw: Draw) -> np.ndarray:
    """The weighted mean label of the 25 nearest other pictures, [N, C]."""
    rows, _ = standardised(draw.features, draw.features)
    return SHARE * neighbour_vote(rows, rows, draw.labels, leave_out=draw.kernels.groups)


def other_scores(scores: np.ndarray, draw: Draw) -> np.ndarray:
    """Heads on the scores of all classes, for labels that occur together."""
    return SHARE * fit_least_squares(scores, draw.labels, groups=draw.kernels.groups).loo_scores


def other_labels(draw: Draw) -> np.ndarray:
    """Heads of each class on the given labels of the others."""
    scores = np.zeros(draw.labels.shape)
    for column in range(draw.labels.shape[1]):
        others = np.delete(draw.labels, column, axis=1).astype(np.float64)
        own = draw.labels[:, [column]]
        heads = fit_least_squares(others, own, groups=draw.kernels.groups)
        scores[:, column] = heads.loo_scores[:, 0]
    return SHARE * scores


def with_neighbours(draw: Draw) -> Order:
    return modelled(left_out(draw.pair) + vote(draw), draw.labels)


def with_scores(draw: Draw) -> Order:
    scores = left_out(draw.pair)
    return modelled(scores + other_scores(scores, draw), draw.labels)


def with_scores_and_neighbours(draw: Draw) -> Order:
    scores = left_out(draw.pair) + vote(draw)
    return modelled(scores + other_scores(scores, draw), draw.labels)


def with_labels(draw: Draw) -> Order:
    return modelled(left_out(draw.pair) + other_labels(draw), draw.labels)


def suspects_hidden(pair: Pair, labels: np.ndarray) -> Targets:
    return hidden(pair, labels, fit_noise_model(left_out(pair), labels).wrong)


def repeated(draw: Draw) -> Order:
    targets = suspects_hidden(draw.pair, draw.labels)
    again = draw.kernels.fit(draw.labels, like=draw.pair, targets=targets)
    return modelled(left_out(again), draw.labels)


def in_folds(draw: Draw) -> Order:
    """Nothing hidden: what it costs that the scores are of heads on four fifths of the rows."""
    scores = scores_of_folds(draw.kernels, draw.labels, lambda _, labels: (labels, labels))
    return modelled(scores, draw.labels)


def repeated_in_folds(draw: Draw) -> Order:
    return modelled(scores_of_folds(draw.kernels, draw.labels, suspects_hidden), draw.labels)


def likelihood(scores: np.ndarray, labels: np.ndarray) -> float:
    """Log-likelihood of the given labels under the noise model of the scores."""
    model = fit_noise_model(scores, labels)
    present = model.invented + (1 - model.missed - model.invented) * model.probabilities
    likely = np.where(labels == POSITIVE, present, 1 - present)
    return float(np.log(np.maximum(likely, np.finfo(np.float64).tiny)).sum())


def weighted(draw: Draw) -> Order:
    """The two kernels with the weights, in steps of a tenth, that the noise model likes best."""
    linear, gaussian = (heads.loo_scores for heads in draw.pair)
    mixtures = [linear + weight * (gaussian - linear) for weight in np.linspace(0, 1, 11)]
    return modelled(max(mixtures, key=lambda each: likelihood(each, draw.labels)), draw.labels)


def rate_by_class(draw: Draw) -> Order:
    """A rate of invented labels for each class, in every draw, and the order of what is wrong."""
    scores, labels = left_out(draw.pair).astype(np.float64), draw.labels
    curve = fit_curve(scores, labels, errors=[Errors(missed=True, invented=True, by_class=True)])
    present = expit(curve.slope * scores + curve.bias)
    wrong = probability_wrong(present, labels, curve.missed, curve.invented)
    return Order(np.where(labels == POSITIVE, 1 - wrong, wrong), float(curve.invented.mean()))


def with_roots(
    of_linear: Callable[[np.ndarray], np.ndarray], of_gaussian: Callable[[np.ndarray], np.ndarray]
) -> Callable[[Draw], Order]:
    """The audit with other roots of the features; its own kernel has cube roots."""

    def order(draw: Draw) -> Order:
        kernels = Kernels.of(of_linear(draw.features), of_gaussian(draw.features))
        return modelled(left_out(kernels.fit(draw.labels)), draw.labels)

    return order


AUDIT = "as the audit ranks"
ORDERS: dict[str, Callable[[Draw], Order]] = {
    AUDIT: audit,
    "labels of neighbours": with_neighbours,
    "hidden, repeated": repeated,
    "hidden, repeated in folds": repeated_in_folds,
    "five folds, nothing hidden": in_folds,
    "scores of all classes": with_scores,
    "scores and neighbours": with_scores_and_neighbours,
    "weights of kernels": weighted,
    "labels of other classes": with_labels,
    "rates by class": rate_by_class,
    "no roots": with_roots(np.asarray, np.asarray),
    "square roots": with_roots(np.asarray, np.sqrt),
    "cube roots in both kernels": with_roots(np.cbrt, np.cbrt),
}


def measured(
    features: np.ndarray,
    truth: np.ndarray,
    noise: tuple[float, float],
    seeds: list[int],
    names: list[str],
) -> list[list[object]]:
    """The rows of one noise."""
    kernels = Kernels.of(features, np.cbrt(features))
    found: dict[str, list[list[float]]] = {name: [] for name in names}
    for seed in seeds:
        labels = flip(truth, false_negative=noise[0], false_positive=noise[1], seed=seed)
        draw = Draw(features, labels, kernels, kernels.fit(labels))
        for name in names:
            order = ORDERS[name](draw)
            both = [score_finding(order.scores, labels, truth, given=g)["AP"] for g in LISTS]
            found[name].append([*both, float(np.mean(both)), float(order.invented > 0)])
    rows, own = [], np.array(found[AUDIT])
    for name, figures in found.items():
        own_mean, (negative, positive, _, times) = np.array(figures), np.mean(figures, axis=0)
        change = own_mean[:, 2] - own[:, 2]
        spread = change.std(ddof=len(seeds) > 1)
        shown = "" if name == AUDIT else f"{change.mean():+.1f} +- {spread:.1f}"
        lists = f"{negative:.1f} / {positive:.1f}"
        rows.append([name, lists, shown, f"{times * len(seeds):.0f} of {len(seeds)}"])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--split", default="train")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--orders", nargs="+", choices=list(ORDERS), default=list(ORDERS))
    options = parser.parse_args()
    names = [AUDIT, *(name for name in options.orders if name != AUDIT)]
    for file in options.files:
        with np.load(file) as arrays:
            features, truth = arrays[options.split], arrays[f"{options.split}_labels"]
        for noise in NOISE:
            print(f"{file.stem} {options.split}, {len(truth)} rows, noise {noise}", flush=True)
            rows = measured(features, truth, noise, options.seeds, names)
            header = ["order", "negatives / positives", "change", "invented found"]
            print(table(header, rows), flush=True)


if __name__ == "__main__":
    main()
