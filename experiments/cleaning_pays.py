"""Whether it pays to look at suspects: train on noisy, corrected and clean labels, test on clean.

    python experiments/cleaning_pays.py FEATURES.npz ... [--seeds 0 1 2] [--plot FILE.svg] [--quick]

A file holds train, train_labels, test and test_labels, as for audit_order.py. Labels of train are
flipped. Then a person, who is always right here, decides on the first labels of an order: that of
`pumlc audit --folds` (estimated probability of being wrong, both lists merged; or the list of
wrong tags first, as far as it goes), that of cleanlab's self-confidence (5-fold logistic
regression, C 1e-3), or a random one. "errors": how many of the decisions change a label. Heads by
least squares are trained on the result; mAP of the test split over the classes with five positives
in both splits, in percent. --quick leaves out the suspects that are hidden without a decision: then
each class is fitted on rows of its own, which takes most of the time where classes are many.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from audit_order import NOISE, self_confidence

from pumlc.audit.left_out import left_out_scores
from pumlc.audit.noise_model import fit_noise_model
from pumlc.estimators import fit_least_squares
from pumlc.labels import flip
from pumlc.metrics import mean_average_precision

DECISIONS = (100, 300, 1000)
ORDERS = ("pumlc", "wrong tags first", "cleanlab", "random")
HIDDEN = "suspects of 50 % hidden"
WORTH_A_LOOK = 0.25  # where a list of the audit ends


def figures(
    arrays: dict[str, np.ndarray],
    noise: tuple[float, float],
    seed: int,
    names: Sequence[str],
    quick: bool,
) -> dict[str, float]:
    """Name of a training set -> mAP, for some orders."""
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
    listed = (labels == 1) & (model.wrong >= WORTH_A_LOOK)
    orders = {
        "pumlc": model.wrong,
        "wrong tags first": model.wrong + listed,
        "random": np.random.RandomState(seed).rand(*labels.shape),
    }
    if "cleanlab" in names:
        confident = self_confidence(features, labels, seed)
        orders["cleanlab"] = np.where(labels == 1, 1 - confident, confident)
    found = {"noisy": quality(labels)}
    if not quick:
        found[HIDDEN] = quality(np.where(model.wrong >= 0.5, 0, labels))
    for name in names:
        order = np.argsort(-orders[name], axis=None, kind="stable")
        for number in DECISIONS:
            decided = labels.copy()
            decided.flat[order[:number]] = truth.flat[order[:number]]
            found[f"{number} decisions, {name}"] = quality(decided)
            found[f"{number} decisions, {name}: errors"] = float((decided != labels).sum())
    found["clean"] = quality(truth)
    return found


def plot(results: dict[tuple[str, tuple[float, float]], dict[str, float]], file: Path) -> None:
    """mAP over the number of decisions: a column for each data set, a row for each noise."""
    from matplotlib.figure import Figure

    columns = len(results) // len(NOISE)
    figure = Figure(figsize=(3.2 * columns, 3.2 * len(NOISE)), layout="constrained")
    panels = figure.subplots(len(NOISE), columns, squeeze=False)
    for place, ((name, noise), found) in enumerate(results.items()):
        axes = panels[place % len(NOISE), place // len(NOISE)]
        for order in ORDERS:
            if f"{DECISIONS[0]} decisions, {order}" not in found:
                continue
            values = [found["noisy"], *(found[f"{n} decisions, {order}"] for n in DECISIONS)]
            axes.plot([0, *DECISIONS], values, marker="o", markersize=3, label=order)
        for line, style in (("clean", "--"), (HIDDEN, ":")):
            if line in found:
                axes.axhline(found[line], color="gray", linestyle=style, label=line)
        axes.set(title=f"{name} {noise}", xlabel="decisions of a person", ylabel="test mAP, %")
    figure.axes[0].legend(fontsize="x-small")
    figure.savefig(file)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--orders", nargs="+", choices=ORDERS, default=ORDERS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--plot", type=Path, help="an SVG file")
    options = parser.parse_args()
    means: dict[tuple[str, tuple[float, float]], dict[str, float]] = {}
    for file in options.files:
        with np.load(file) as content:
            names = ("train", "train_labels", "test", "test_labels")
            arrays = {name: content[name] for name in names}
        for noise in NOISE:
            runs = [
                figures(arrays, noise, seed, options.orders, options.quick)
                for seed in options.seeds
            ]
            print(f"{file.stem} {noise}, {len(runs)} seeds")
            means[file.stem, noise] = {
                name: float(np.mean([run[name] for run in runs])) for name in runs[0]
            }
            for name in runs[0]:
                values = [run[name] for run in runs]
                spread = np.std(values, ddof=len(values) > 1)
                print(f"  {name:38} {np.mean(values):.1f} +- {spread:.1f}", flush=True)
    if options.plot:
        plot(means, options.plot)


if __name__ == "__main__":
    main()
