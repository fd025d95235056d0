"""Ways to doubt given labels that were tried: test mAP of each beside the doubt that was kept.

    python experiments/noise_tried.py voc.npz coco.npz [--group doubt] [--seeds 0 1 2]
    python experiments/noise_tried.py voc.npz coco.npz --group soft
    python experiments/noise_tried.py clipart.npz --seeds 0 --conditions fp5 uniform20 --ways ...

A file holds train, train_labels, test, test_labels and classes, as for audit_order.py. The
conditions are those of configs/sweeps/noise.yaml that hide no label, and so are the classes: heads
for those with a positive in test, mAP over those with five in train and in test. A row is a way:
its mean over conditions and seeds, by how much that is above the first row (and the standard
deviation of it over the seeds), and the conditions where it gains and loses most. The first row is

- doubt: two kernels, given positives by their probability to be true, with one rate of errors for
  all classes. `fit_noisy_labels` is that and a choice between three kinds of targets.
- soft: the targets of `fit_soft_positives`, linear.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from least_squares_heads import spectral_rows
from two_kernels import Kernels, Pair, Targets, hidden, left_out, scores_of_folds

from pumlc.audit.noise_model import fit_noise_model
from pumlc.engine.command_line import parse
from pumlc.estimators import (
    fit_least_squares,
    fit_moved_positives,
    fit_noisy_labels,
)
from pumlc.estimators.asymptotes import BOTH
from pumlc.estimators.doubt import doubted_targets
from pumlc.estimators.fitted_labels import fitted_labels
from pumlc.estimators.kernel_heads import fit_gaussian
from pumlc.estimators.least_squares import LeastSquares
from pumlc.estimators.noisy_labels import NoisyLabelHeads
from pumlc.estimators.soft_positives import soft_targets
from pumlc.labels import NEGATIVE, POSITIVE
from pumlc.metrics import average_precision
from pumlc.recipes import recipe_file
from pumlc.tables import table
from pumlc.vision.frozen.features import SplitFeatures
from pumlc.vision.frozen.probe import ProbeData, probe_data
from pumlc.vision.sweep.config import SweepConfig
from pumlc.vision.sweep.feature_cells import observed_labels


class Rows(NamedTuple):
    """Features of train and of test, also in the two kernels."""

    train: np.ndarray
    test: np.ndarray
    kernels: Kernels
    tests: Kernels

    @staticmethod
    def of(train: np.ndarray, test: np.ndarray) -> "Rows":
        kernels = Kernels.of(train)
        return Rows(train, test, kernels, kernels.like(test))


@dataclass(frozen=True)
class Case:
    """Rows and observed labels, and what is fitted to them."""

    rows: Rows
    labels: np.ndarray

    @cached_property
    def linear(self) -> LeastSquares:
        """Linear heads on the labels as they are given."""
        return fit_least_squares(self.rows.train, self.labels)

    @cached_property
    def given(self) -> Pair:
        """Both kernels on the labels as they are given."""
        return self.rows.kernels.fit(self.labels)

    @cached_property
    def doubted(self) -> Pair:
        """The same on doubted labels."""
        return self.fit(doubts(self.given, self.labels))

    @cached_property
    def chosen(self) -> NoisyLabelHeads:
        """The package's heads for noisy labels."""
        return fit_noisy_labels(self.rows.train, self.labels)

    def fit(self, targets: Targets) -> Pair:
        """A second fit."""
        return self.rows.kernels.fit(self.labels, like=self.given, targets=targets)

    def scores(self, pair: Pair) -> np.ndarray:
        """Of the test rows."""
        return self.rows.tests.scores(pair)


Way = Callable[[Case], np.ndarray]
"""From a case to the scores of the test rows."""


def wrong(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Probability of each label to be wrong, with one rate of each error."""
    return fit_noise_model(scores, labels).wrong


def doubts(pair: Pair, labels: np.ndarray) -> Targets:
    targets = doubted_targets(left_out(pair), labels, BOTH)
    return targets, targets


def doubts_by(scores: np.ndarray, case: Case) -> np.ndarray:
    targets = doubted_targets(scores, case.labels, BOTH)
    return case.scores(case.fit((targets, targets)))


def without_margin(case: Case) -> np.ndarray:
    """The choice of `fit_noisy_labels` by the least criterion, be it by ever so little."""
    left = {name: criterion.mean() for name, criterion in case.chosen.unexplained.items()}
    if left and min(left, key=lambda name: left[name]) == "given":
        return case.scores(case.given)
    return case.chosen.scores(case.rows.test)


def kernel_by_precision(case: Case) -> np.ndarray:
    """Linear heads alone, unless the mean ranks the given labels better, left out."""
    linear, mean = (
        np.nanmean(average_precision(scores, case.labels))
        for scores in (case.given[0].loo_scores, left_out(case.given))
    )
    if linear > mean:
        return case.doubted[0].scores(case.rows.test)
    return case.scores(case.doubted)


def one_penalty(case: Case) -> np.ndarray:
    """Heads on the sum of both kernels."""
    design = case.rows.kernels.mapping.design

    def joined(kernels: Kernels) -> np.ndarray:
        linear = design.rows(kernels.linear, slice(None))[:, :-1]
        return np.hstack([linear, kernels.mapped])

    rows, labels = joined(case.rows.kernels), case.labels
    first = fit_gaussian(rows, labels, groups=case.rows.kernels.groups)
    targets = doubted_targets(first.loo_scores, labels, BOTH)
    again = fit_gaussian(rows, labels, penalties=[first.penalty], targets=targets)
    return again.scores(joined(case.rows.tests))


def negatives_too(case: Case) -> np.ndarray:
    """Negatives move by their probability to be false, as positives do."""
    targets = case.labels * (1 - 2 * wrong(left_out(case.given), case.labels))
    return case.scores(case.fit((targets, targets)))


def some_hidden(sign: int) -> Way:
    """Labels of one sign are hidden by their probability to be false; false positives move."""

    def way(case: Case) -> np.ndarray:
        share = wrong(left_out(case.given), case.labels) * (case.labels == sign)
        targets = hidden(case.given, case.labels, share)
        if sign == NEGATIVE:
            positive, (moved, _) = case.labels == POSITIVE, doubts(case.given, case.labels)
            linear, gaussian = (np.where(positive, moved, each) for each in targets)
            targets = linear, gaussian
        return case.scores(case.fit(targets))

    return way


def second_round(case: Case) -> np.ndarray:
    """Doubt again, by left-out scores that see a row's label through the targets of others."""
    return doubts_by(left_out(case.doubted), case)


def second_round_in_folds(case: Case) -> np.ndarray:
    return doubts_by(scores_of_folds(case.rows.kernels, case.labels, doubts), case)


def of_other_features(
    change: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> Way:
    def way(case: Case) -> np.ndarray:
        train, test = change(case.rows.train, case.rows.test)
        other = Case(Rows.of(train, test), case.labels)
        return other.scores(other.doubted)

    return way


def soft(case: Case, *, positives: bool, negatives: bool, times: float = 1.0) -> np.ndarray:
    """Linear heads with soft targets of either sign; ``times`` the penalty in the second fit."""
    first, labels = case.linear, case.labels
    targets = labels.astype(np.float64)
    for sign, wanted in ((POSITIVE, positives), (NEGATIVE, negatives)):
        if wanted:  # negatives are the positives of everything turned around
            chosen = labels == sign
            turned = sign * soft_targets(sign * first.loo_scores, sign * labels)
            targets[chosen] = turned[chosen]
    penalties = [times * first.penalty]
    heads = fit_least_squares(case.rows.train, labels, penalties=penalties, targets=targets)
    return heads.scores(case.rows.test)


def moved(case: Case, share: float) -> np.ndarray:
    return fit_moved_positives(case.rows.train, case.labels, share=share).scores(case.rows.test)


WAYS: dict[str, dict[str, Way]] = {
    "doubt": {
        "doubted": lambda case: case.scores(case.doubted),
        "labels as given": lambda case: case.scores(case.given),
        "chosen, as kept": lambda case: case.chosen.scores(case.rows.test),
        "chosen without margin": without_margin,
        "kernels by precision": kernel_by_precision,
        "Gaussian alone": lambda case: case.doubted[1].scores(case.rows.tests.mapped),
        "one penalty": one_penalty,
        "negatives moved": negatives_too,
        "negatives hidden": some_hidden(NEGATIVE),
        "positives hidden": some_hidden(POSITIVE),
        "second round, folds": second_round_in_folds,
        "second round, left out": second_round,
        "square roots": of_other_features(lambda train, test: (np.sqrt(train), np.sqrt(test))),
        "spectrum ** 1.2": of_other_features(lambda train, test: spectral_rows(train, test, 1.2)),
    },
    "soft": {
        "soft positives": lambda case: soft(case, positives=True, negatives=False),
        "labels as given": lambda case: case.linear.scores(case.rows.test),
        "soft negatives": lambda case: soft(case, positives=False, negatives=True),
        "soft both": lambda case: soft(case, positives=True, negatives=True),
        "twice the penalty": lambda case: soft(case, positives=True, negatives=False, times=2),
        "moved": lambda case: moved(case, 0.6),
        "fully moved": lambda case: moved(case, 1.0),
    },
}


def read(file: Path, config: SweepConfig) -> tuple[ProbeData, Rows]:
    """The data of a sweep's cells, and the features as they are in the file."""
    assert config.features is not None
    with np.load(file) as arrays:
        names = tuple(arrays["classes"].tolist())
        train, test = (
            SplitFeatures(arrays[split], arrays[f"{split}_labels"], names, "")
            for split in ("train", "test")
        )
    return probe_data(train, test, config.features.probe), Rows.of(train.features, test.features)


def measured(
    file: Path, config: SweepConfig, ways: dict[str, Way], conditions: list[str], seeds: list[int]
) -> np.ndarray:
    """MAP in percent, [ways, conditions, seeds]."""
    data, rows = read(file, config)
    columns = data.averages["frequent"]
    figures = np.zeros((len(ways), len(conditions), len(seeds)))
    for c, condition in enumerate(conditions):
        for s, seed in enumerate(seeds):
            labels = observed_labels(data, config.conditions[condition], seed)
            case = Case(rows, fitted_labels(labels))
            for w, way in enumerate(ways.values()):
                each = average_precision(way(case), data.test_labels)[columns]
                figures[w, c, s] = 100 * np.nanmean(each)
    return figures


def rows_of(figures: np.ndarray, names: list[str], conditions: list[str]) -> list[list[str]]:
    """A row for each way; see the docstring of the script."""
    rows = []
    for name, own in zip(names, figures, strict=True):
        change = own - figures[0]
        gain = change.mean(axis=1)
        best, worst = (f"{conditions[i]} {gain[i]:+.1f}" for i in (gain.argmax(), gain.argmin()))
        spread = change.mean(axis=0).std(ddof=change.shape[1] > 1)
        compared = [f"{gain.mean():+.2f} +- {spread:.2f}", best, worst]
        rows.append([name, f"{own.mean():.1f}", *(compared if name != names[0] else [""] * 3)])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--group", choices=list(WAYS), default="doubt")
    parser.add_argument("--ways", nargs="+", help="those of the group; default: all")
    parser.add_argument("--conditions", nargs="+", help="default: all that hide no label")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    config, _ = parse(
        SweepConfig, ["--config", str(recipe_file("sweeps/noise"))], program=parser.prog
    )
    complete = [name for name, each in config.conditions.items() if not each.hides_labels]
    conditions = options.conditions or complete
    group = WAYS[options.group]
    names = [name for name in group if not options.ways or name in options.ways]
    names = list(dict.fromkeys([next(iter(group)), *names]))
    ways = {name: group[name] for name in names}
    for file in options.files:
        figures = measured(file, config, ways, conditions, options.seeds)
        print(f"{file.stem}, {len(conditions)} conditions, seeds {options.seeds}")
        header = ["way", "mAP", "change", "gains most", "loses most"]
        print(table(header, rows_of(figures, names, conditions)), flush=True)


if __name__ == "__main__":
    main()
