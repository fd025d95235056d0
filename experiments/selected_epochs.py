"""Does choosing an epoch on a held-out part pay? Heads on frozen features, trained in epochs.

    python experiments/selected_epochs.py --data voc2007 --root VOCdevkit --seeds 8-15
    python experiments/selected_epochs.py ... --pictures 400 --known 0.1,0.5

Heads are trained on a part of the pictures with the optimizer, schedule and average of a run; a
tenth is held out and scored after every epoch. Labels are hidden by the published protocol; a seed
decides pictures, mask, held-out part and order. The table has the test mAP of the weights that a
rule selects minus that of the last epoch (averaged): mean and worst of the seeds, and how often the
rule takes others. ``best`` takes the best score; ``one error`` is `pumlc.engine.selection`, whose
mean of two weights counts as others. The last columns train again on all pictures, the held-out
ones too, and take the same epoch of the same weights: the gain in mAP over the selected ones, and
the F1 (OF1) of both at the threshold that was fitted on the held-out part. A second table has other
rules, see `other_rules`.
"""

import argparse
import itertools
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from pumlc.engine.config import TrainConfig
from pumlc.engine.ema import ExponentialMovingAverage
from pumlc.engine.optimizer import create_optimizer, create_schedule
from pumlc.engine.selection import MEAN, HeldOutScores, select_weights, standard_error
from pumlc.labels import keep_proportion
from pumlc.losses import find_loss
from pumlc.metrics import (
    average_precision,
    fit_thresholds,
    mean_average_precision,
    precision_recall_f1,
)
from pumlc.tables import table
from pumlc.vision.config import DataConfig, ModelConfig
from pumlc.vision.frozen.features import frozen_features
from pumlc.vision.frozen.heads import standardisation
from pumlc.vision.scoring import labels_as_validated, probabilities_of, resampled_scores

LOSSES: dict[str, tuple[str, dict[str, Any]]] = {
    "bce": ("bce", {"unknown": "ignore"}),
    "pu": ("pu", {"gamma": 0.85, "alpha": 2.0}),
}
# loss, learning rate, schedule, epochs: well-behaved runs, and runs that are too long
SETTINGS = [
    ("bce", 3e-3, "one-cycle", 12),
    ("bce", 3e-3, "constant", 30),
    ("bce", 1e-2, "one-cycle", 30),
    ("pu", 3e-3, "one-cycle", 12),
    ("pu", 3e-3, "constant", 30),
]
BATCH = 45


class Data(NamedTuple):
    train: torch.Tensor
    train_labels: np.ndarray
    test: torch.Tensor
    test_labels: np.ndarray


class Look(NamedTuple):
    """Logits after an epoch, of the raw or the averaged weights."""

    name: str
    epoch: int
    held_out: np.ndarray
    test: np.ndarray


def looks(
    data: Data,
    labels: np.ndarray,
    fitted: np.ndarray,
    held: np.ndarray,
    setting: Any,
    seed: int,
    until: int | None = None,
) -> list[Look]:
    """Train heads on some rows; the logits after every epoch, or after the last one of a few."""
    loss, rate, schedule, epochs = setting
    steps = max(1, len(fitted) // BATCH)
    config = TrainConfig(
        epochs=epochs, batch_size=BATCH, learning_rate=rate, weight_decay=1e-4, schedule=schedule
    )
    model = nn.Linear(data.train.shape[1], labels.shape[1])
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    optimizer = create_optimizer(model, config)
    rates = create_schedule(optimizer, config, steps)
    average = ExponentialMovingAverage(model, 0.97, warmup=True)
    name, parameters = LOSSES[loss]
    function, generator = find_loss(name), torch.Generator().manual_seed(seed)
    inputs, targets = data.train[fitted], torch.from_numpy(labels[fitted])
    found = []

    def look(kind: str, epoch: int) -> None:
        with torch.no_grad():
            scores = model(data.train[held]).numpy(), model(data.test).numpy()
        found.append(Look(kind, epoch, *scores))

    for epoch in range(1, (until or epochs) + 1):
        order = torch.randperm(len(inputs), generator=generator)
        for step in range(steps):
            rows = order[step * BATCH : None if step == steps - 1 else (step + 1) * BATCH]
            optimizer.zero_grad()
            function(model(inputs[rows]), targets[rows], **parameters).backward()
            optimizer.step()
            rates.step()
            average.update(model)
        if epoch == until or until is None:
            look("", epoch)
            with average.applied_to(model):
                look("-ema", epoch)
    return found


def selections(found: list[Look], judged: np.ndarray) -> tuple[Look, Look, Look]:
    """The last averaged weights, those with the best score, and those of one standard error."""
    scores, index, of_name = HeldOutScores(), {}, {}
    last_epoch = found[-1].epoch
    for look in found:
        score = mean_average_precision(look.held_out, judged, definition="sklearn")
        resamples = resampled_scores(look.held_out, judged)
        entry = {"epoch": look.epoch, "score": score}
        if scores.improve(f"best{look.name}", score, resamples):
            index[f"best{look.name}"], of_name[f"best{look.name}"] = entry, look
        if look.epoch == last_epoch:
            entry = {**entry, **scores.compare(f"last{look.name}", resamples)}
            index[f"last{look.name}"], of_name[f"last{look.name}"] = entry, look
    selected = select_weights(index)
    assert selected.best is not None
    best, last = of_name[selected.best], of_name["last-ema"]
    if selected.mean_of is not None:
        return last, best, mean_of([best, last])
    return last, best, of_name[selected.name]


def mean_of(parts: list[Look]) -> Look:
    """The mean of weights: of linear heads it has the mean of the logits."""
    held_out = np.mean([part.held_out for part in parts], axis=0)
    return Look(MEAN, parts[0].epoch, held_out, np.mean([part.test for part in parts], axis=0))


def other_rules(found: list[Look], judged: np.ndarray) -> dict[str, Look]:
    """What was tried beside the rule of `pumlc.engine.selection`.

    "k errors": the weights with the best score, if it is higher than that of the last averaged ones
    by more than k standard errors. "mean": the mean of both from one error on, however clear it is.
    "mean of all": the same of all averaged weights from that epoch on. "three epochs": the best
    mean score of an epoch, the one before and the one after, whatever the error.
    """
    scores = [mean_average_precision(each.held_out, judged, definition="sklearn") for each in found]
    last = found[-1]
    place = max(range(len(found)), key=lambda number: (scores[number], found[number].epoch))
    best, difference = found[place], scores[place] - scores[-1]
    error = standard_error(*(resampled_scores(each.held_out, judged) for each in (best, last)))
    clear = 0.0 if not error else difference / error
    averages = [each for each in found if each.name == "-ema" and each.epoch >= best.epoch]
    smooth = [
        np.mean(scores[max(number % 2, number - 2) : number + 3 : 2])
        for number in range(len(found))
    ]
    return {
        **{f"{k} errors": best if clear > k else last for k in (1, 1.28, 1.64, 2, 2.5)},
        "mean": mean_of([best, last]) if clear > 1 else last,
        "mean of all": mean_of(averages) if clear > 1 else last,
        "three epochs": found[int(np.argmax(smooth))],
    }


def test_map(look: Look, data: Data) -> float:
    return 100 * float(np.nanmean(average_precision(look.test, data.test_labels)))


def figures(
    data: Data, pictures: int, known: float, setting: Any, seed: int
) -> tuple[list[float], dict[str, float]]:
    """Last mAP, gains of both rules, gain of all rows, F1 of the selected and of all rows.

    And the gains of `other_rules`.
    """
    rows = np.random.RandomState(1000 + seed).permutation(len(data.train))[:pictures]
    labels = keep_proportion(data.train_labels, known, seed=seed)
    held, fitted = np.split(rows, [round(0.1 * pictures)])
    judged, _ = labels_as_validated(labels[held])
    found = looks(data, labels, fitted, held, setting, seed)
    last, best, selected = selections(found, judged)
    ends = looks(data, labels, rows, held, setting, seed, until=selected.epoch)
    kind = "-ema" if selected.name == MEAN else selected.name
    again = next(look for look in ends if look.name == kind)
    cut = fit_thresholds(probabilities_of(selected.held_out), judged, per_class=False)
    f1 = [
        precision_recall_f1(probabilities_of(look.test), data.test_labels, threshold=cut)["OF1"]
        for look in (selected, again)
    ]
    before = test_map(last, data)
    gains = [test_map(best, data) - before, test_map(selected, data) - before]
    others = {
        name: test_map(look, data) - before for name, look in other_rules(found, judged).items()
    }
    return [before, *gains, test_map(again, data) - test_map(selected, data), *f1], others


def read(options: argparse.Namespace) -> Data:
    config = DataConfig(name=options.data, root=options.root)
    model = ModelConfig(backbone=options.backbone, weights=options.weights)
    train, test = (
        frozen_features(config, model, split, options.cache) for split in ("train", "test")
    )
    classes = (test.labels == 1).any(axis=0)
    scaled = standardisation(train.features)
    return Data(
        scaled(train.features),
        train.labels[:, classes],
        scaled(test.features),
        test.labels[:, classes],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Choosing an epoch on a held-out part.")
    parser.add_argument("--data", required=True, help="voc2007, coco2017 ...")
    parser.add_argument("--root", required=True)
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--weights", default="pip")
    parser.add_argument("--cache", type=Path, default=Path("features"))
    parser.add_argument("--pictures", default="200,400,996")
    parser.add_argument("--known", default="0.1,0.5")
    parser.add_argument("--seeds", default="8-15", help="first-last")
    options = parser.parse_args()
    data = read(options)
    first, last = map(int, options.seeds.split("-"))
    parts = itertools.product(
        map(int, options.pictures.split(",")), map(float, options.known.split(","))
    )
    rows, rows_of_others = [], []
    for pictures, known in parts:
        every, others = [], []
        for setting in SETTINGS:
            seeds = range(first, last + 1)
            pairs = [figures(data, pictures, known, setting, seed) for seed in seeds]
            found = np.array([pair[0] for pair in pairs])
            every.append(found)
            others += [pair[1] for pair in pairs]
            rows.append([pictures, known, " ".join(map(str, setting)), *summary(found)])
            print(*rows[-1], file=sys.stderr, flush=True)
        rows.append([pictures, known, "all settings", *summary(np.concatenate(every))])
        for name in others[0]:
            gains = np.array([each[name] for each in others])
            taken = int((gains != 0).sum())
            ends = float(gains.mean()), float(gains.min())
            rows_of_others.append([pictures, known, name, *ends, taken])
    header = [
        *("pictures", "known", "setting", "last", "best: mean", "worst", "taken"),
        *("one error: mean", "worst", "taken", "all rows: gain", "worst", "F1", "F1 all rows"),
    ]
    print(table(header, rows))
    print(table(["pictures", "known", "other rule", "mean", "worst", "taken"], rows_of_others))


def summary(found: np.ndarray) -> list[Any]:
    """The columns of the table for the `figures` of some seeds, [n, 6]."""
    columns: list[Any] = [float(found[:, 0].mean())]
    for gains in found[:, 1:3].T:
        columns += [float(gains.mean()), float(gains.min()), int((gains != 0).sum())]
    columns += [float(found[:, 3].mean()), float(found[:, 3].min())]
    return [*columns, *(float(value) for value in found[:, 4:].mean(axis=0))]


if __name__ == "__main__":
    main()
